"""Meta-training of a fixed network: a four-layer net, or a network from a genotype or a cell's key; by default Reptile
with Reptile's network (Nichol et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from autometa.brief import brief
from autometa.meta.bn_modes import MODES, accuracy, answers, logits_by_mode
from autometa.meta.inner_loop import Batches
from autometa.meta.learner import InnerLoop, MetaLearner, TaskChunk
from autometa.meta.reptile import Reptile
from autometa.nas.networks.conv_network import FOUR_LAYER, four_layer
from autometa.nas.networks.discrete import DiscreteNetwork
from autometa.nas.networks.named import architecture_of, build_named, read_genotype, space_of
from autometa.nas.networks.network import Network
from autometa.nas.networks.side_by_side import Macro
from autometa.nas.spaces.genotype import Genotype
from autometa.ops.cross_entropy import cross_entropy
from autometa.ops.finite_slots import finite_slots
from autometa.runs.folder import RunFolder
from autometa.slots.arena import Arena
from autometa.train.config import (
    MOST_CELLS,
    DataConfig,
    EvalConfig,
    InnerConfig,
    MetaConfig,
    bounded,
    check_instances,
    check_macro,
    check_reductions,
    require,
)
from autometa.train.learned import Learned
from autometa.train.run_config import RunConfig
from autometa.train.tasks import Source, TestTasks
from autometa.train.trainer import Logits, Trainer

OWN_GENOTYPE = "network"
"""The copy of the genotype file that a run began with, in its folder."""


@brief
@dataclass(frozen=True)
class ReptileConfig(RunConfig):
    """Meta-training of a fixed network; the defaults are Reptile's for Omniglot, 5-way (appendix A).

    Args:
        network: a four-layer net (`reptile-omniglot`, `reptile-miniimagenet`, `maml-omniglot`, `maml-miniimagenet`)
            or the path of a genotype file, or `cell:KEY`, a cell of Auto-Meta's space (`cell:published`: the paper's),
            or `SPACE:KEY` of another space (`autometa list spaces`).
        filters: channels of the network; the paper's where None.
        cells: number of cells, for a genotype (MetaNAS scaled up: 5).
        reductions: positions of reduction cells, from 0, for a genotype.
        stem_stride: of a cell network, as in its search.
        drop_path: probability of dropping an op of a cell network while training (MetaNAS, scaled up: 0.2).
        learner: the meta-learner; --plugin loads a file that registers others.
        repeats: normal cells before each of three reductions, for `cell:KEY` (Auto-Meta's N).
        scale_rate: what filters are multiplied by at reductions, for `cell:KEY`.
        data: images and split.
        inner: the inner loop while meta-training.
        meta: the outer loop.
        test: evaluation.
        max_params: weights that the network may have at most; a larger one is refused.
        max_macs: its multiply-accumulates for one image, likewise.
        seed: of initialisation, tasks and batches.
        precision: of kernels on a GPU: `fp32`, `tf32` (products of rounded factors) or `bf16` (activations stored in
            half the memory as well); faster in this order, and less exact. The CPU computes in float32.
    """

    algorithm: ClassVar[str] = "train"
    phase: ClassVar[str] = "train"

    network: str = "reptile-omniglot"
    filters: int | None = None
    cells: int = 4
    reductions: tuple[int, ...] = (1, 3)
    stem_stride: int = 1
    drop_path: float = 0.0
    learner: MetaLearner = field(default_factory=Reptile)
    repeats: int = 1
    scale_rate: int = 1
    data: DataConfig = field(default_factory=lambda: DataConfig("omniglot:reptile", 28, "reptile"))
    inner: InnerConfig = field(default_factory=InnerConfig)
    meta: MetaConfig = field(default_factory=MetaConfig)
    test: EvalConfig = field(default_factory=lambda: EvalConfig(tasks=10_000))
    max_params: int | None = None
    max_macs: int | None = None
    seed: int = 0
    precision: str = "fp32"

    @classmethod
    def like(cls, config: RunConfig, **own: Any) -> ReptileConfig:
        """With the data, inner and outer loop, test and seed of another run, and `own` settings."""
        inner, meta = getattr(config, f"{config.prefix}inner"), replace(config.outer, planned=())
        alike = {"data": config.data, "inner": inner, "meta": meta, "test": config.test, "seed": config.seed}
        made = cls(**alike | own)
        return made if made.learner.any_ways else replace(made, inner=replace(made.inner, least_ways=None))

    def check(self) -> None:
        """Raise `InputError` where fields do not fit together."""
        super().check()
        bounded(1, MOST_CELLS, {"cells": self.cells})
        check_macro("", self.filters, self.repeats, self.scale_rate)
        if space_of(self.network) is not None:
            parts = architecture_of(self.network)[1].level
            check_instances(2 * parts * 3 * (self.repeats + 1), "repeats, or take a smaller cell")
            require(self.drop_path == 0, "drop_path is for genotypes; leave it 0 for an architecture by its key")
        elif self.network not in FOUR_LAYER:
            check_reductions(self.reductions, self.cells)
        require(self.stem_stride in (1, 2), f"stem_stride must be 1 or 2, not {self.stem_stride}")
        require(0.0 <= self.drop_path < 1.0, f"drop_path must be at least 0 and below 1, not {self.drop_path:g}")

    def build(self, image_shape: tuple[int, int, int], genotype: Genotype | None = None) -> Network:
        """The network, of `genotype` where it is given instead of the file that `network` names.

        Raises `InputError` where the name or the genotype file is wrong.
        """
        if self.network in FOUR_LAYER:
            return four_layer(self.network, self.inner.ways, image_shape, self.filters)
        if genotype is None and space_of(self.network) is not None:
            macro = Macro(self.filters or 10, self.repeats, self.scale_rate, self.inner.ways, image_shape)
            return build_named(self.network, macro)
        genotype = genotype or read_genotype(self.network)
        check_instances(self.cells * max(genotype.normal.ops, genotype.reduction.ops), "cells, or take a smaller cell")
        return DiscreteNetwork(
            genotype=genotype,
            channels=self.filters or 28,
            ways=self.inner.ways,
            image_shape=image_shape,
            cells=self.cells,
            reductions=tuple(self.reductions),
            stem_stride=self.stem_stride,
        )

    def adapt(self, network: Network, learned: Learned, batches: Batches, slots: int) -> Tensor:
        """The weights: see `adapt`."""
        return adapt(network, learned, batches, slots, self)

    def evaluate_chunk(
        self, network: Network, learned: Learned, source: Source, start: int, stop: int
    ) -> dict[str, Tensor]:
        """See `evaluate_chunk`."""
        return evaluate_chunk(network, learned, source, self, start, stop)

    @property
    def by_genotype(self) -> bool:
        """Whether `network` is the path of a genotype file."""
        return self.network not in FOUR_LAYER and space_of(self.network) is None

    def smallest(self, network: Network) -> tuple[tuple[int, int], str, str]:
        """The network itself."""
        hint = "choose fewer --filters" if self.filters != 2 else "choose another network"
        return (network.layout.count(), network.macs()), f"{self.network} has", hint

    def training(self, genotype: str) -> ReptileConfig:
        """As this run trained its network."""
        return replace(self, network=genotype, meta=replace(self.meta, planned=()))

    def keep(self, folder: RunFolder) -> None:
        """The genotype."""
        if self.by_genotype:
            folder.write_genotype(OWN_GENOTYPE, read_genotype(self.network).to_json())

    def settled(self, folder: RunFolder) -> ReptileConfig:
        """With the run's own copy of its genotype, where it has one."""
        own = folder.genotypes / f"{OWN_GENOTYPE}.json"
        return replace(self, network=str(own)) if own.exists() else self


def trainer(network: Network, source: Source, config: ReptileConfig) -> Trainer:
    """A meta-training run from a fresh initialisation, by the meta-learner of the config."""
    keep, model = 1.0 - config.drop_path, config.classifier(network)

    def logits_of(ids: Tensor, warm: bool) -> Logits:
        def logits(phi: Tensor, images: Tensor, t: int, *, features: bool = False) -> Tensor:
            how: dict[str, Any] = {"features": features}
            if keep < 1.0 and isinstance(network, DiscreteNetwork):
                how["drop"] = network.drop(keep, config.seed, ids, t, images.shape[1], phi.dtype)
            return model.logits(phi, images, **how)

        return logits

    return Trainer(
        arena=Arena.single(network.layout, network.initial(config.seed).to(source.device), config.meta.batch),
        episodes=source.training(config.inner, config.test.part, config.seed, config.learner),
        optimiser=config.inner.optimiser(config.learner),
        inner=config.inner,
        meta=config.meta,
        logits=logits_of,
        learner=config.learner,
    )


def adapt(network: Network, learned: Learned, batches: Batches, slots: int, config: ReptileConfig) -> Tensor:
    """Take `test.steps` inner steps, all slots at once; returns the adapted rows `[slots, row]`, as the learner's
    classifier takes them.

    With Adam's state carried each slot starts from the training slots' mean second moment and their step count.
    """

    def loss(phi: Tensor, images: Tensor, labels: Tensor, t: int) -> Tensor:
        return cross_entropy(network.logits(phi, images), labels)

    arena = learned.arena(network.layout, slots, config.inner.adam_state)
    optimiser = config.inner.optimiser(config.learner)
    task = TaskChunk.of(network, loss, batches)
    config.learner.adapt_(arena, task, InnerLoop(optimiser, config.test.steps, learned.state))
    with torch.no_grad():
        return config.learner.ready(arena.phi, arena.head_of_slot, task)


def evaluate_chunk(
    network: Network,
    learned: Learned,
    source: Source,
    config: ReptileConfig,
    start: int,
    stop: int,
    modes: tuple[str, ...] = MODES,
) -> dict[str, Tensor]:
    """Adapt to evaluation tasks start .. stop - 1, all at once; per task `[T]` accuracy by BN mode, `finite`, and what
    `answers` gives."""
    test = config.test
    mode = test.batch_mode or config.inner.batch_mode
    tasks = TestTasks.draw(source.testing(network.ways, test), start, stop, test.batch, test.steps, mode)
    phi = adapt(network, learned, tasks.batches, stop - start, config)
    found = logits_by_mode(config.classifier(network), phi, tasks.support, tasks.queries, modes)
    right = {mode: accuracy(logits, tasks.labels) for mode, logits in found.items()}
    return {**right, "finite": finite_slots(phi), **answers(found)}
