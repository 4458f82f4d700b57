"""Argument checks that ops share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

FLOATS = (torch.float32, torch.float64)
MOST_NUMBERS = 2**28  # of a table of draws: more is a mistake, and would fill the memory before it is found


def require(condition: bool, message: str) -> None:
    """Raise `ValueError(message)` unless the condition holds."""
    if not condition:
        raise ValueError(message)


def check_matrix(name: str, value: torch.Tensor) -> None:
    """An arena: contiguous, two-dimensional, float32 or float64."""
    if value.dim() != 2:
        raise ValueError(f"{name} must be [slots, row], it has shape {tuple(value.shape)}")
    if value.dtype not in FLOATS:
        raise ValueError(f"{name} must be float32 or float64, it is {value.dtype}")
    if not value.is_contiguous():
        raise ValueError(f"{name} must be contiguous; pass the arena itself, not a strided view of it")


def check_like(name: str, value: torch.Tensor, other_name: str, other: torch.Tensor) -> None:
    """`value` must agree with `other` in shape, dtype and device, and be contiguous."""
    if value.shape != other.shape or value.dtype != other.dtype or value.device != other.device:
        raise ValueError(
            f"{name} must be like {other_name} ({tuple(other.shape)}, {other.dtype}, {other.device}), "
            f"it is {tuple(value.shape)}, {value.dtype}, {value.device}"
        )
    if not value.is_contiguous():
        raise ValueError(f"{name} must be contiguous; pass the arena itself, not a strided view of it")


def check_table(name: str, value: torch.Tensor, shape: tuple[int, ...], dtype: torch.dtype, device) -> None:
    """A small table of known shape and dtype on the arena's device; contiguous."""
    if tuple(value.shape) != shape or value.dtype != dtype or value.device != device:
        raise ValueError(
            f"{name} must be {list(shape)}, {dtype}, on {device}; it is {list(value.shape)}, {value.dtype}, "
            f"on {value.device}"
        )
    if not value.is_contiguous():
        raise ValueError(f"{name} must be contiguous")


def check_states(states: Sequence[Tensor], params: Tensor, op: str) -> tuple[int, int]:
    """Activations `[S, N, C_j, H_j, W_j]` on the device and in the dtype of params `[S, P]`, that agree in S and N.

    Returns S and N, which may be 0; no other size may.
    """
    if not states:
        raise ValueError(f"{op} needs a state at least")
    first, device, dtype = states[0].shape[:2], params.device, params.dtype
    for x in states:
        shape = x.shape
        if len(shape) != 5 or shape[:2] != first:
            raise ValueError(
                f"states must all be [slots, batch, channels, height, width] with equal slots and batch, one is "
                f"{list(shape)}, the first {list(states[0].shape)}"
            )
        if 0 in shape[2:]:
            raise ValueError(f"states must have channels, height and width of 1 at least, one is {list(shape)}")
        if x.dtype != dtype or x.device != device:
            raise ValueError(f"states must all be {dtype} on {device}, as params is, one is {x.dtype} on {x.device}")
    if params.dim() != 2 or params.shape[0] != first[0]:
        raise ValueError(f"params must have {first[0]} rows, one per slot, not {list(params.shape)}")
    return tuple(first)


def check_option(name: str, value: Tensor | None, shape: tuple[int, ...], device: torch.device) -> None:
    """An optional argument: real numbers of known shape on the device of the parameters."""
    if value is None:
        return
    if value.shape != shape or value.device != device or not value.dtype.is_floating_point:
        raise ValueError(
            f"{name} must be {list(shape)} of real numbers on {device}, not {list(value.shape)} {value.dtype} on "
            f"{value.device}"
        )


def check_home(name: str, table: Tensor, device: torch.device) -> None:
    """A table of the compiled ops: on the CPU, or where the parameters are."""
    if table.device.type != "cpu" and table.device != device:
        raise ValueError(f"{name} must be on the CPU or on {device}, not on {table.device}")


def check_eps(eps: float) -> None:
    """What is added to variances."""
    if not 0 <= eps < math.inf:
        raise ValueError(f"eps must be a number of at least 0, it is {eps}")


def check_count(name: str, value: int) -> None:
    """A number of channels or classes, which parameters are made for."""
    if not 1 <= value < 2**31:
        raise ValueError(f"{name} must lie in 1..2^31 - 1, it is {value}")


def check_numbers(what: str, *sizes: int) -> None:
    """The size of a table that an op is about to fill with draws."""
    if math.prod(sizes) > MOST_NUMBERS:
        raise ValueError(f"{what}: {' x '.join(map(str, sizes))} numbers are more than the {MOST_NUMBERS} of one call")
