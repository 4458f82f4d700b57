"""Reptile with a fixed network (Nichol et al. 2018): the four-layer nets, or a network from a genotype.

`Trainer` is one meta-training run as pure state plus a step; `evaluate` adapts to unseen classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from autometa.algorithms.config import DataConfig, EvalConfig, InnerConfig, MetaConfig, check_common
from autometa.algorithms.sources import Source, TestTasks, chunks
from autometa.meta.bn_modes import MODES, accuracies
from autometa.meta.inner_loop import Adam, adapt_
from autometa.meta.reptile import Iteration, meta_iteration_
from autometa.ops.cross_entropy import cross_entropy
from autometa.slots.arena import Arena
from autometa.slots.layout import Layout
from autometa.slots.statistics import BatchStatistics


class Network(Protocol):
    """What Reptile needs of a network."""

    layout: Layout
    ways: int

    def initial(self, seed: int) -> Tensor: ...

    def logits(self, phi: Tensor, images: Tensor, statistics: BatchStatistics | None = None) -> Tensor: ...


@dataclass(frozen=True)
class ReptileConfig:
    """Reptile's Omniglot settings, 5-way (Nichol et al. 2018, appendix A) are the defaults.

    Args:
        network: name of a four-layer net (`reptile-omniglot`, `reptile-miniimagenet`, `maml-omniglot`,
            `maml-miniimagenet`) or path of a genotype file.
        filters: channels of the network; its own default where None.
        cells: number of cells, for a genotype.
        drop_path: probability of dropping an op of a cell network while training (MetaNAS, scaling up: 0.2).
        seed: of initialisation, tasks and batches.
    """

    network: str = "reptile-omniglot"
    filters: int | None = None
    cells: int = 4
    drop_path: float = 0.0
    data: DataConfig = field(default_factory=lambda: DataConfig("omniglot:reptile", 28, "reptile"))
    inner: InnerConfig = field(default_factory=InnerConfig)
    meta: MetaConfig = field(default_factory=MetaConfig)
    test: EvalConfig = field(default_factory=lambda: EvalConfig(tasks=10_000))
    seed: int = 0

    def check(self) -> None:
        """Raise `InputError` where fields do not fit together."""
        check_common(self.inner, self.meta, self.test)


class Trainer:
    """Meta-training of a fixed network: `step(i)` is one meta-iteration."""

    def __init__(self, network: Network, source: Source, config: ReptileConfig) -> None:
        self.network, self.config = network, config
        self.episodes = source.training(config.inner, config.seed)
        self.optimiser: Adam = config.inner.adam()
        self.arena = Arena.single(network.layout, network.initial(config.seed), config.meta.batch)

    def step(self, i: int) -> Iteration:
        """Meta-iteration i: tasks i * batch .. (i + 1) * batch - 1."""
        config, first = self.config, i * self.config.meta.batch
        size = config.meta.steps().at(i, config.meta.iterations)

        def tasks(start: int, stop: int):
            drawn = self.episodes.tasks(torch.arange(first + start, first + stop))
            inner = config.inner
            batches = self.episodes.batches(drawn, inner.batch, inner.steps, inner.batch_mode)
            return self._objective(drawn.ids), batches

        inner_steps, max_slots = config.inner.steps, config.meta.max_slots
        return meta_iteration_(self.arena, tasks, self.optimiser, inner_steps, (size, 0.0), max_slots=max_slots)

    def _objective(self, ids: Tensor) -> Callable:
        training = getattr(self.network, "training_logits", None)
        if self.config.drop_path and training is not None:
            keep, seed = 1.0 - self.config.drop_path, self.config.seed
            return lambda phi, x, y, t: cross_entropy(training(phi, x, keep, seed, ids, t), y)
        return lambda phi, x, y, t: cross_entropy(self.network.logits(phi, x), y)

    def capture(self) -> tuple[dict[str, Tensor], dict]:
        """All that the next step depends on."""
        arena = self.arena
        return {"theta": arena.theta, "second": arena.second, "steps": arena.steps}, {}

    def restore(self, tensors: dict[str, Tensor], state: dict) -> None:
        """Go on from what `capture` gave."""
        for name, value in tensors.items():
            getattr(self.arena, name).copy_(value)


def evaluate(
    network: Network,
    theta: Tensor,
    moments: tuple[Tensor, Tensor] | None,
    source: Source,
    config: ReptileConfig,
    *,
    modes: tuple[str, ...] = MODES,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Tensor]:
    """Adapt theta `[row]` to every evaluation task, all tasks of a chunk at once; accuracy per task by BN mode, `[T]`.

    With Adam's state carried, each task starts from `moments` (mean second moment `[row]`, step count `[2]`).
    """
    test, inner = config.test, config.inner
    episodes = source.testing(network.ways, test)
    optimiser = inner.adam()
    found: dict[str, list[Tensor]] = {mode: [] for mode in modes}
    for start, stop in chunks(test.tasks, test.max_slots):
        tasks = TestTasks.draw(episodes, start, stop, test.batch, test.steps, test.batch_mode or inner.batch_mode)
        arena = Arena.single(network.layout, theta, stop - start)
        if moments is not None and inner.adam_state == "carry":
            arena.second.copy_(moments[0])
            arena.steps.copy_(moments[1])
        adapt_(arena, lambda phi, x, y, t: cross_entropy(network.logits(phi, x), y), tasks.batches, optimiser, test.steps)
        right = accuracies(network, arena.phi, tasks.support, tasks.queries, tasks.labels, modes)
        for mode, values in right.items():
            found[mode].append(values)
        if progress is not None:
            progress(stop - start)
    return {mode: torch.cat(values) for mode, values in found.items()}
