"""Meta-training, the loop that every algorithm here shares: Reptile on an arena, task by numbered task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from autometa.algorithms.config import InnerConfig, MetaConfig
from autometa.data import Episodes
from autometa.meta.bn_modes import accuracy
from autometa.meta.inner_loop import Adam
from autometa.meta.reptile import Schedule, meta_iteration_
from autometa.ops.cross_entropy import cross_entropy
from autometa.slots.arena import Arena
from autometa.slots.layout import Layout
from autometa.slots.statistics import BatchStatistics


class Network(Protocol):
    """What meta-training needs of a network."""

    layout: Layout
    ways: int

    def initial(self, seed: int) -> Tensor: ...

    def logits(self, phi: Tensor, images: Tensor, statistics: BatchStatistics | None = None) -> Tensor: ...


class Logits(Protocol):
    """phi `[S, row]`, images `[S, N, C, H, W]`, inner step -> `[S, N, ways]`."""

    def __call__(self, phi: Tensor, images: Tensor, step: int) -> Tensor: ...


@dataclass(frozen=True)
class Step:
    """A meta-iteration: losses `[inner steps, S]`, the share of right answers on the last inner step's batch before its
    update `[S]`, and which slots stayed finite `[S]`."""

    losses: Tensor
    accuracy: Tensor
    finite: Tensor


@dataclass
class Trainer:
    """One meta-training run as state (the arena) and a step.

    logits(task ids `[S]`, meta-iteration) gives the network of those slots; architecture_step is the meta step size of
    the architecture parameters, which stand still for `warmup` meta-iterations.
    """

    arena: Arena
    episodes: Episodes
    optimiser: Adam
    inner: InnerConfig
    meta: MetaConfig
    logits: Callable[[Tensor, int], Logits]
    architecture_step: Schedule = Schedule(0.0)
    warmup: int = 0

    def step(self, i: int) -> Step:
        """Meta-iteration i, on tasks i * batch .. (i + 1) * batch - 1."""
        first, inner, total = i * self.meta.batch, self.inner, self.meta.iterations
        right: list[Tensor] = []

        def tasks(start: int, stop: int):
            drawn = self.episodes.tasks(torch.arange(first + start, first + stop))
            logits = self.logits(drawn.ids, i)

            def loss(phi: Tensor, images: Tensor, labels: Tensor, t: int) -> Tensor:
                out = logits(phi, images, t)
                if t == inner.steps - 1:
                    right.append(accuracy(out.detach(), labels))
                return cross_entropy(out, labels)

            return loss, self.episodes.batches(drawn, inner.batch, inner.steps, inner.batch_mode)

        warm = i < self.warmup
        done = meta_iteration_(
            self.arena,
            tasks,
            self.optimiser,
            inner.steps,
            (self.meta.steps().at(i, total), 0.0 if warm else self.architecture_step.at(i, total)),
            frozen=(False, warm),
            max_slots=self.meta.max_slots,
        )
        return Step(done.losses, torch.cat(right), done.finite)

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
    def of(cls, captured: Mapping[str, Tensor]) -> Learned:
        """From what `Trainer.capture` gives: Adam goes on from the slots' mean second moment and largest count."""
        return cls(captured["theta"][0].clone(), captured["second"].mean(dim=0), captured["steps"].amax(dim=0))

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
