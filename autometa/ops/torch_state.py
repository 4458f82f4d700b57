"""Torch's state as the package computes in it, whatever the caller's is."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")
CPU = torch.device("cpu")


@contextmanager
def own_torch_state() -> Iterator[None]:
    """Within it torch's state is that of a fresh process, of what changes numbers or whether there are gradients:
    dtype and device of new tensors, gradients recorded, no inference mode, no autocast, float32 products in full,
    subnormal numbers kept, PyTorch's own choice of algorithms. The caller's is back afterwards.

    The number of threads is the caller's: it changes no result of the compiled ops.
    """
    with ExitStack() as state:
        state.enter_context(torch.inference_mode(False))
        state.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                state.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_dtype() is not torch.float32:
            state.callback(torch.set_default_dtype, torch.get_default_dtype())
            torch.set_default_dtype(torch.float32)
        if torch.get_default_device() != CPU:
            state.enter_context(CPU)  # sees new tensors before the caller's does
        if torch.are_deterministic_algorithms_enabled():
            warn = torch.is_deterministic_algorithms_warn_only_enabled()
            state.callback(torch.use_deterministic_algorithms, True, warn_only=warn)
            torch.use_deterministic_algorithms(False)
        if torch.get_float32_matmul_precision() != "highest":
            state.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
            torch.set_float32_matmul_precision("highest")
        if _flushes() and torch.set_flush_denormal(False):
            state.callback(torch.set_flush_denormal, True)
        yield


def _flushes() -> bool:
    """Whether this thread takes subnormal numbers for 0, which torch sets but does not tell."""
    return sys.float_info.min / 2 == 0


def in_own_torch_state(call: Callable[P, R]) -> Callable[P, R]:
    """Decorator: a function that runs within `own_torch_state`."""

    @functools.wraps(call)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with own_torch_state():
            return call(*args, **kwargs)

    return run
