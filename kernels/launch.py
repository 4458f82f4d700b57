"""Launching: the one door through which every Triton kernel goes."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from contextlib import contextmanager, nullcontext

import torch
import triton

INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") == "1"
_observers: list[Callable] = []
SIZES = (
    *("count", "slots", "batch", "instances", "edges", "tiles", "chunk", "chunks", "blocks", "state", "bias"),
    *("padding", "pixels", "height", "width", "in_height", "in_width", "rows", "columns", "windows", "outputs"),
    *("inputs", "top", "left", "classes", "op_weight", "input_weight", "drop"),
)
"""Arguments whose values make no binary of their own: counts, sizes, numbers of things, and addresses from which single
numbers are read. (Distances between rows do: as multiples of 16 they let memory be read 16 bytes at a time.)"""
if INTERPRETED:
    from autometa.kernels.interpreter import repair

    repair()


class KernelError(RuntimeError):
    """A kernel does not compile for a device, or does not fit it; the message names both."""


REFUSED = ("CompilationError", "CompileTimeAssertionFailure", "OutOfResources", "PTXASError")
"""Triton's errors of that sort."""


def _refusal(kernel, error: Exception) -> str:
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "this device"
    where = f"{kernel.fn.__module__.rpartition('.')[2]}.{kernel.fn.__name__}"
    reason = " ".join(str(error).split())[:300]
    return f"GPU kernel {where} cannot run on {card}: {reason} (AUTOMETA_BACKEND=reference does without)"


def kernel(function: Callable):
    """Decorator: a Triton kernel, one binary for all sizes; the process of a search meets many, and 1 is a size too."""
    return triton.jit(do_not_specialize=[n for n in inspect.signature(function).parameters if n in SIZES])(function)


def launch(kernel, grid: tuple[int, ...], *args, **options) -> None:
    """Run `kernel` on the current stream of its tensors' device; an empty grid is no launch.

    Fusing multiplications with additions is asked for: its default changes between Triton versions.
    """
    if not all(grid):
        return
    options = {"num_warps": 4, "enable_fp_fusion": True, **options}
    if _observers:
        _observers[-1](kernel, grid, args, options)
        return
    with _on_device_of((*args, *options.values())):
        try:
            kernel[grid](*args, **options)
        except Exception as error:
            if type(error).__name__ not in REFUSED:
                raise
            raise KernelError(_refusal(kernel, error)) from error


def _on_device_of(values):
    """Makes the device of the first CUDA tensor current, where it is not."""
    for value in values:
        if isinstance(value, torch.Tensor) and value.is_cuda:
            return torch.cuda.device(value.device)
    return nullcontext()


@contextmanager
def observed(observer: Callable):
    """Within it kernels are handed to `observer(kernel, grid, args, options)` and do not run."""
    _observers.append(observer)
    try:
        yield
    finally:
        _observers.pop()


def channel_block(channels: int) -> int:
    """Channels of a tile: the next power of 2, at least what the matrix units take."""
    return max(16, triton.next_power_of_2(channels))


def pixel_block(channels: int) -> int:
    """Pixels of a tile: what one warpgroup of the matrix units takes."""
    return 128 if channel_block(channels) == 16 else 64


def warps(channels: int) -> int:
    """Warps of a program, such that a thread has 16 elements of a tile."""
    return pixel_block(channels) * channel_block(channels) // 512


def product_block(channels: int) -> int:
    """Channels that one product on the matrix units sums over: more would not fit the shared memory in fp32."""
    return min(32, channel_block(channels))


def dot_precision(mode: str) -> str:
    """How `product` multiplies in mode `fp32`, `tf32` or `bf16`."""
    if mode == "bf16" and INTERPRETED:
        return "rounded"  # the interpreter multiplies bf16 operands wrongly
    return {"fp32": "tf32x3", "tf32": "tf32", "bf16": "bf16"}[mode]
