"""Pictures in whatever form people hold them, as uint8 `[n, channels, size, size]` that a model's recipe makes."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from autometa.data import Recipe
from autometa.data.images import convert, read_image
from autometa.errors import InputError

SMALLEST = 64
"""Numbers of a row that is a picture, at least: 8 x 8. Shorter rows are a table."""
CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class Levels:
    """Which numbers are black and white (0 and 255) in arrays that are not uint8; settled by the pictures taught."""

    low: float
    high: float

    @classmethod
    def of(cls, arrays: Sequence[np.ndarray]) -> Levels | None:
        """0 and 1 where everything lies between, else the least and the greatest number; None where all are uint8."""
        scaled = [array for array in arrays if array.dtype != np.uint8]
        if not scaled:
            return None
        low, high = float(min(np.min(a) for a in scaled)), float(max(np.max(a) for a in scaled))
        if not math.isfinite(low + high):
            raise InputError("images hold NaN or infinity; remove or replace them")
        if 0 <= low and high <= 1:
            return cls(0.0, 1.0)
        return cls(low, high if high > low else low + 1.0)

    def to_uint8(self, values: np.ndarray) -> np.ndarray:
        """Numbers a little outside are clipped. Raises `InputError` where they are of another scale altogether."""
        width = self.high - self.low
        low, high = float(values.min()), float(values.max())
        if not (self.low - width <= low and high <= self.high + width):
            raise InputError(
                f"images hold numbers from {low:g} to {high:g}, those taught {self.low:g} to {self.high:g}; "
                "scale them alike"
            )
        return np.rint(((values.astype(np.float64) - self.low) * (255 / width)).clip(0, 255)).astype(np.uint8)


@dataclass(frozen=True)
class Items:
    """Single images, each a path, a Pillow image or an array `[H, W]`, `[H, W, C]` or `[C, H, W]`."""

    images: list[Any]


@dataclass(frozen=True)
class Rows:
    """A table of numbers `[n, features]`, as it came."""

    table: Any


def gather(X: Any) -> Items | Rows:
    """What kind of images somebody holds. Raises `InputError` for an array that is neither."""
    if _alone(X):
        return Items([X])
    if isinstance(X, torch.Tensor):
        X = _array(X, 4)
    if isinstance(X, (list, tuple)) and X:
        if all(_alone(item) or getattr(item, "ndim", 0) in (2, 3) for item in X):
            return Items([_array(item, 3) if isinstance(item, torch.Tensor) else item for item in X])
        try:
            deep = np.asarray(X).ndim > 2
        except ValueError:
            deep = False
        X = np.asarray(X) if deep else X
    shape = getattr(X, "shape", ())
    if len(shape) > 4:
        raise InputError(f"an array of images has at most 4 dimensions, not {list(shape)}")
    if len(shape) > 2:
        return Items(list(np.asarray(X)))
    if len(shape) == 1 or (len(shape) == 2 and shape[1] == 1):
        cells = np.asarray(X).ravel()
        if len(cells) and cells.dtype.kind in "OUS" and all(_alone(cell) for cell in cells):
            return Items(cells.tolist())
    return Rows(X)


Pictures = tuple[np.ndarray, Levels | None]


def pictures(items: Items, recipe: Recipe, levels: Levels | None, *, fitted: bool) -> Pictures:
    """uint8 `[n, C, size, size]`, and the levels that held, found anew unless `fitted`.

    Raises `InputError` where an image cannot be read.
    """
    if not items.images:
        raise InputError("no images were given; give at least one")
    arrays = [image for image in items.images if isinstance(image, np.ndarray)]
    if any(array.dtype.kind not in "biuf" or not array.size for array in arrays):
        raise InputError("arrays of images hold numbers, and each at least one; give whole or floating numbers")
    levels = _levels(levels, arrays, fitted)
    made = [
        convert(_drawn(image, levels), recipe)
        if isinstance(image, np.ndarray)
        else convert(image, recipe)
        if isinstance(image, Image.Image)
        else read_image(os.fsdecode(image), recipe)
        for image in items.images
    ]
    return np.stack(made), levels


def tables(
    rows: np.ndarray, recipe: Recipe, levels: Levels | None, *, fitted: bool
) -> tuple[np.ndarray, Levels | None]:
    """`pictures` of numeric rows `[n, features]`: of 64 and more numbers, a square number of them (or three such
    squares, colour last), each is a picture row by row. Others are a table: their numbers fill a square, the rest of it
    is 0, and no ink is looked for.
    """
    n, features = rows.shape
    side, colours = math.isqrt(features), math.isqrt(features // 3)
    if features >= SMALLEST and side * side == features:
        return pictures(Items(list(rows.reshape(n, side, side))), recipe, levels, fitted=fitted)
    if features >= 3 * SMALLEST and 3 * colours * colours == features:
        return pictures(Items(list(rows.reshape(n, colours, colours, 3))), recipe, levels, fitted=fitted)
    levels = _levels(levels, [rows], fitted)
    side = math.isqrt(features - 1) + 1
    filled = np.zeros((n, side * side), np.uint8)
    filled[:, :features] = rows if rows.dtype == np.uint8 else levels.to_uint8(rows)
    plain = replace(recipe, polarity="as-is")
    return pictures(Items(list(filled.reshape(n, side, side))), plain, None, fitted=fitted)[0], levels


def _levels(levels: Levels | None, arrays: Sequence[np.ndarray], fitted: bool) -> Levels | None:
    """Those that were taught; the arrays' own while fitting. After teaching from files or uint8 alone, where nothing
    settled them, 0 and 1 or else 0 and 255: an answer must not depend on the other images."""
    if fitted and levels is not None:
        return levels
    found = Levels.of(arrays)
    return Levels(0.0, 255.0) if fitted and found not in (None, Levels(0.0, 1.0)) else found


def _drawn(array: np.ndarray, levels: Levels | None) -> Image.Image:
    """A Pillow image of `[H, W]`, `[H, W, C]` or `[C, H, W]`."""
    if array.ndim == 3 and array.shape[2] not in CHANNELS:
        if array.shape[0] not in CHANNELS:
            raise InputError(
                f"an image array is [H, W], [H, W, C] or [C, H, W] with C 1, 3 or 4, not {list(array.shape)}"
            )
        array = np.moveaxis(array, 0, 2)
    pixels = array if array.dtype == np.uint8 else levels.to_uint8(array)
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels))


def _array(tensor: torch.Tensor, with_channels: int) -> np.ndarray:
    """A tensor's values; of one with so many dimensions the channels, which torch puts first, get last."""
    values = tensor.detach().cpu()
    values = values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
    if values.ndim == with_channels and values.shape[-3] in CHANNELS:
        values = values.movedim(-3, -1)
    return values.numpy()


def _alone(item: Any) -> bool:
    """Whether it is one image: a path or a Pillow image."""
    return isinstance(item, (str, bytes, os.PathLike, Image.Image))
