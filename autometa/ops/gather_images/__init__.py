"""Pick images out of a uint8 store, turn and scale them into a float batch."""

from __future__ import annotations

import torch

from autometa.ops._checks import check_numbers, check_table, require
from autometa.ops.backend import dispatch, implements
from autometa.ops.gather_images import native as native


def gather_images(
    images: torch.Tensor,
    index: torch.Tensor,
    rotation: torch.Tensor,
    scale: torch.Tensor,
    shift: torch.Tensor,
    *,
    out: torch.Tensor | None = None,
    backend: str | None = None,
) -> torch.Tensor:
    """``images[index]`` turned by `rotation` quarter turns counter-clockwise, times scale, plus shift.

    Args:
        images: uint8 `[n, C, H, W]`, contiguous; may map a file.
        index: int64, any shape.
        rotation: int64, broadcastable to the shape of index; taken modulo 4. Turned as
            ``torch.rot90(image, rotation, (-2, -1))``; odd turns need H = W.
        scale, shift: float32 `[C]`.
        out: where to write, float32 of shape index.shape + [C, H, W], contiguous.

    Returns:
        `out`, allocated where it was not given.

    Raises:
        ValueError: an index out of range, an odd turn of an image that is not square, or a tensor of the
            wrong shape, dtype or device. The values of tensors on a GPU are not looked at: backend `cuda` takes the
            nearest image or pixel there is.
        BackendError: the forced backend cannot run.
    """
    require(
        images.dim() == 4 and images.dtype == torch.uint8 and images.is_contiguous(),
        f"images must be contiguous uint8 [n, C, H, W], they are {images.dtype} {list(images.shape)}",
    )
    device, channels = images.device, images.shape[1]
    check_numbers("gather_images", index.numel())
    try:
        rotation = rotation.expand(index.shape).contiguous()
    except RuntimeError:
        raise ValueError(
            f"rotation of shape {list(rotation.shape)} does not broadcast to index, {list(index.shape)}"
        ) from None
    index = index.contiguous()
    check_table("index", index, tuple(index.shape), torch.int64, device)
    check_table("rotation", rotation, tuple(index.shape), torch.int64, device)
    check_table("scale", scale, (channels,), torch.float32, device)
    check_table("shift", shift, (channels,), torch.float32, device)
    shape = (*index.shape, *images.shape[1:])
    if out is None:
        out = torch.empty(shape, dtype=torch.float32, device=device)
    check_table("out", out, shape, torch.float32, device)
    require(images.shape[0] > 0 or index.numel() == 0, "index must lie in 0..-1: there are no images")
    dispatch("gather_images", device, torch.uint8, backend)(images, index, rotation, scale, shift, out)
    return out


@implements("gather_images", "reference")
@torch.no_grad()
def _reference(images, index, rotation, scale, shift, out) -> None:
    count = images.shape[0]
    flat, turns = index.flatten(), rotation.flatten() % 4
    require(
        flat.numel() == 0 or (int(flat.min()) >= 0 and int(flat.max()) < count),
        f"index must lie in 0..{count - 1}",
    )
    picked = images[flat]
    for turn in turns.unique().tolist():
        if turn == 0:
            continue
        require(
            turn == 2 or images.shape[2] == images.shape[3],
            f"a quarter turn needs square images, these are {images.shape[2]} x {images.shape[3]}",
        )
        chosen = (turns == turn).nonzero().flatten()
        picked[chosen] = torch.rot90(picked[chosen], turn, (-2, -1))
    values = picked.to(torch.float32).mul_(scale.view(1, -1, 1, 1)).add_(shift.view(1, -1, 1, 1))
    out.copy_(values.view(out.shape))
