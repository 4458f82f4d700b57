"""Meta-training, the loop that every algorithm here shares: Reptile on an arena, task by numbered task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from autometa.algorithms.config import InnerConfig, MetaConfig
from autometa.data import Episodes
from autometa.meta.inner_loop import Adam, Objective
from autometa.meta.reptile import Iteration, meta_iteration_
from autometa.slots.arena import Arena
from autometa.slots.layout import Layout
from autometa.slots.statistics import BatchStatistics


class Network(Protocol):
    """What meta-training needs of a network."""

    layout: Layout
    ways: int

    def initial(self, seed: int) -> Tensor: ...

    def logits(self, phi: Tensor, images: Tensor, statistics: BatchStatistics | None = None) -> Tensor: ...


@dataclass
class Trainer:
    """One meta-training run as state (the arena) and a step.

    objective(task ids `[S]`, meta-iteration) gives the loss of those slots; architecture_step is the meta step size of
    the architecture parameters, which stand still for `warmup` meta-iterations.
    """

    arena: Arena
    episodes: Episodes
    optimiser: Adam
    inner: InnerConfig
    meta: MetaConfig
    objective: Callable[[Tensor, int], Objective]
    architecture_step: float = 0.0
    warmup: int = 0

    def step(self, i: int) -> Iteration:
        """Meta-iteration i, on tasks i * batch .. (i + 1) * batch - 1."""
        first, inner = i * self.meta.batch, self.inner

        def tasks(start: int, stop: int):
            drawn = self.episodes.tasks(torch.arange(first + start, first + stop))
            batches = self.episodes.batches(drawn, inner.batch, inner.steps, inner.batch_mode)
            return self.objective(drawn.ids, i), batches

        warm = i < self.warmup
        size = self.meta.steps().at(i, self.meta.iterations)
        return meta_iteration_(
            self.arena,
            tasks,
            self.optimiser,
            inner.steps,
            (size, 0.0 if warm else self.architecture_step),
            frozen=(False, warm),
            max_slots=self.meta.max_slots,
        )

    def capture(self) -> tuple[dict[str, Tensor], dict]:
        """All that the next step depends on."""
        arena = self.arena
        return {"theta": arena.theta, "second": arena.second, "steps": arena.steps}, {}

    def restore(self, tensors: dict[str, Tensor], state: dict) -> None:
        """Go on from what `capture` gave."""
        for name, value in tensors.items():
            getattr(self.arena, name).copy_(value)


@dataclass(frozen=True)
class Learned:
    """What meta-training leaves: theta `[row]`, and where Adam goes on (`[row]`, `[kinds]`) if it is carried."""

    theta: Tensor
    second: Tensor
    steps: Tensor

    @classmethod
    def of(cls, arena: Arena) -> Learned:
        second, steps = arena.mean_moments()
        return cls(arena.theta[0].clone(), second, steps)

    @classmethod
    def untrained(cls, network: Network, seed: int) -> Learned:
        """The initialisation itself, the yardstick that a search must beat."""
        theta = network.initial(seed)
        return cls(theta, torch.zeros_like(theta), torch.zeros(2, dtype=torch.int64))

    def arena(self, layout: Layout, slots: int, adam_state: str) -> Arena:
        """An arena whose slots start here."""
        arena = Arena.single(layout, self.theta, slots)
        if adam_state == "carry":
            arena.second.copy_(self.second)
            arena.steps.copy_(self.steps)
        return arena
