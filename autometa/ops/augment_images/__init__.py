"""Change the images of tasks at random, each by draws of its own: moved, thickened, lit and disturbed."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from autometa.ops._checks import check_numbers, check_table, require
from autometa.ops.augment_images import native as native
from autometa.ops.backend import dispatch, implements
from autometa.ops.philox import AUGMENT, check_key, philox_uint32

DRAWS = 16
"""Numbers drawn for a task, and for each of its images before those of its noise."""
DEVIATION = 0.006765837
"""1 over the standard deviation of the sum of four bytes."""
_TOP = {"shift": 1.0, "scale": 0.9, "rotation": 90.0, "shear": 2.0, "thickness": 1.0, "blur": 1.0}
_TOP |= {"contrast": 1.0, "brightness": 1.0, "noise": 1.0, "invert": 1.0}


@dataclass(frozen=True)
class Augment:
    """The most by which training images are changed, every one by draws of its own, evenly from the whole range; 0: not
    at all.

    Args:
        shift: up and down, left and right, as a share of height and width.
        scale: height and width, each by up to this share more or less; below 0.9.
        rotation: degrees, to either side.
        shear: of rows against each other, in pixels per row.
        thickness: how far pixels go to the brightest, or the darkest, of their 3 x 3 neighbours; 1: all the way.
        blur: how far they go to the mean of these.
        contrast: by up to this share more or less, around mid-grey.
        brightness: what is added, of white.
        noise: the greatest standard deviation of what is added to every value, of white.
        invert: the share of tasks whose images are all inverted.
    """

    shift: float = 0.0
    scale: float = 0.0
    rotation: float = 0.0
    shear: float = 0.0
    thickness: float = 0.0
    blur: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0
    noise: float = 0.0
    invert: float = 0.0

    @property
    def active(self) -> bool:
        """Whether anything is changed."""
        return any(astuple(self))

    def outside(self) -> str | None:
        """The first setting that is out of its range, in words; None where none is."""
        for name, top in _TOP.items():
            value = getattr(self, name)
            if not 0.0 <= value <= top:
                return f"{name} must lie in 0 .. {top:g}, not {value:g}"
        return None


def augment_images(
    images: Tensor,
    task_ids: Tensor,
    place: Tensor,
    augment: Augment,
    *,
    seed: int,
    out: Tensor | None = None,
    backend: str | None = None,
) -> Tensor:
    """Images of tasks, changed as the docstring of `Augment` says, in its order: read between pixels (bilinear, beyond
    the border what stands there) where they are moved, then thickness, blur, contrast and brightness, noise; cut off at
    0 and 1; inverted.

    An image's change depends on seed, task id and its place in the task alone: draws from stream AUGMENT, item = task
    id; the task's own from 0, those of place p from ``16 + p * (16 + values of an image, rounded up to fours)``.

    Args:
        images: float32 `[T, N, C, H, W]`, contiguous, black 0 and white 1.
        task_ids: int64 `[T]`; place: int64 `[T, N]`; both at least 0.
        seed: 0 .. 2^32 - 1.
        out: where to write, like images and not the same memory.

    Returns:
        `out`, allocated where it was not given.

    Raises:
        ValueError: a range or seed out of its bounds, a number below 0, or a tensor of the wrong shape, dtype or
            device. The values of tensors on a GPU are not looked at.
        BackendError: the forced backend cannot run.
    """
    require(
        images.dim() == 5 and images.dtype == torch.float32 and images.is_contiguous(),
        f"images must be contiguous float32 [T, N, C, H, W], they are {images.dtype} {list(images.shape)}",
    )
    device, shape = images.device, tuple(images.shape)
    require(augment.outside() is None, str(augment.outside()))
    check_key(seed, AUGMENT)
    check_numbers("augment_images", *shape)
    require(shape[3] * shape[4] > 0, f"images must have height and width, they are {list(shape)}")
    check_table("task_ids", task_ids, shape[:1], torch.int64, device)
    check_table("place", place, shape[:2], torch.int64, device)
    if out is None:
        out = torch.empty_like(images)
    check_table("out", out, shape, torch.float32, device)
    require(out.data_ptr() != images.data_ptr() or images.numel() == 0, "out must not be the memory of images")
    half_turn = math.tan(math.radians(augment.rotation) / 2)
    most = [augment.shift, augment.scale, half_turn, augment.shear, augment.thickness]
    most += [augment.blur, augment.contrast, augment.brightness, augment.noise, augment.invert]
    dispatch("augment_images", device, torch.float32, backend)(images, task_ids, place, most, seed, out)
    return out


@implements("augment_images", "reference")
@torch.no_grad()
def _reference(images, task_ids, place, most, seed, out) -> None:
    ids, places = task_ids.cpu().numpy(), place.cpu().numpy()
    require(ids.size == 0 or ids.min() >= 0, "task_ids must be at least 0")
    require(places.size == 0 or places.min() >= 0, "place must be at least 0")
    if images.numel() == 0:
        return
    shift, scale, half_turn, shear, thickness, blur, contrast, brightness, noise, invert = most
    values = math.prod(images.shape[2:])
    first = DRAWS + places.astype(np.uint64) * np.uint64(DRAWS + -(-values // 4) * 4)
    words = philox_uint32(seed, AUGMENT, ids[:, None, None], first[..., None] + np.arange(DRAWS, dtype=np.uint64))
    x = images
    if shift or scale or half_turn or shear:
        x = _moved(x, words.astype(np.float64) * 2.0**-31 - 1.0, shift, scale, half_turn, shear)
    if thickness:
        share = _column(thickness * (words[..., 6] * 2.0**-31 - 1.0), x)
        found = torch.where(share > 0, _pooled(x), -_pooled(-x))
        x = x + share.abs() * (found - x)
    if blur:
        wide = F.pad(x.flatten(0, 2), (1, 1, 1, 1), mode="replicate")
        total = torch.zeros_like(x).flatten(0, 2)
        for row in range(3):
            for column in range(3):
                total = total + wide[:, row : row + x.shape[3], column : column + x.shape[4]]
        x = x + _column(blur * (words[..., 7] * 2.0**-32), x) * (total.view_as(x) * np.float32(1 / 9) - x)
    if contrast or brightness:
        factor = _column(1.0 + contrast * (words[..., 8] * 2.0**-31 - 1.0), x)
        x = (x - 0.5) * factor + _column(0.5 + brightness * (words[..., 9] * 2.0**-31 - 1.0), x)
    if noise:
        drawn = philox_uint32(
            seed, AUGMENT, ids[:, None, None], (first + DRAWS)[..., None] + np.arange(values, dtype=np.uint64)
        )
        sums = sum((drawn >> np.uint32(8 * i)) & np.uint32(255) for i in range(4)).astype(np.float32)
        bell = (torch.from_numpy(sums).to(x.device).view_as(x) - 510.0) * np.float32(DEVIATION)
        x = x + _column(noise * (words[..., 10] * 2.0**-32), x) * bell
    x = x.clamp(0.0, 1.0)
    if invert:
        turned = philox_uint32(seed, AUGMENT, ids, np.uint64(0)) * 2.0**-32 < invert
        x = torch.where(torch.from_numpy(turned).to(x.device).view(-1, 1, 1, 1, 1), 1.0 - x, x)
    out.copy_(x)


def _column(values: np.ndarray, like: Tensor) -> Tensor:
    """A number of each image `[T, N]` as float32 `[T, N, 1, 1, 1]`."""
    return torch.from_numpy(values.astype(np.float32)).to(like.device)[:, :, None, None, None]


def _pooled(x: Tensor) -> Tensor:
    """The greatest of 3 x 3 pixels."""
    return F.max_pool2d(x.flatten(0, 1), 3, 1, 1).view_as(x)


def _moved(x: Tensor, unit: np.ndarray, shift, scale, half_turn, shear) -> Tensor:
    """Read between pixels; unit: draws `[T, N, DRAWS]` in -1 .. 1."""
    height, width = x.shape[3:]
    scale_x, scale_y = 1.0 + scale * unit[..., 2], 1.0 + scale * unit[..., 3]
    half = half_turn * unit[..., 4]
    cosine, sine = (1.0 - half * half) / (1.0 + half * half), 2.0 * half / (1.0 + half * half)
    slant = shear * unit[..., 5]
    table = (
        cosine * scale_x,
        cosine * slant - sine * scale_y,
        sine * scale_x,
        sine * slant + cosine * scale_y,
        0.5 * (width - 1) + shift * unit[..., 0] * width,
        0.5 * (height - 1) + shift * unit[..., 1] * height,
    )
    xx, xy, yx, yy, ox, oy = (_column(values, x)[..., 0] for values in table)
    dx = (torch.arange(width, dtype=torch.float32, device=x.device) - 0.5 * (width - 1)).view(1, 1, 1, -1)
    dy = (torch.arange(height, dtype=torch.float32, device=x.device) - 0.5 * (height - 1)).view(1, 1, -1, 1)
    left = (xx * dx + xy * dy + ox).clamp(0.0, width - 1.0)
    top = (yx * dx + yy * dy + oy).clamp(0.0, height - 1.0)
    x0, y0 = left.long(), top.long()
    x1, y1 = (x0 + 1).clamp(max=width - 1), (y0 + 1).clamp(max=height - 1)
    u, v = (left - x0)[:, :, None], (top - y0)[:, :, None]
    flat = x.flatten(3)

    def at(row: Tensor, column: Tensor) -> Tensor:
        index = (row * width + column).flatten(2)[:, :, None].expand(-1, -1, x.shape[2], -1)
        return flat.gather(3, index).view_as(x)

    upper = at(y0, x0) * (1.0 - u) + at(y0, x1) * u
    lower = at(y1, x0) * (1.0 - u) + at(y1, x1) * u
    return upper * (1.0 - v) + lower * v
