"""Optimisers of the inner loop on an arena: Adam without a first moment, and gradient descent."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from autometa.ops.adam import adam_
from autometa.ops.clip_grad import clip_grad_
from autometa.ops.sgd import sgd_
from autometa.slots.arena import Arena
from autometa.slots.layout import KINDS

NONE: tuple[str, ...] = ()
"""No kind of columns is frozen."""


@dataclass(frozen=True)
class PerKind:
    """One number for weights and one for architecture parameters; head: of the last layer, as of weights where None."""

    weights: float
    architecture: float = 0.0
    head: float | None = None

    def values(self, frozen: Collection[str] = NONE) -> tuple[float, ...]:
        """In the order of `KINDS`; 0 for a frozen kind. Raises `ValueError` for a kind that does not exist."""
        unknown = set(frozen) - set(KINDS)
        if unknown:
            raise ValueError(f"there is no kind of columns {sorted(unknown)[0]!r}; they are {', '.join(KINDS)}")
        head = self.weights if self.head is None else self.head
        own = zip(KINDS, (self.weights, head, self.architecture), strict=True)
        return tuple(0.0 if kind in frozen else value for kind, value in own)

    def table(self, arena: Arena, frozen: Collection[str] = NONE) -> Tensor:
        """float64 `[groups, kinds]`, to be read only; a frozen kind gets 0."""
        return _table(self.values(frozen), arena.groups, arena.phi.device)

    def columns(self, arena: Arena, frozen: Collection[str] = NONE) -> Tensor:
        """The number of each column of each slot's row, `[S, row]` in the arena's dtype; 0 outside the layout."""
        edges = arena.bounds.index_select(0, arena.layout_of_slot)  # [S, kinds + 1]
        column = torch.arange(arena.phi.shape[1], device=edges.device)
        kind = (column[None, :, None] >= edges[:, None, :]).sum(dim=2)  # 1 .. kinds inside, more behind the row's end
        values = torch.tensor((0.0, *self.values(frozen), 0.0), dtype=arena.phi.dtype, device=edges.device)
        return values[kind]


@cache
def _table(values: tuple[float, ...], groups: int, device: torch.device) -> Tensor:
    """Made once: a copy to a GPU would wait for it, and may not stand in a captured graph."""
    return torch.tensor(values, dtype=torch.float64, device=device).expand(groups, len(values)).contiguous()


@dataclass(frozen=True)
class Adam:
    """Adam in the inner loop (Reptile and MetaNAS: beta1 = 0, so no first moment exists).

    `state` is `carry` (second moment and step count go on from task to task) or `reset`.
    """

    lr: PerKind
    weight_decay: PerKind = PerKind(0.0, 0.0)
    beta2: float = 0.999
    eps: float = 1e-8
    state: str = "carry"
    max_norm: PerKind | None = None

    def __post_init__(self) -> None:
        if self.state not in ("carry", "reset"):
            raise ValueError(f"Adam state must be 'carry' or 'reset', not {self.state!r}")

    def begin_(self, arena: Arena) -> None:
        """Before the first step of a task."""
        if self.state == "reset":
            arena.reset_moments_()

    def step_(self, arena: Arena, grad: Tensor, frozen: Collection[str] = NONE) -> None:
        """Update `arena` from `grad [S, row]`; a frozen kind neither moves nor counts."""
        if self.max_norm is not None:
            clip_grad_(grad, self.max_norm.table(arena), arena.rows)
        lr, decay = self.lr.table(arena, frozen), self.weight_decay.table(arena)
        adam_(arena.phi, grad, arena.second, arena.steps, lr, decay, arena.rows, beta2=self.beta2, eps=self.eps)


@dataclass(frozen=True)
class SGD:
    """Plain gradient descent in the inner loop."""

    lr: PerKind
    weight_decay: PerKind = PerKind(0.0, 0.0)
    state: str = "reset"

    def begin_(self, arena: Arena) -> None:
        """Nothing to prepare: gradient descent has no state."""

    def step_(self, arena: Arena, grad: Tensor, frozen: Collection[str] = NONE) -> None:
        sgd_(arena.phi, grad, self.lr.table(arena, frozen), self.weight_decay.table(arena), arena.rows)
