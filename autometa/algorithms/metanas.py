"""MetaNAS (Elsken et al. 2020): DARTS inside Reptile, with soft pruning to task-dependent cells."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from torch import Tensor

from autometa.algorithms.metanas_outcome import CODED, as_tensors
from autometa.algorithms.metanas_steps import limited, meta_test_chunk, ready, unlimited
from autometa.algorithms.train import ReptileConfig
from autometa.brief import brief
from autometa.meta.bn_modes import MODES, Classifier
from autometa.meta.inner_loop import Batches
from autometa.meta.learner import MetaLearner
from autometa.meta.reptile import Reptile
from autometa.meta.schedule import SHAPES, Schedule
from autometa.nas.one_shot.network import AtTemperature, OneShotNetwork
from autometa.nas.one_shot.size_limits import smallest, typical
from autometa.nas.relax.relaxation import TEST, Phase, Relaxation
from autometa.nas.relax.same_batch import SameBatch
from autometa.nas.spaces.cells import INPUT_STATES, METANAS_PRIMITIVES
from autometa.nas.spaces.genotype import Genotype
from autometa.ops.primitives import PRIMITIVES
from autometa.train.config import (
    MOST_CELLS,
    MOST_CHANNELS,
    MOST_STEPS,
    DataConfig,
    EvalConfig,
    InnerConfig,
    MetaConfig,
    at_least,
    bounded,
    check_instances,
    check_reductions,
    one_of,
    require,
)
from autometa.train.learned import Learned
from autometa.train.run_config import RunConfig
from autometa.train.tasks import Source

LEAST_CHANNELS = 4
"""Of a search network that is made smaller for a budget, while fewer cells can do instead."""


@brief
@dataclass(frozen=True)
class MetaNASConfig(RunConfig):
    """One MetaNAS run; the defaults are the paper's for Omniglot (appendix; where it is silent, the released code's).

    Args:
        channels: of every op.
        cells: number of cells.
        reductions: positions of reduction cells, from 0.
        nodes: nodes per cell.
        primitives: operations on every edge.
        stem_stride: 2 lets all cells work at half the resolution (not in the paper; four times cheaper).
        data: images and split.
        learner: the meta-learner around the search (paper: Reptile).
        relaxation: what the architecture's weights are, and where its gradient comes from (paper: same batch).
        inner: the inner loop while meta-training.
        arch_lr: inner learning rate of the architecture.
        arch_weight_decay: L2 decay of the architecture.
        meta: the outer loop; its step size is that of the weights.
        arch_step_size: meta step size of the architecture at the start.
        arch_step_size_end: the same at the end, where it falls.
        arch_schedule: `constant`, `linear` or `cosine`, over the whole run.
        warmup: meta-iterations in which the architecture stands still.
        t_max: temperature at the first inner step, and during warm-up.
        t_min: temperature at the last inner step while meta-training.
        t_min_test: the same at meta-testing.
        drop_path: probability of dropping an op instance, per image, while meta-training.
        prune_training: op and pair weights not above this are left out of the forward pass while meta-training.
        prune_testing: weights not above this are removed at the end of meta-testing.
        hard_pruning: at the end of meta-testing leave every node's strongest pair of inputs and every input's strongest
            op alone, whatever they weigh (DARTS), and not all that weighs more than prune_testing.
        test: meta-testing; its steps train weights and architecture together.
        test_weight_steps: further steps on the weights alone.
        compare: yardsticks of the final report: `untrained` (the search's own initialisation, meta-tested alike),
            `four-layer` (Reptile's four-layer net of about as many weights as the pruned networks, meta-trained on as
            many images).
        max_params: weights that every task's network may have at most, once it is pruned; not the search network.
        max_macs: its multiply-accumulates for one image, likewise.
        init: the earlier run that this one starts from; a copy of what it had learned lies in the run's folder.
        seed: of initialisation, tasks, batches and drop path.
        precision: of kernels on a GPU: `fp32`, `tf32` (products of rounded factors) or `bf16` (activations stored in
            half the memory as well); faster in this order, and less exact. The CPU computes in float32.
    """

    algorithm: ClassVar[str] = "metanas"
    phase: ClassVar[str] = "search"
    adapts_architecture: ClassVar[bool] = True
    evaluated: ClassVar[tuple[str, ...]] = (*(f"{p}.{m}" for p in ("soft", "pruned") for m in MODES), "finite", *CODED)
    answering: ClassVar[str] = "pruned."

    channels: int = 28
    cells: int = 4
    reductions: tuple[int, ...] = (1, 3)
    nodes: int = 3
    primitives: tuple[str, ...] = METANAS_PRIMITIVES
    stem_stride: int = 1
    data: DataConfig = field(default_factory=DataConfig)
    learner: MetaLearner = field(default_factory=Reptile)
    relaxation: Relaxation = field(default_factory=SameBatch)
    inner: InnerConfig = field(
        default_factory=lambda: InnerConfig(
            ways=20, shots=10, batch=20, batch_mode="replacement", steps=5, lr=5e-3, adam_state="carry"
        )
    )
    arch_lr: float = 5e-3
    arch_weight_decay: float = 1e-3
    meta: MetaConfig = field(
        default_factory=lambda: MetaConfig(iterations=30_000, batch=10, step_size=1.0, schedule="constant")
    )
    arch_step_size: float = 0.6
    arch_step_size_end: float = 0.0
    arch_schedule: str = "constant"
    warmup: int = 15_000
    t_max: float = 1.0
    t_min: float = 0.05
    t_min_test: float = 0.1
    drop_path: float = 0.2
    prune_training: float = 0.01
    prune_testing: float = 0.05
    hard_pruning: bool = False
    test: EvalConfig = field(default_factory=lambda: EvalConfig(tasks=200, shots=1, queries=15, batch=10, steps=50))
    test_weight_steps: int = 50
    compare: tuple[str, ...] = ()
    max_params: int | None = None
    max_macs: int | None = None
    init: str | None = None
    seed: int = 0
    precision: str = "fp32"

    def check(self) -> None:
        """Raise `InputError` where fields do not fit together."""
        super().check()
        bounded(2, MOST_CHANNELS, {"channels": self.channels})
        bounded(1, MOST_CELLS, {"cells": self.cells, "nodes": self.nodes})
        edges = self.nodes * (self.nodes + 2 * INPUT_STATES - 1) // 2
        check_instances(self.cells * edges * len(self.primitives), "cells, nodes or primitives")
        bounded(0, MOST_STEPS, {"test_weight_steps": self.test_weight_steps})
        rates = {"arch_lr": self.arch_lr, "arch_weight_decay": self.arch_weight_decay}
        sizes = {"arch_step_size": self.arch_step_size, "arch_step_size_end": self.arch_step_size_end}
        at_least(0, {"warmup": self.warmup, **rates, **sizes})
        one_of(SHAPES, {"arch_schedule": self.arch_schedule})
        check_reductions(self.reductions, self.cells)
        self._check_primitives()
        require(
            not self.learner.in_pairs,
            "learner.gradient must not be differences in a search over op weights: what is pruned while training is "
            "decided anew at every point; choose exact or first-order",
        )
        self.relaxation.check()
        require(self.stem_stride in (1, 2), f"stem_stride must be 1 or 2, not {self.stem_stride}")
        coldest = min(self.t_min, self.t_min_test)
        require(0 < coldest <= self.t_max < math.inf, "t_min and t_min_test must be above 0 and not above t_max")
        for name in ("drop_path", "prune_training", "prune_testing"):
            value = getattr(self, name)
            require(0.0 <= value < 1.0, f"{name} must be at least 0 and below 1, not {value:g}")
        odd = [name for name in self.compare if name not in ("untrained", "four-layer")]
        require(not odd, f"compare may name untrained and four-layer, not {', '.join(odd)}")
        require(
            self.warmup <= self.meta.iterations,
            f"warmup ({self.warmup}) must not exceed meta.iterations ({self.meta.iterations})",
        )
        first = min(self.relaxation.shrink, default=1.0) * self.meta.iterations
        require(
            self.warmup <= first,
            f"ops are taken away after {first:g} meta-iterations (relaxation.shrink), so they must learn before: "
            f"warmup must be at most that, not {self.warmup}",
        )

    def _check_primitives(self) -> None:
        unknown = [name for name in self.primitives if name not in PRIMITIVES]
        hint = f"known are {', '.join(PRIMITIVES)}; --plugin loads a file that registers others"
        require(not unknown, f"unknown primitives {', '.join(unknown)}; {hint}")
        require(len(set(self.primitives)) == len(self.primitives), "primitives names one of them twice")
        require(set(self.primitives) - {"none"} != set(), "primitives must name at least one operation beside none")

    @property
    def stages(self) -> tuple[float, ...]:
        """Ops that are taken away for good are not evaluated any longer."""
        return tuple(sorted({*super().stages, *self.relaxation.shrink}))

    def arch_steps(self) -> Schedule:
        """The meta step size of the architecture over the run."""
        return Schedule(self.arch_step_size, self.arch_step_size_end, self.arch_schedule)

    def temperatures(self) -> list[float]:
        """Of meta-testing, before each step on the architecture and after the last one, `[test.steps + 1]`."""
        phase = self.phase_of(TEST)
        return [*(self.relaxation.temperature(t, phase) for t in range(phase.steps)), self.t_min_test]

    def phase_of(self, name: str) -> Phase:
        """`warmup`, `search` or `test`."""
        steps, t_min = (self.test.steps, self.t_min_test) if name == TEST else (self.inner.steps, self.t_min)
        return Phase(name, steps, self.t_max, t_min)

    def build(self, image_shape: tuple[int, int, int], genotype: Genotype | None = None) -> OneShotNetwork:
        """The search network."""
        return OneShotNetwork(
            channels=self.channels,
            ways=self.inner.ways,
            image_shape=image_shape,
            cells=self.cells,
            reductions=tuple(self.reductions),
            nodes=self.nodes,
            primitives=tuple(self.primitives),
            stem_stride=self.stem_stride,
            relaxation=self.relaxation,
        )

    def adapt(self, network: Any, learned: Learned, batches: Batches, slots: int) -> Tensor:
        """Weights and architecture, then weights alone: rows whose networks keep to the limits once they are pruned, as
        the learner's classifier takes them."""
        phi = limited(network, unlimited(network, learned, batches, slots, self), self)
        return ready(self.pruned(network), phi, batches, self)

    def evaluate_chunk(
        self, network: Any, learned: Learned, source: Source, start: int, stop: int
    ) -> dict[str, Tensor]:
        """Meta-testing, as `as_tensors` gives it."""
        return as_tensors(network, meta_test_chunk(network, learned, source, self, start, stop))

    def classifier(self, network: Any) -> Classifier:
        """The network, hard-pruned."""
        return self.learner.classifier(self.pruned(network), network.layout.row)

    def learning(self, network: OneShotNetwork) -> AtTemperature:
        """The network before anything is pruned, at the temperature of its answers."""
        return AtTemperature(network, self.t_min_test)

    def pruned(self, network: OneShotNetwork) -> AtTemperature:
        """The network, hard-pruned, before the learner's answers."""
        return AtTemperature(network, self.t_min_test, self.prune_testing)

    def with_room(self, image_shape: tuple[int, int, int], given: Collection[str]) -> tuple[MetaNASConfig, str | None]:
        """Room for a typical cell, by fewer channels, then fewer cells; where even the least has none, the first that
        can be pruned to the limits at all."""
        tried = list(self._smaller(given)) if self.limits else []
        for size in (typical, smallest):
            for made in tried:
                if self.limits.hold(size(made.build(image_shape))):
                    return made, self._changed(made)
        return self, None

    def _smaller(self, given: Collection[str]) -> Iterator[MetaNASConfig]:
        """The config, then with fewer and fewer channels, then the same with fewer cells."""
        fixed_cells = bool({"cells", "reductions"} & set(given))
        for cells in [self.cells] if fixed_cells else range(self.cells, 0, -1):
            reductions = tuple(r for r in self.reductions if r < cells) or ((0,) if self.reductions else ())
            least = min(LEAST_CHANNELS, self.channels) if cells > 1 and not fixed_cells else 2
            for channels in [self.channels] if "channels" in given else range(self.channels, least - 1, -1):
                yield replace(self, cells=cells, reductions=reductions, channels=channels)

    def _changed(self, new: MetaNASConfig) -> str | None:
        if self == new:
            return None
        cells = f" and {new.cells} cells instead of {self.cells}" if new.cells != self.cells else ""
        return f"to make room within {new.limits}: {new.channels} channels instead of {self.channels}{cells}"

    def smallest(self, network: OneShotNetwork) -> tuple[tuple[int, int], str, str]:
        """What hard pruning can leave."""
        what = "the smallest network that this search can be pruned to has"
        return smallest(network), what, "allow more, or fewer --channels and --cells"

    def training(self, genotype: str) -> ReptileConfig:
        """At Reptile's own learning rate."""
        inner, limits = replace(self.inner, lr=1e-3, adam_state="carry"), (self.max_params, self.max_macs)
        own = {**self.sizes(), "inner": inner, "max_params": limits[0], "max_macs": limits[1]}
        return ReptileConfig.like(self, network=genotype, **own)

    def sizes(self) -> dict[str, Any]:
        """Those of the search network."""
        own = {name: getattr(self, name) for name in ("cells", "reductions", "stem_stride")}
        return {"filters": self.channels, **own}

    def with_steps(self, steps: int) -> MetaNASConfig:
        """With so many steps on a support set, and no more than these on the weights alone."""
        fewer = min(self.test_weight_steps, steps)
        return replace(self, test=replace(self.test, steps=steps), test_weight_steps=fewer)

    def with_iterations(self, iterations: int) -> MetaNASConfig:
        """With another number of meta-iterations, of which warm-up has the same share."""
        warmup = round(self.warmup / max(self.meta.iterations, 1) * iterations)
        return replace(self, meta=replace(self.meta, iterations=iterations), warmup=warmup)
