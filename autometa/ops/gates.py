"""Decisions of ReLUs and maximum pools, taken over from other slots: networks whose pieces stay where they are.

A network of ReLUs and maximum pools is smooth but for the places where one of them decides otherwise. Differences of
its gradients are those of the smooth piece that a point lies on only if both points decide alike. Within `paired()`
slots come in pairs: of 2 S slots the first S decide for themselves, slot S + s decides as slot s does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.nn.functional as F
from torch import Tensor

_PAIRED: ContextVar[bool] = ContextVar("paired", default=False)


@contextmanager
def paired(are: bool = True) -> Iterator[None]:
    """Within it the second half of the slots decides as the first half does, or again every slot for itself."""
    token = _PAIRED.set(are)
    try:
        yield
    finally:
        _PAIRED.reset(token)


def are_paired() -> bool:
    """Whether slots come in pairs here."""
    return _PAIRED.get()


def half(slots: int) -> int:
    """How many pairs these slots are. Raises `ValueError` for an odd number."""
    if slots % 2:
        raise ValueError(f"slots that come in pairs are an even number, not {slots}")
    return slots // 2


def slots_together(slots: int, paired: bool) -> list[slice]:
    """The slots that decide together: all of them, or each half of the pairs, the deciding one first."""
    return [slice(0, half(slots)), slice(half(slots), slots)] if paired else [slice(0, slots)]


def relu(x: Tensor, slots: int) -> Tensor:
    """The ReLU of a folded activation `[N, S*C, H, W]`."""
    if not are_paired():
        return torch.relu(x)
    own, other = x.chunk(2, dim=1) if half(slots) else (x, x)
    return torch.cat([torch.relu(own), torch.where(own > 0, other, torch.zeros_like(other))], dim=1)


def max_pool(x: Tensor, slots: int, kernel: int, stride: int, padding: int = 0, ceil_mode: bool = False) -> Tensor:
    """The maximum pool of a folded activation `[N, S*C, H, W]`."""
    if not are_paired():
        return F.max_pool2d(x, kernel, stride, padding, ceil_mode=ceil_mode)
    own, other = x.chunk(2, dim=1) if half(slots) else (x, x)
    y, at = F.max_pool2d(own, kernel, stride, padding, ceil_mode=ceil_mode, return_indices=True)
    taken = other.flatten(2).gather(2, at.flatten(2)).view(y.shape)
    return torch.cat([y, taken], dim=1)


def in_pairs(chosen: Tensor, slots: int) -> None:
    """Raise `ValueError` unless these slots, int64 `[n]`, hold with each its pair."""
    first, second = chosen.chunk(2) if len(chosen) % 2 == 0 else (chosen, chosen)
    if not torch.equal(first + half(slots), second):
        raise ValueError("slots that come in pairs must evaluate the same operations")
