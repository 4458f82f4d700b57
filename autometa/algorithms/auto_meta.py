"""Auto-Meta (Kim et al. 2018): progressive search with a surrogate (PNAS, Liu et al. 2018) around Reptile; or another
strategy around another meta-learner, in the same space.

What was decided and measured stands in the ledger alone, so a search that is cut off anywhere goes on to the same end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from autometa.algorithms.train import ReptileConfig
from autometa.brief import brief
from autometa.errors import InputError
from autometa.meta.bn_modes import MODES
from autometa.meta.learner import MetaLearner
from autometa.meta.reptile import Reptile
from autometa.nas.networks.named import name_of
from autometa.nas.networks.network import Network
from autometa.nas.networks.side_by_side import Macro
from autometa.nas.one_shot.size_limits import Limits
from autometa.nas.predictors.ensemble import Ensemble
from autometa.nas.predictors.neural import Training
from autometa.nas.predictors.predictor import PREDICTORS, Measure, Predictor, made
from autometa.nas.spaces.block_space import BlockSpace
from autometa.nas.spaces.draws import Draws
from autometa.nas.spaces.genotype import Genotype
from autometa.nas.spaces.space import MOST_LEVELS, SPACES, Architecture, Space
from autometa.nas.strategies.progressive import Progressive
from autometa.nas.strategies.strategy import SearchSpec, Strategy, everything
from autometa.runs.folder import RunFolder
from autometa.train import records
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
    check_macro,
    one_of,
    require,
)
from autometa.train.records import FOUND
from autometa.train.run_config import RunConfig


@dataclass(frozen=True)
class SurrogateConfig:
    """What predicts a cell's accuracy (section 3.1; PNAS, section 4).

    Args:
        kind: a predictor by name (`autometa list predictors`), `lstm` (the paper's).
        members: networks of a neural predictor's ensemble, each without its share of the cells; 1 for a single one.
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

    def build(self, space: Space, measure: Measure | None = None) -> Predictor:
        """A predictor for the cells of a space that has learned nothing yet; measure: what the search knows of cells.

        Raises `InputError` where the predictor needs what the search does not know.
        """
        how, kind = Training(self.units, self.embedding, self.epochs, self.lr, self.weight_decay), PREDICTORS[self.kind]
        if self.members == 1 or getattr(kind, "alone", False):
            return made(kind, space, how, measure)
        return Ensemble(lambda: made(kind, space, how, measure), self.members)


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
    """Which cells of a space make networks within the limits; macros: the networks around a cell."""

    macros: tuple[Macro, ...] = ()
    limits: Limits = Limits()
    space: Space = field(default_factory=BlockSpace)

    def __call__(self, cell: Architecture) -> bool:
        return not self.limits or self.limits.hold(self.size(cell))

    def measure(self, what: str, cells: Sequence[Architecture]) -> np.ndarray:
        """Sizes of cells that are not trained, for predictors. Raises `InputError` for what training alone shows."""
        if what != "sizes":
            raise InputError(f"a search knows no {what} of cells before it trains them; take another surrogate.kind")
        return np.array([self.size(cell) for cell in cells], dtype=np.float64).reshape(len(cells), 2)

    def size(self, cell: Architecture) -> tuple[int, int]:
        """Weights and MACs, of the larger network."""
        networks = [self.space.networks([cell], macro) for macro in self.macros]
        return max(network.parameters(0) for network in networks), max(network.macs(0) for network in networks)


@brief
@dataclass(frozen=True)
class AutoMetaConfig(RunConfig):
    """One Auto-Meta run; the defaults are the paper's for Omniglot (section 4; where it is silent, Reptile's).

    Args:
        strategy: the search strategy with its settings: progressive (the paper's), or another one that trains as many
            cells, all of `blocks` blocks.
        space: the search space by name (`autometa list spaces`): `blocks` (the paper's), or another one, whose parts
            (nodes of both cells of `edges`) are counted and limited as blocks are.
        blocks: B, blocks of the largest cells.
        beam: K, cells trained at each level beyond the first, which has 55; per round, of a strategy with rounds.
        batch: candidates trained side by side; decided once, so that results do not depend on workers.
        most_batches: of these, after which the search ends; None: all.
        macro: the network in which candidates are judged.
        surrogate: what predicts their accuracy.
        uncertainty_weight: of the ensemble's standard deviation in the choice of cells (0: by mean alone).
        data: images and split.
        learner: the meta-learner around the search (paper: Reptile).
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

    algorithm: ClassVar[str] = "auto-meta"
    phase: ClassVar[str] = "final"
    prefix: ClassVar[str] = "final_"
    inners: ClassVar[tuple[str, ...]] = ("inner", "final_inner")
    tests: ClassVar[tuple[str, ...]] = ("test", "validation")

    strategy: Strategy = field(default_factory=Progressive)
    space: str = "blocks"
    blocks: int = 5
    beam: int = 100
    batch: int = 20
    most_batches: int | None = None
    macro: MacroConfig = field(default_factory=MacroConfig)
    surrogate: SurrogateConfig = field(default_factory=SurrogateConfig)
    uncertainty_weight: float = 0.0
    data: DataConfig = field(default_factory=lambda: DataConfig("omniglot:vinyals", 28))
    learner: MetaLearner = field(default_factory=Reptile)
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
        super().check()
        check_common(self.data, self.final_inner, self.final_meta, self.test, self.seed, self.precision)
        bounded(1, MOST_LEVELS, {"blocks": self.blocks})
        bounded(1, MOST, {"beam": self.beam, "batch": self.batch})
        at_least(1, {} if self.most_batches is None else {"most_batches": self.most_batches})
        require(not self.meta.planned, "planned is for final_meta; candidates are all trained as long")
        self.strategy.check(self.spec())
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
        require(
            not check.frozen, "validation.frozen must be false: candidates are compared in one of the three BN modes"
        )
        require(check.part == "val", f"validation.part must be val, not {check.part}: test classes stay unseen")

    def _check_surrogate(self) -> None:
        how = self.surrogate
        one_of(PREDICTORS.names(), {"surrogate.kind": how.kind})
        sizes = {"members": how.members, "units": how.units, "embedding": how.embedding, "epochs": how.epochs}
        bounded(1, MOST_CHANNELS, {f"surrogate.{name}": value for name, value in sizes.items()})
        at_least(0, {"surrogate.weight_decay": how.weight_decay, "uncertainty_weight": self.uncertainty_weight})
        require(0 < how.lr < math.inf, f"surrogate.lr must be above 0, not {how.lr:g}")
        needs = self.uncertainty_weight == 0 or how.members > 1
        require(needs, "uncertainty_weight needs an ensemble: set surrogate.members to 2 or more")

    @property
    def cells(self) -> Space:
        """Architectures of up to `blocks` parts. Raises `InputError` where there is no space of the name."""
        return SPACES[self.space](self.blocks)

    @property
    def candidates(self) -> int:
        """Full trainings that the search may take: as many as the paper's progression has candidates."""
        return sum(Progressive().rounds(SearchSpec(self.cells, 0, self.beam)))

    def spec(
        self,
        fits: Callable[[Architecture], bool] = everything,
        processes: int = 1,
        space: Space | None = None,
        measure: Measure | None = None,
    ) -> SearchSpec:
        """What the strategy may know of the search; fits: cells that may be trained; processes: that help to choose;
        space: the cells to search, where these are not all; measure: for predictors, what is known of cells."""
        space, measure = space or self.cells, measure or getattr(fits, "measure", None)
        return SearchSpec(
            space=space,
            budget=self.candidates,
            beam=self.beam,
            batch=self.batch,
            seed=self.seed,
            iterations=self.meta.iterations,
            predictor=lambda: self.surrogate.build(space, measure),
            uncertainty_weight=self.uncertainty_weight,
            fits=fits,
            processes=processes,
        )

    @property
    def rounds(self) -> tuple[int, ...]:
        """Candidates of what is proposed at once, as planned."""
        return self.strategy.rounds(self.spec())

    @property
    def batches(self) -> int:
        """Batches that these make."""
        all_of_them = sum(-(-cells // self.batch) for cells in self.rounds)
        return all_of_them if self.most_batches is None else min(all_of_them, self.most_batches)

    def candidate(self) -> CandidateConfig:
        """How one candidate is trained and scored."""
        own = {name: getattr(self, name) for name in ("data", "learner", "inner", "meta", "validation", "seed")}
        return CandidateConfig(**vars(self.macro), **own, mode=self.validation_mode)

    def fits(self, image_shape: tuple[int, int, int]) -> Fits:
        """Which cells keep to the limits, in the network where they are judged and in the one that is handed out."""
        macros = tuple(
            Macro(macro.filters, macro.repeats, macro.scale_rate, self.inner.ways, image_shape)
            for macro in dict.fromkeys((self.macro, self.final))
        )
        return Fits(macros, Limits(self.max_params, self.max_macs), self.cells)

    def build(self, image_shape: tuple[int, int, int], genotype: Genotype | None = None) -> Network:
        """As of `handed_out` without a folder."""
        return self.handed_out().build(image_shape)

    def handed_out(self, folder: RunFolder | None = None) -> ReptileConfig:
        """Its winner's; without a folder, that of a network that every candidate's is much like: of the published cell,
        in another space of the first architecture of full size that is drawn."""
        if folder is None:
            published = self.space == "blocks"
            return self.final_config("published" if published else self.cells.sample(Draws(0, 0)).key)
        best = records.read(folder, FOUND, {"winner": None})["winner"]
        if best is None:
            raise InputError(f"the search in {folder.path} has not found its cell yet; go on with it first")
        return self.final_config(best["key"])

    def smallest(self, network: Network) -> tuple[tuple[int, int], str, str]:
        """Of the cells of one block, one that fits where there is one."""
        fits, cells = self.fits(network.image_shape), list(self.cells.first())
        size = next((fits.size(cell) for cell in cells if fits(cell)), None) or min(map(fits.size, cells))
        what = "the smallest cell of the space makes a network of"
        return size, what, "allow more, or fewer --macro.filters and --final.filters"

    def training(self, genotype: str) -> ReptileConfig:
        """As the winner is trained in full."""
        return ReptileConfig.like(self, network=genotype, filters=self.final.filters)

    def final_config(self, key: str) -> ReptileConfig:
        """The winner's training in full, on the training classes alone, tested on unseen ones."""
        own = {"meta": self.final_meta, "learner": self.learner, "precision": self.precision}
        return ReptileConfig.like(self, network=name_of(self.space, key), **vars(self.final), **own)
