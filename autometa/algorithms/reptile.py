"""Reptile with a fixed network (Nichol et al. 2018): the four-layer nets, or a network from a genotype."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from autometa.algorithms.config import DataConfig, EvalConfig, InnerConfig, MetaConfig, check_common, require
from autometa.algorithms.sources import Source, TestTasks
from autometa.algorithms.training import Learned, Network, Trainer
from autometa.errors import InputError
from autometa.meta.bn_modes import MODES, accuracies
from autometa.meta.inner_loop import adapt_
from autometa.nas.conv_network import FOUR_LAYER, four_layer
from autometa.nas.discrete import DiscreteNetwork
from autometa.nas.genotype import Genotype
from autometa.ops.cross_entropy import cross_entropy
from autometa.slots.arena import Arena


@dataclass(frozen=True)
class ReptileConfig:
    """Meta-training of a fixed network; the defaults are Reptile's for Omniglot, 5-way (appendix A).

    Args:
        network: a four-layer net (`reptile-omniglot`, `reptile-miniimagenet`, `maml-omniglot`, `maml-miniimagenet`)
            or the path of a genotype file.
        filters: channels of the network; the paper's where None.
        cells: number of cells, for a genotype (MetaNAS scaled up: 5).
        stem_stride: of a cell network, as in its search.
        drop_path: probability of dropping an op of a cell network while training (MetaNAS, scaled up: 0.2).
        data: images and split.
        inner: the inner loop while meta-training.
        meta: the outer loop.
        test: evaluation.
        seed: of initialisation, tasks and batches.
    """

    network: str = "reptile-omniglot"
    filters: int | None = None
    cells: int = 4
    stem_stride: int = 1
    drop_path: float = 0.0
    data: DataConfig = field(default_factory=lambda: DataConfig("omniglot:reptile", 28, "reptile"))
    inner: InnerConfig = field(default_factory=InnerConfig)
    meta: MetaConfig = field(default_factory=MetaConfig)
    test: EvalConfig = field(default_factory=lambda: EvalConfig(tasks=10_000))
    seed: int = 0

    def check(self) -> None:
        """Raise `InputError` where fields do not fit together."""
        check_common(self.inner, self.meta, self.test)
        require(0.0 <= self.drop_path < 1.0, f"drop_path must lie in [0, 1), not {self.drop_path}")
        require(self.filters is None or self.filters >= 2, f"filters must be at least 2, not {self.filters}")

    def build(self, image_shape: tuple[int, int, int]) -> Network:
        """The network. Raises `InputError` where its name or genotype file is wrong."""
        if self.network in FOUR_LAYER:
            return four_layer(self.network, self.inner.ways, image_shape, self.filters)
        if not Path(self.network).suffix and not Path(self.network).exists():
            raise InputError(f"unknown network {self.network!r}; choose {', '.join(FOUR_LAYER)} or a genotype file")
        try:
            genotype = Genotype.load(self.network)
        except ValueError as error:
            raise InputError(str(error)) from error
        return DiscreteNetwork(
            genotype, self.filters or 28, self.inner.ways, image_shape, self.cells, stem_stride=self.stem_stride
        )


def trainer(network: Network, source: Source, config: ReptileConfig) -> Trainer:
    """A meta-training run from a fresh initialisation."""
    keep = 1.0 - config.drop_path

    def objective(ids: Tensor, iteration: int) -> Callable:
        def loss(phi: Tensor, images: Tensor, labels: Tensor, t: int) -> Tensor:
            if keep < 1.0 and isinstance(network, DiscreteNetwork):
                return cross_entropy(network.training_logits(phi, images, keep, config.seed, ids, t), labels)
            return cross_entropy(network.logits(phi, images), labels)

        return loss

    return Trainer(
        arena=Arena.single(network.layout, network.initial(config.seed), config.meta.batch),
        episodes=source.training(config.inner, config.seed),
        optimiser=config.inner.adam(),
        inner=config.inner,
        meta=config.meta,
        objective=objective,
    )


def evaluate_chunk(
    network: Network,
    learned: Learned,
    source: Source,
    config: ReptileConfig,
    start: int,
    stop: int,
    modes: tuple[str, ...] = MODES,
) -> dict[str, Tensor]:
    """Adapt to evaluation tasks start .. stop - 1, all at once; accuracy per task by BN mode, `[T]`.

    With Adam's state carried each task starts from the training slots' mean second moment and their step count.
    """
    test, inner = config.test, config.inner
    episodes = source.testing(network.ways, test)
    tasks = TestTasks.draw(episodes, start, stop, test.batch, test.steps, test.batch_mode or inner.batch_mode)

    def loss(phi: Tensor, images: Tensor, labels: Tensor, t: int) -> Tensor:
        return cross_entropy(network.logits(phi, images), labels)

    arena = learned.arena(network.layout, stop - start, inner.adam_state)
    adapt_(arena, loss, tasks.batches, inner.adam(), test.steps)
    return accuracies(network, arena.phi, tasks.support, tasks.queries, tasks.labels, modes)
