"""Big float32 buffers from a pool, and the memory format in which compiled kernels keep activations.

A fresh page costs microseconds to fault in, more than computing what it holds: buffers of 64 KiB and more come from a
pool of the compiled module and return to it when the last tensor that views them dies.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import torch
from torch import Tensor

from autometa.ops.backend import compiled

CPU = torch.device("cpu")
POOLED = 1 << 16  # bytes
NARROW, WIDE = 8, 16  # channels are padded to NARROW, or to multiples of WIDE


class MemoryReport(NamedTuple):
    """Bytes: in buffers that live, in buffers kept for later, and the most that lived at once."""

    in_use: int
    cached: int
    peak: int


def floats(count: int) -> Tensor:
    """An uninitialised float32 tensor `[count]` at a multiple of 64 bytes; NaN where AUTOMETA_DEBUG is set.

    Raises `MemoryError` where there is not so much.
    """
    module = compiled() if 4 * count >= POOLED else None
    if module is None:
        made = numbers(count)
    else:
        made = torch.frombuffer(module.Block(4 * count), dtype=torch.float32, count=count)
    return made.fill_(torch.nan) if os.environ.get("AUTOMETA_DEBUG") else made


def numbers(*shape: int) -> Tensor:
    """An uninitialised float32 tensor on the CPU, whatever torch's defaults are."""
    return torch.empty(shape, dtype=torch.float32, device=CPU)


def memory_held(reset_peak: bool = False) -> MemoryReport:
    """What the pool holds; `reset_peak` makes the next peak count from now."""
    module = compiled()
    return MemoryReport(*module.memory_report(reset_peak)) if module else MemoryReport(0, 0, 0)


def release_memory() -> None:
    """Give buffers kept for later back to the system."""
    module = compiled()
    if module:
        module.release_memory()


def padded_channels(channels: int) -> int:
    """Channels as they stand in memory: 8, or the next multiple of 16."""
    return NARROW if channels <= NARROW else -(-channels // WIDE) * WIDE


def activation_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of the memory format, from `[S, N, C, H, W]`."""
    _, batch, channels, height, width = shape
    pixel = padded_channels(channels)
    return (batch * height * width * pixel, height * width * pixel, 1, width * pixel, pixel)


def activation(slots: int, batch: int, channels: int, height: int, width: int) -> Tensor:
    """An uninitialised `[S, N, C, H, W]` whose memory is `[S, N, H, W, padded_channels(C)]`, from the pool.

    The padding holds anything; kernels write it at will and never let it reach a channel.
    """
    shape = (slots, batch, channels, height, width)
    return floats(slots * batch * height * width * padded_channels(channels)).as_strided(
        shape, activation_strides(shape)
    )


def is_activation(x: Tensor) -> bool:
    """Whether kernels can read x `[S, N, C, H, W]` where it stands: format, alignment, padding of the last pixel."""
    if x.dtype != torch.float32 or x.device.type != "cpu" or x.dim() != 5:
        return False
    shape, strides = x.shape, x.stride()
    due = activation_strides(shape)
    if strides != due and any(n > 1 and a != b for n, a, b in zip(shape, strides, due, strict=True)):
        return False
    ends = 4 * (x.storage_offset() + shape[0] * due[0])
    return x.data_ptr() % (4 * min(due[4], WIDE)) == 0 and ends <= x.untyped_storage().nbytes()


def as_activation(x: Tensor) -> Tensor:
    """x `[S, N, C, H, W]` itself where `is_activation`, else a float32 copy in that format, its padding 0."""
    if is_activation(x):
        return x
    made = activation(*x.shape)
    if x.numel() == 0:
        return made
    slots, batch, channels, height, width = x.shape
    pixel = padded_channels(channels)
    flat = made.as_strided((slots, batch, pixel, height, width), made.stride())
    flat[:, :, channels:].zero_()
    return made.copy_(x)
