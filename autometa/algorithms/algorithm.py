"""An algorithm: a sort of run. What the interface, the report and the command line ask of one, whichever it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic

from autometa.algorithms.earlier import Config, Earlier
from autometa.algorithms.jobs import Job
from autometa.errors import InputError
from autometa.models.model import Model
from autometa.nas.networks.cell_network import CellNetwork
from autometa.nas.networks.network import Network
from autometa.nas.spaces.genotype import CellGenotype, Genotype
from autometa.runs.folder import RunFolder
from autometa.runs.forms import Form, anything
from autometa.train.cost import Measuring
from autometa.train.phases import Terms
from autometa.train.run_config import ALGORITHMS, RunConfig
from autometa.train.tasks import Source
from autometa.train.trainer import Trainer

UNDECIDED = "No cell is chosen yet: cells are drawn here once the search is over."


Drawn = Network | CellNetwork


@dataclass(frozen=True)
class Chosen:
    """What a run's folder names: its settings as they stand there, genotypes by name, and the best cell of a search
    over candidates as search.json tells it."""

    config: Mapping[str, Any]
    genotypes: Mapping[str, Genotype]
    winner: Mapping[str, Any] | None

    @property
    def key(self) -> str | None:
        """Of the best cell."""
        return (self.winner or {}).get("key")


class Algorithm(ABC, Generic[Config]):
    """Base of the algorithms: one object of each stands in `ALGORITHMS` by the tag of its configs.

    config: the class of its settings. word: of the command line. command: the word in full, with which its results are
    tagged. what: one of its runs, in words. about, examples: for --help. title, card, loop_title: of a run, its model
    card and its loop of meta-iterations, in words. sections: parts of the report beside those of every run. result: the
    form of what its result.json holds beside all others. earlier: what a search takes over from one before. searches:
    whether it is one of `search`; else of `train`. workers: whether others can train its candidates. ranks: whether
    torchrun's processes can divide its meta-batches.
    """

    config: ClassVar[type[RunConfig]] = RunConfig
    word: ClassVar[str]
    command: ClassVar[str]
    what: ClassVar[str]
    about: ClassVar[str]
    examples: ClassVar[str]
    title: ClassVar[str] = "Run"
    card: ClassVar[str] = "A network with a meta-trained initialisation."
    loop_title: ClassVar[str | None] = None
    sections: ClassVar[tuple[str, ...]] = ()
    result: ClassVar[Form | staticmethod] = staticmethod(anything)
    earlier: ClassVar[type[Earlier[Any]]] = Earlier  # type: ignore[type-abstract]  # `open` says that there is none
    searches: ClassVar[bool] = True
    workers: ClassVar[bool] = False
    ranks: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """The tag of its configs."""
        return self.config.algorithm

    @abstractmethod
    def run(self, config: Config, folder: RunFolder, terms: Terms) -> dict[str, Any]:
        """A whole run in its folder, from the start or from where it was left; what result.json then holds."""

    @abstractmethod
    def trainer(self, network: Any, source: Source, config: Any) -> Trainer:
        """The loop of meta-iterations whose outcome is handed out, from its beginning."""

    def evaluate(self, model: Model, job: Job[Config], phase: str) -> dict[str, Any]:
        """Scores and sizes of what a run of it handed out, as a result has them.

        Asked of the algorithm whose config the handed-out network carries: one whose runs hand out a network that
        another one trained need not have it.
        """
        raise InputError(f"{self.command} evaluates no network of its own; its algorithm needs `evaluate`")

    def label(self, config: Config) -> str | None:
        """What its runs are called by beside the word, where no preset was asked for."""
        return None

    def seconds_before(self, config: Config, source: Source, left: Measuring) -> dict[str, float]:
        """Seconds of what comes before the loop of meta-iterations, by name; left: what may be measured for it."""
        return {}

    def baselines(
        self, config: Config, parameters: float, image_shape: tuple[int, int, int]
    ) -> dict[str, RunConfig | None]:
        """What a run is compared with at its end, by name: trained by this config, or only tested where it is None.

        parameters: of the network that is handed out.
        """
        return {}

    def drawn(self, config: Config, image_shape: tuple[int, int, int], chosen: Chosen) -> Drawn | None:
        """The network whose layers and operations the report tells; config: `chosen`'s, built."""
        return None

    def cells(self, chosen: Chosen) -> dict[str, CellGenotype]:
        """The cells that were found or trained, by kind; `cell` where one serves as both."""
        return {}

    def introduction(self, chosen: Chosen) -> str:
        """What the network is, in a few sentences."""
        return "This folder holds no run of a kind that this version draws."

    def length(self, folder: RunFolder, config: Config) -> dict[str, Any]:
        """Settings beside the number of meta-iterations that repeat how long a run was, which a time budget cut."""
        return {}

    def announcement(self, config: Config) -> str:
        """What comes before the loop of meta-iterations, in words."""
        return ""


class Unknown(Algorithm[RunConfig]):
    """Algorithm of runs whose config has no tag, or one of a package that is not installed: they are told of alone."""

    command = "a run of an unknown algorithm"

    def run(self, config: RunConfig, folder: RunFolder, terms: Terms) -> dict[str, Any]:
        raise self._unknown()

    def trainer(self, network: Any, source: Source, config: RunConfig) -> Trainer:
        raise self._unknown()

    @staticmethod
    def _unknown() -> InputError:
        return InputError("this version does not know the algorithm of the run; install the package it came with")


def algorithm_of(config: Config) -> Algorithm[Config]:
    """Whose settings these are."""
    return ALGORITHMS[config.algorithm]


def algorithm_tagged(tag: str | None) -> Algorithm[Any]:
    """The algorithm of a config's tag; one that says little where there is none."""
    return ALGORITHMS[tag] if tag is not None and tag in ALGORITHMS else Unknown()


def searches() -> dict[str, Algorithm[Any]]:
    """The algorithms of `search` by name, the one taken where none is named first."""
    return {name: found for name, found in ALGORITHMS.items() if found.searches}


def training() -> Algorithm[Any]:
    """The algorithm of `train`."""
    return next(found for found in ALGORITHMS.values() if not found.searches)


def search_named(name: str | None) -> Algorithm[Any]:
    """The search of that name, the first one where it is None. Raises `InputError` naming those that exist."""
    known = searches()
    if name is not None and name not in known:
        raise InputError(f"unknown search {name!r}; choose from {', '.join(known)}")
    return next(iter(known.values())) if name is None else known[name]


def both_kinds(genotype: Genotype | None) -> dict[str, CellGenotype]:
    """The cells of a genotype as `Algorithm.cells` gives them."""
    if genotype is None:
        return {}
    if genotype.normal == genotype.reduction:
        return {"cell": genotype.normal}
    return {"normal": genotype.normal, "reduction": genotype.reduction}
