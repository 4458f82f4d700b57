"""Meta-learners whose slots find a gradient for theta, and an outer optimiser that takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from autometa.errors import InputError
from autometa.meta.learner import MetaLearner, State
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

    learns: ClassVar[tuple[str, ...]] = ()
    """Names of the state that is learned beside theta, `[groups, ...]`; the slots' moves are its gradients."""

    def __post_init__(self) -> None:
        if self.outer not in OUTER:
            raise InputError(f"learner.outer must be {' or '.join(OUTER)}, not {self.outer}")

    def optimiser(self, lr: PerKind, weight_decay: PerKind, beta2: float, state: str) -> SGD:
        return SGD(lr, weight_decay)

    def begun(self, arena: Arena, steps: int) -> dict[str, Tensor]:
        """What is learned beside theta, as it begins."""
        return {}

    def sizes_of(self, name: str, arena: Arena, size: Tensor) -> Tensor:
        """Step sizes of what is learned beside theta, as wide as its last axis: size float64 `[groups, row]` is that of
        theta's columns."""
        return size

    def of_slots(self, arena: Arena, state: State) -> dict[str, Tensor]:
        """What is learned beside theta, of each slot `[S, ...]`; nothing before it was trained."""
        return {name: state[name].index_select(0, arena.group_of_slot) for name in self.learns if name in state}

    def state(self, arena: Arena, steps: int) -> dict[str, Tensor]:
        own = self.begun(arena, steps)
        if self.outer == "sgd":
            return own
        moments = {"outer": arena.theta, **{name: own[name] for name in self.learns}}
        for name, values in moments.items():
            own |= {f"{name}_first": torch.zeros_like(values), f"{name}_second": torch.zeros_like(values)}
        count = torch.zeros(arena.groups, 1, dtype=torch.int64, device=arena.theta.device)
        return {**own, "outer_steps": count}

    def update_(
        self, arena: Arena, moves: Mapping[str, Tensor], finite: Tensor, sizes: Tensor, state: dict[str, Tensor]
    ) -> None:
        of_slot, groups = arena.group_of_slot, arena.groups
        found = mean_over_finite(finite[:, None].to(arena.theta.dtype), finite, of_slot, groups) > 0
        gradients = {name: mean_over_finite(moves[name], finite, of_slot, groups) for name in self.learns}
        if self.outer == "sgd":
            super().update_(arena, moves, finite, sizes, state)
        else:
            start = arena.theta.index_select(0, of_slot)
            gradients = {"outer": mean_over_finite(start - arena.phi, finite, of_slot, groups), **gradients}
        self._step_(arena, gradients, found, sizes, state)

    def update_from_mean_(
        self, arena: Arena, mean: Tensor, moves: Mapping[str, Tensor], found: Tensor, sizes: Tensor, state: dict
    ) -> None:
        gradients = {name: moves[name][None] for name in self.learns}
        if self.outer == "sgd":
            super().update_from_mean_(arena, mean, moves, found, sizes, state)
        else:
            outer = torch.where(found[:, None], arena.theta - mean, torch.zeros_like(mean))
            gradients = {"outer": outer, **gradients}
        self._step_(arena, gradients, found[:, None], sizes, state)

    def _step_(
        self, arena: Arena, gradients: Mapping[str, Tensor], moving: Tensor, sizes: Tensor, state: dict[str, Tensor]
    ) -> None:
        """The outer optimiser on theta (`outer`) and what is learned beside it, from gradients `[groups, ...]` by name;
        moving: bool `[groups, 1]`, groups that are updated at all."""
        if not gradients:
            return
        columns = columns_of_groups(arena, sizes)
        if self.outer == "adam":
            state["outer_steps"].add_(moving.to(torch.int64))
        for name, gradient in gradients.items():
            values = arena.theta if name == "outer" else state[name]
            size = columns if name == "outer" else self.sizes_of(name, arena, columns)
            size = size.view(len(size), *(1,) * (values.dim() - 2), -1).expand(values.shape).flatten(1)
            flat, slope, live = values.flatten(1), gradient.flatten(1), moving & (size != 0)
            if self.outer == "sgd":
                flat.copy_(torch.where(live, flat - (size * slope).to(flat.dtype), flat))
            else:
                first, second = (state[f"{name}_{moment}"].flatten(1) for moment in ("first", "second"))
                adam_(flat, slope, live, size, first, second, state["outer_steps"])


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
    edges = arena.bounds.index_select(0, arena.layout_of_group)
    column = torch.arange(arena.theta.shape[1], device=sizes.device)
    kind = (column[None, :, None] >= edges[:, None, :]).sum(dim=2)
    padded = torch.nn.functional.pad(sizes, (1, 1))
    return padded.gather(1, kind)
