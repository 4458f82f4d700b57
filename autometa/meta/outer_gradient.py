"""Meta-learners whose slots find a gradient for theta, and an outer optimiser that takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from autometa.errors import InputError
from autometa.meta.learner import MetaLearner
from autometa.meta.optimisers import SGD, PerKind
from autometa.slots.arena import Arena

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
OUTER = ("adam", "sgd")


def mean_over_finite(values: Tensor, finite: Tensor, group_of_slot: Tensor, groups: int) -> Tensor:
    """Mean over the finite slots of each group: values `[S, ...]`, bool `[S]`, int64 `[S]` -> `[groups, ...]`.

    A group without a finite slot gets 0.
    """
    rows = values.flatten(1)
    kept = torch.where(finite[:, None], rows, torch.zeros_like(rows))
    total = rows.new_zeros(groups, rows.shape[1]).index_add(0, group_of_slot, kept)
    count = rows.new_zeros(groups).index_add(0, group_of_slot, finite.to(rows.dtype))
    return (total / count.clamp(min=1.0)[:, None]).view(groups, *values.shape[1:])


@dataclass(frozen=True)
class OuterGradient(MetaLearner):
    """Meta-learners whose slots leave theta minus their gradient in `phi`: gradient descent in the inner loop, Adam or
    gradient descent outside.

    Args:
        outer: `adam` (moments are kept) or `sgd`; its learning rate is the run's meta.step_size.
    """

    outer: str = OUTER[0]

    def __post_init__(self) -> None:
        if self.outer not in OUTER:
            raise InputError(f"learner.outer must be {' or '.join(OUTER)}, not {self.outer}")

    def optimiser(self, lr: PerKind, weight_decay: PerKind, beta2: float, state: str) -> SGD:
        return SGD(lr, weight_decay)

    def state(self, arena: Arena) -> dict[str, Tensor]:
        if self.outer == "sgd":
            return {}
        count = torch.zeros(arena.groups, 1, dtype=torch.int64, device=arena.theta.device)
        return {
            "outer_first": torch.zeros_like(arena.theta),
            "outer_second": torch.zeros_like(arena.theta),
            "outer_steps": count,
        }

    def update_(
        self, arena: Arena, moves: Mapping[str, Tensor], finite: Tensor, sizes: Tensor, state: dict[str, Tensor]
    ) -> None:
        if self.outer == "sgd":
            super().update_(arena, moves, finite, sizes, state)
            return
        start = arena.theta.index_select(0, arena.group_of_slot)
        gradient = mean_over_finite(start - arena.phi, finite, arena.group_of_slot, arena.groups)
        any_finite = mean_over_finite(finite[:, None].to(gradient.dtype), finite, arena.group_of_slot, arena.groups) > 0
        self._step_(arena, gradient, any_finite, sizes, state)

    def update_from_mean_(
        self, arena: Arena, mean: Tensor, moves: Mapping[str, Tensor], found: Tensor, sizes: Tensor, state: dict
    ) -> None:
        if self.outer == "sgd":
            super().update_from_mean_(arena, mean, moves, found, sizes, state)
            return
        gradient = torch.where(found[:, None], arena.theta - mean, torch.zeros_like(mean))
        self._step_(arena, gradient, found[:, None], sizes, state)

    def _step_(self, arena: Arena, gradient: Tensor, moving: Tensor, sizes: Tensor, state: dict[str, Tensor]) -> None:
        """Adam on theta: gradient `[groups, row]`; moving: bool `[groups, 1]`, groups that are updated at all."""
        size, steps = columns_of_groups(arena, sizes), state["outer_steps"]
        steps.add_(moving.to(steps.dtype))
        live = moving & (size != 0)
        adam_(arena.theta, gradient, live, size, state["outer_first"], state["outer_second"], steps)


def adam_(
    values: Tensor, gradient: Tensor, live: Tensor, size: Tensor, first: Tensor, second: Tensor, steps: Tensor
) -> None:
    """A step of Adam (Kingma and Ba 2015) on values `[groups, row]`, in place; those not `live` keep their bits and
    moments. steps: int64 `[groups, 1]`, this one counted."""
    first.copy_(torch.where(live, BETA1 * first + (1 - BETA1) * gradient, first))
    second.copy_(torch.where(live, BETA2 * second + (1 - BETA2) * gradient.square(), second))
    count = steps.to(torch.float64).clamp(min=1.0)
    corrected = (first / (1 - BETA1**count)) / ((second / (1 - BETA2**count)).sqrt() + EPS)
    values.copy_(torch.where(live, values - (size * corrected).to(values.dtype), values))


def columns_of_groups(arena: Arena, sizes: Tensor) -> Tensor:
    """float64 `[groups, kinds]` of each kind -> of each column, `[groups, row]`; 0 outside the group's layout."""
    layout = torch.zeros(arena.groups, dtype=torch.int64, device=sizes.device)
    layout.index_copy_(0, arena.group_of_slot, arena.layout_of_slot)
    edges = arena.bounds.index_select(0, layout)
    column = torch.arange(arena.theta.shape[1], device=sizes.device)
    kind = (column[None, :, None] >= edges[:, None, :]).sum(dim=2)
    padded = torch.nn.functional.pad(sizes, (1, 1))
    return padded.gather(1, kind)
