"""Meta-SGD (Li et al. 2017, arXiv 1707.09835): MAML that learns a rate for every weight."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from autometa.meta.inner_loop import slot_gradients
from autometa.meta.learner import Adapted, State, TaskChunk
from autometa.meta.maml import EitherOrder
from autometa.meta.optimisers import NONE, SGD, Adam, PerKind
from autometa.meta.outer_gradient import adam_, columns_of_groups, mean_over_finite
from autometa.ops import backend
from autometa.slots.arena import Arena

RATES = "rates"


@dataclass(frozen=True)
class MetaSGD(EitherOrder):
    """Meta-SGD: the inner loop descends with a rate for every weight, learned beside theta by the same outer optimiser
    (algorithm 1), of any sign.

    Kept are multiples of the run's `inner.lr`, 1 at first; the paper draws rates from 0.005 to 0.1 and takes one
    inner step.
    """

    adapts_with: ClassVar[tuple[str, ...]] = (RATES,)

    def state(self, arena: Arena) -> dict[str, Tensor]:
        kept = {**super().state(arena), RATES: torch.ones_like(arena.theta)}
        if self.outer == "adam":
            kept |= {f"{RATES}_{moment}": torch.zeros_like(arena.theta) for moment in ("first", "second")}
        return kept

    def adapt_(
        self,
        arena: Arena,
        task: TaskChunk,
        optimiser: Adam | SGD,
        steps: int,
        state: State,
        *,
        first_step: int = 0,
        frozen: Collection[str] = NONE,
    ) -> Tensor:
        rates, losses = self._rates(arena, optimiser, state, frozen), []
        for t in range(first_step, first_step + steps):
            loss, grad = slot_gradients(task.objective, arena.phi, *task.batches.step(t), t)
            arena.phi.sub_(rates * grad)
            losses.append(loss)
        return torch.stack(losses) if losses else arena.phi.new_zeros(0, arena.slots)

    def _rates(self, arena: Arena, optimiser: Adam | SGD, state: State, frozen: Collection[str]) -> Tensor:
        """Of each slot's columns, `[S, row]`; the run's own rate where nothing is learned yet."""
        rates = optimiser.lr.columns(arena, frozen)
        return rates * state[RATES].index_select(0, arena.group_of_slot) if RATES in state else rates

    def train_(
        self,
        arena: Arena,
        task: TaskChunk,
        optimiser: Adam | SGD,
        steps: int,
        state: State,
        *,
        frozen: Collection[str] = NONE,
    ) -> Adapted:
        """Leaves theta minus its meta-gradient in `arena.phi`; moves: the gradient for the multiples, `[S, row]`."""
        assert task.queries is not None, "drawn for a learner that needs them"
        lr, start = optimiser.lr.columns(arena, frozen), arena.phi.clone().requires_grad_(True)
        multiples = state[RATES].index_select(0, arena.group_of_slot).requires_grad_(True)
        row, losses = start, []
        for t in range(steps):
            images, labels = task.batches.step(t)
            here = row if self.second_order else row.detach().requires_grad_(True)
            with backend.second_order() if self.second_order else nullcontext():
                loss = task.objective(here, images, labels, t)
            (grad,) = torch.autograd.grad(loss.sum(), here, create_graph=self.second_order)
            row = row - lr * multiples * grad
            losses.append(loss.detach())
        query = task.objective(row, *task.queries(), steps)
        gradient, move = torch.autograd.grad(query.sum(), (start, multiples), allow_unused=True)
        adapted, begun = row.detach(), start.detach()
        moving = PerKind(1.0, 1.0).columns(arena, frozen)
        arena.phi.copy_(torch.where(torch.isfinite(adapted), begun - moving * gradient, adapted))
        move = torch.zeros_like(begun) if move is None else move * moving
        return Adapted(torch.stack(losses) if losses else begun.new_zeros(0, arena.slots), {RATES: move})

    def update_(
        self, arena: Arena, moves: Mapping[str, Tensor], finite: Tensor, sizes: Tensor, state: dict[str, Tensor]
    ) -> None:
        super().update_(arena, moves, finite, sizes, state)
        of_slot, groups = arena.group_of_slot, arena.groups
        found = mean_over_finite(finite[:, None].to(arena.theta.dtype), finite, of_slot, groups) > 0
        self._learn_(arena, mean_over_finite(moves[RATES], finite, of_slot, groups), found, sizes, state)

    def update_from_mean_(
        self, arena: Arena, mean: Tensor, moves: Mapping[str, Tensor], found: Tensor, sizes: Tensor, state: dict
    ) -> None:
        super().update_from_mean_(arena, mean, moves, found, sizes, state)
        self._learn_(arena, moves[RATES].expand_as(arena.theta), found[:, None], sizes, state)

    def _learn_(self, arena: Arena, gradient: Tensor, found: Tensor, sizes: Tensor, state: dict[str, Tensor]) -> None:
        size = columns_of_groups(arena, sizes)
        live, rates = found & (size != 0), state[RATES]
        if self.outer == "sgd":
            rates.copy_(torch.where(live, rates - (size * gradient).to(rates.dtype), rates))
            return
        moments = (state[f"{RATES}_first"], state[f"{RATES}_second"])
        adam_(rates, gradient, live, size, *moments, state["outer_steps"])
