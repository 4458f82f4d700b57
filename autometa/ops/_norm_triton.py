"""What the Triton backends of `preprocess` and `conv_block` allocate around their batch normalisation."""

from __future__ import annotations

import torch
from torch import Tensor

from autometa.ops._triton import kernels, map_strides, poisoned


def stored_type(mode: str) -> torch.dtype:
    """Of maps that only the kernels read again."""
    return torch.bfloat16 if mode == "bf16" else torch.float32


def stored_map(shape: tuple[int, ...], like: Tensor, mode: str) -> Tensor:
    """An uninitialised map `[S, N, C, H, W]` of that type in the memory format.

    Raises `ValueError` where one slot's map has more elements than 32 bits count.
    """
    strides = map_strides(shape)
    if strides[0] >= 2**31:
        raise ValueError(f"a slot's map {list(shape[1:])} is too large for the GPU kernels; use a smaller batch")
    return poisoned(torch.empty_strided(shape, strides, dtype=stored_type(mode), device=like.device))


def scratch(like: Tensor, *shape: int) -> Tensor:
    """An uninitialised float32 tensor."""
    return poisoned(torch.empty(shape, dtype=torch.float32, device=like.device))


def pixels(x: Tensor) -> int:
    """Pixels of one slot's map `[S, N, C, H, W]`."""
    return x.shape[1] * x.shape[3] * x.shape[4]


def moments_of(norm, z: Tensor) -> Tensor:
    """Room for the moments of every tile of z."""
    return scratch(z, z.shape[0], kernels("normalise").tiles_of(pixels(z), norm.channels), 2, norm.block)


def summed(norm, gy: Tensor, z: Tensor, factors: Tensor, params: Tensor) -> Tensor:
    """Sums `[S, 2, BLOCK]` of the gradient behind the normalisation, and of it times the normalised z."""
    sums = scratch(z, z.shape[0], 2, norm.block)
    kernels("normalise").gradient_sums(norm, gy, z, factors, params, moments_of(norm, gy), sums)
    return sums
