"""Auto-Meta (Kim et al. 2018): progressive search with a surrogate (PNAS, Liu et al. 2018) around Reptile.

All cells of one block are trained; a surrogate learns their accuracies on validation classes; every trained cell is
expanded by every block and the best K by prediction are trained; and so on to B blocks. What was decided and measured
stands in the ledger alone, so a search that is cut off anywhere goes on to the same end.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from autometa.algorithms.train import CELL, ReptileConfig
from autometa.brief import brief
from autometa.errors import DivergedError
from autometa.meta.bn_modes import MODES
from autometa.nas.networks.many_cells import BlockMacro, BlockNetwork
from autometa.nas.one_shot.size_limits import Limits
from autometa.nas.predictors.surrogate import (
    Ensemble,
    LSTMSurrogate,
    MLPSurrogate,
    Prediction,
    Surrogate,
    Training,
)
from autometa.nas.spaces import blocks
from autometa.nas.spaces.blocks import BlockCell
from autometa.runs.ledger import Ledger
from autometa.search.choosing import choose
from autometa.search.rivals import Evolution, RandomSearch, SurrogateSearch
from autometa.search.summary import measured, report
from autometa.train.candidates import CandidateConfig
from autometa.train.config import (
    MOST,
    MOST_CHANNELS,
    MOST_STEPS,
    DataConfig,
    EvalConfig,
    InnerConfig,
    MetaConfig,
    at_least,
    bounded,
    check_common,
    check_limits,
    check_macro,
    one_of,
    require,
)
from autometa.train.trainer import Network

STRATEGIES = ("progressive", "random", "evolution", "surrogate")
SURROGATES = {"lstm": LSTMSurrogate, "mlp": MLPSurrogate}


@dataclass(frozen=True)
class SurrogateConfig:
    """What predicts a cell's accuracy (section 3.1; PNAS, section 4).

    Args:
        kind: `lstm` (the paper's) or `mlp`.
        members: networks of the ensemble, each without its share of the cells; 1 for a single network.
        units: of the hidden layer.
        embedding: numbers that stand for a token.
        epochs: passes over all trained cells.
        lr: learning rate of Adam.
        weight_decay: L2 decay.
    """

    kind: str = "lstm"
    members: int = 5
    units: int = 100
    embedding: int = 32
    epochs: int = 60
    lr: float = 0.01
    weight_decay: float = 1e-4

    def build(self, blocks: int) -> Surrogate:
        """A surrogate for cells of up to `blocks` blocks that has learned nothing yet."""
        how = Training(self.units, self.embedding, self.epochs, self.lr, self.weight_decay)
        if self.members == 1:
            return SURROGATES[self.kind](how, blocks)
        return Ensemble(lambda: SURROGATES[self.kind](how, blocks), self.members)


@dataclass(frozen=True)
class MacroConfig:
    """The network around a cell: 3x3 stem to F, then three times N normal cells and a reduction.

    The defaults give the published cell 24,625 weights on Omniglot, 24,805 on Mini-ImageNet (paper: 25,900 and 28,000).

    Args:
        filters: F, channels of the first cells (paper: 4, 10, 12 or 32).
        repeats: N, normal cells before each reduction (paper: 0 or 1).
        scale_rate: what F is multiplied by at reductions (paper: 1 or 2).
    """

    filters: int = 10
    repeats: int = 0
    scale_rate: int = 1


@dataclass(frozen=True)
class Fits:
    """Which cells make networks within the limits; macros: the networks around a cell."""

    macros: tuple[BlockMacro, ...] = ()
    limits: Limits = Limits()

    def __call__(self, cell: BlockCell) -> bool:
        return not self.limits or self.limits.hold(self.size(cell))

    def size(self, cell: BlockCell) -> tuple[int, int]:
        """Weights and MACs, of the larger network."""
        networks = [BlockNetwork(macro, [cell]) for macro in self.macros]
        return max(network.parameters(0) for network in networks), max(network.macs(0) for network in networks)


@brief
@dataclass(frozen=True)
class AutoMetaConfig:
    """One Auto-Meta run; the defaults are the paper's for Omniglot (section 4; where it is silent, Reptile's).

    Args:
        strategy: `progressive` (the paper's), or a rival in the same space that trains as many cells, all of `blocks`
            blocks: `random`, `evolution` (regularised), `surrogate` (without progression).
        blocks: B, blocks of the largest cells.
        beam: K, cells trained at each level beyond the first, which has 55; per round, for `surrogate`.
        batch: candidates trained side by side; decided once, so that results do not depend on workers.
        most_batches: of these, after which the search ends; None: all.
        macro: the network in which candidates are judged.
        surrogate: what predicts their accuracy.
        uncertainty_weight: of the ensemble's standard deviation in the choice of cells (0: by mean alone).
        population: cells alive, for `evolution` (Real et al. 2019: 100).
        sample: of the population that a child's parent is the best of (Real et al. 2019: 25).
        pool: random cells among which `surrogate` chooses a round.
        data: images and split.
        inner: the inner loop of a candidate's meta-training.
        meta: the outer loop of a candidate.
        validation: how a candidate is scored, on validation classes (the paper: on test classes).
        validation_mode: whose statistics normalise the queries then: `transductive`, `support_plus_one` or
            `support_statistics`.
        final: the network in which the winner is trained in full.
        final_inner: its inner loop.
        final_meta: its outer loop.
        test: evaluation of the winner on unseen classes.
        max_params: weights that a candidate and the winner may have at most; larger cells are never trained.
        max_macs: their multiply-accumulates for one image, likewise.
        init: the earlier run whose candidates are known already; a copy of its scores lies in the run's folder.
        seed: of initialisations, tasks, batches and surrogates.
        precision: of the arithmetic on a GPU: `fp32`, `tf32` or `bf16`.
    """

    strategy: str = "progressive"
    blocks: int = 5
    beam: int = 100
    batch: int = 20
    most_batches: int | None = None
    macro: MacroConfig = field(default_factory=MacroConfig)
    surrogate: SurrogateConfig = field(default_factory=SurrogateConfig)
    uncertainty_weight: float = 0.0
    population: int = 100
    sample: int = 25
    pool: int = 10_000
    data: DataConfig = field(default_factory=lambda: DataConfig("omniglot:vinyals", 28))
    inner: InnerConfig = field(default_factory=lambda: InnerConfig(ways=5, shots=10, batch=10, steps=8, lr=1e-3))
    meta: MetaConfig = field(default_factory=lambda: MetaConfig(iterations=1000, batch=5, step_size=1.0))
    validation: EvalConfig = field(
        default_factory=lambda: EvalConfig(tasks=100, shots=1, queries=5, batch=5, steps=50, part="val")
    )
    validation_mode: str = "support_statistics"
    final: MacroConfig = field(default_factory=MacroConfig)
    final_inner: InnerConfig = field(default_factory=lambda: InnerConfig(ways=5, shots=10, batch=10, steps=8, lr=1e-3))
    final_meta: MetaConfig = field(default_factory=lambda: MetaConfig(iterations=100_000, batch=5))
    test: EvalConfig = field(default_factory=lambda: EvalConfig(tasks=10_000))
    max_params: int | None = None
    max_macs: int | None = None
    init: str | None = None
    seed: int = 0
    precision: str = "fp32"

    def check(self) -> None:
        """Raise `InputError` where fields do not fit together."""
        check_common(self.data, self.inner, self.meta, self.test, self.seed, self.precision)
        check_common(self.data, self.final_inner, self.final_meta, self.test, self.seed, self.precision)
        one_of(STRATEGIES, {"strategy": self.strategy})
        bounded(1, blocks.MOST_BLOCKS, {"blocks": self.blocks})
        bounded(1, MOST, {"beam": self.beam, "batch": self.batch, "pool": self.pool})
        check_limits(self.max_params, self.max_macs)
        at_least(1, {} if self.most_batches is None else {"most_batches": self.most_batches})
        require(not self.meta.planned, "planned is for final_meta; candidates are all trained as long")
        bounded(1, MOST, {"population": self.population, "sample": self.sample})
        require(self.beam <= self.pool, f"pool ({self.pool}) must not be smaller than beam ({self.beam})")
        alive = self.strategy != "evolution" or self.population < self.candidates
        require(alive, f"population ({self.population}) must be below the {self.candidates} candidates of the search")
        for name, macro in (("macro", self.macro), ("final", self.final)):
            check_macro(f"{name}.", macro.filters, macro.repeats, macro.scale_rate)
        self._check_validation()
        self._check_surrogate()
        require(
            self.final_inner.ways == self.inner.ways,
            f"final_inner.ways ({self.final_inner.ways}) must be inner.ways ({self.inner.ways})",
        )

    def _check_validation(self) -> None:
        check = self.validation
        positive = {"tasks": check.tasks, "shots": check.shots, "queries": check.queries, "batch": check.batch}
        positive["max_slots"] = check.max_slots
        bounded(1, MOST, {f"validation.{name}": value for name, value in positive.items()})
        bounded(0, MOST_STEPS, {"validation.steps": check.steps})
        at_least(0, {"validation.seed": check.seed})
        one_of(MODES, {"validation_mode": self.validation_mode})
        require(check.part == "val", f"validation.part must be val, not {check.part}: test classes stay unseen")

    def _check_surrogate(self) -> None:
        how = self.surrogate
        one_of(tuple(SURROGATES), {"surrogate.kind": how.kind})
        sizes = {"members": how.members, "units": how.units, "embedding": how.embedding, "epochs": how.epochs}
        bounded(1, MOST_CHANNELS, {f"surrogate.{name}": value for name, value in sizes.items()})
        at_least(0, {"surrogate.weight_decay": how.weight_decay, "uncertainty_weight": self.uncertainty_weight})
        require(0 < how.lr < math.inf, f"surrogate.lr must be above 0, not {how.lr:g}")
        needs = self.uncertainty_weight == 0 or how.members > 1
        require(needs, "uncertainty_weight needs an ensemble: set surrogate.members to 2 or more")

    @property
    def levels(self) -> tuple[int, ...]:
        """Candidates of each level, at most."""
        found, cells = [blocks.count(1)], blocks.count(1)
        for b in range(2, self.blocks + 1):  # there are ever more cells, and counting them takes ever longer
            cells = cells if cells >= self.beam else blocks.count(b)
            found.append(min(self.beam, cells))
        return tuple(found)

    @property
    def candidates(self) -> int:
        """Candidates of the search, at most."""
        return sum(self.levels)

    @property
    def rounds(self) -> tuple[int, ...]:
        """Candidates of what is proposed at once: levels, or a rival's rounds."""
        if self.strategy == "progressive":
            return self.levels
        each = {"random": self.candidates, "evolution": self.batch, "surrogate": self.beam}[self.strategy]
        first = self.population if self.strategy == "evolution" else each
        found = [min(first, self.candidates)]
        while (left := self.candidates - sum(found)) > 0:
            found.append(min(each, left))
        return tuple(found)

    @property
    def batches(self) -> int:
        """Batches that these make."""
        all_of_them = sum(-(-cells // self.batch) for cells in self.rounds)
        return all_of_them if self.most_batches is None else min(all_of_them, self.most_batches)

    def candidate(self) -> CandidateConfig:
        """How one candidate is trained and scored."""
        return CandidateConfig(
            filters=self.macro.filters,
            repeats=self.macro.repeats,
            scale_rate=self.macro.scale_rate,
            data=self.data,
            inner=self.inner,
            meta=self.meta,
            validation=self.validation,
            mode=self.validation_mode,
            seed=self.seed,
        )

    def fits(self, image_shape: tuple[int, int, int]) -> Fits:
        """Which cells keep to the limits, in the network where they are judged and in the one that is handed out."""
        macros = tuple(
            BlockMacro(macro.filters, macro.repeats, macro.scale_rate, self.inner.ways, image_shape)
            for macro in dict.fromkeys((self.macro, self.final))
        )
        return Fits(macros, Limits(self.max_params, self.max_macs))

    def build(self, image_shape: tuple[int, int, int]) -> Network:
        """The network of the published cell in the search's macro-structure; every candidate's is much like it."""
        return self.final_config("published").build(image_shape)

    def final_config(self, key: str) -> ReptileConfig:
        """The winner's training in full, on the training classes alone, tested on unseen ones."""
        return ReptileConfig(
            network=f"{CELL}{key}",
            filters=self.final.filters,
            repeats=self.final.repeats,
            scale_rate=self.final.scale_rate,
            data=self.data,
            inner=self.final_inner,
            meta=self.final_meta,
            test=self.test,
            seed=self.seed,
            precision=self.precision,
        )


class Recorder(Protocol):
    """Keeps the report of a level that is over."""

    def __call__(self, level: int, report: Mapping) -> None: ...


@dataclass(frozen=True)
class Progression:
    """The levels of a search, decided from what the ledger holds."""

    config: AutoMetaConfig
    ledger: Ledger
    record: Recorder
    processes: int = 1
    fits: Fits = Fits()

    def advance(self) -> bool:
        """Where all that was proposed is trained, report on that level and propose the next one; whether anything
        waits to be trained now.

        Raises `DivergedError` where no candidate of a level came through.
        """
        levels = self.ledger.levels()
        if levels and not levels[-1].finished:
            return True
        if not levels:
            entries = [(cell.key, None, None) for cell in blocks.level_one() if self.fits(cell)]
            self.ledger.propose(1, entries, self.config.batch)
            return True
        return self._next(levels[-1].level)

    def _next(self, level: int) -> bool:
        """Learn from all levels up to `level`, which is over; propose cells of one block more."""
        rows = self.ledger.outcomes(level)
        done = measured(rows)
        if not done:
            reasons = Counter(row.failure or "no reason given" for row in rows)
            raise DivergedError(f"no candidate with {level} blocks came through: {reasons.most_common(1)[0][0]}")
        surrogate = self.learned(level)
        self.record(level, report(level, rows, surrogate))
        if level == self.config.blocks:
            return False
        beam = [BlockCell.parse(row.key) for row in done]
        entries = [(p.cell.key, p.mean, p.std) for p in self._chosen(surrogate, beam)]
        if entries:
            self.ledger.propose(level + 1, entries, self.config.batch)
        return bool(entries)

    def _chosen(self, surrogate: Surrogate, beam: list[BlockCell]) -> list[Prediction]:
        """The best expansions by prediction among those that fit: more are looked at until there are enough."""
        wanted = looked_at = self.config.beam
        while True:
            found = choose(surrogate, beam, looked_at, self.config.uncertainty_weight, self.processes)
            fitting = [p for p in found if self.fits(p.cell)][:wanted]
            if len(fitting) == wanted or len(found) < looked_at:
                return fitting
            looked_at *= 4

    def learned(self, level: int) -> Surrogate:
        """The surrogate fitted to all cells measured up to `level`."""
        known = [row for row in measured(self.ledger.outcomes()) if row.level <= level]
        surrogate = self.config.surrogate.build(self.config.blocks)
        cells = [BlockCell.parse(row.key) for row in known]
        surrogate.fit(cells, [row.accuracy for row in known], self.config.seed * 100 + level)
        return surrogate


class Strategy(Protocol):
    """What decides which cells are trained."""

    def advance(self) -> bool:
        """Propose what is to be trained next where nothing waits; whether anything waits then."""


def strategy_of(
    config: AutoMetaConfig, ledger: Ledger, record: Recorder, processes: int = 1, fits: Fits | None = None
) -> Strategy:
    """The search that the config asks for; processes: that may help to choose among many cells; fits: cells that may be
    trained."""
    fits = fits or Fits()
    if config.strategy == "progressive":
        return Progression(config, ledger, record, processes, fits)
    common = (ledger, config.blocks, config.candidates, config.batch, config.seed)
    if config.strategy == "random":
        return RandomSearch(*common, fits=fits)
    if config.strategy == "evolution":
        return Evolution(*common, config.population, config.sample, fits=fits)
    surrogate, weight = (lambda: config.surrogate.build(config.blocks)), config.uncertainty_weight
    return SurrogateSearch(*common, surrogate, config.beam, config.pool, weight, fits=fits)
