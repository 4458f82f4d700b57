"""The protocol of a search strategy: which architectures to train next, how long, and when to stop one.

A strategy is a frozen dataclass, its fields its settings, registered by name in `STRATEGIES`. What it decides is a pure
function of its settings, the search's seed and the history: a search that is cut off anywhere goes on to the same end,
whoever trained what. A strategy that learns (a controller, a table of values) folds over the history.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from itertools import accumulate, repeat
from typing import Any, ClassVar

from autometa.errors import DivergedError
from autometa.nas.predictors.predictor import Predictor
from autometa.nas.spaces.draws import Draws
from autometa.nas.spaces.space import Architecture, Space
from autometa.registry import Named, Registry

TRIES = 1000
"""Draws in a row that may give known architectures before the space is taken to be used up."""
WAITING, CLAIMED, DONE, FAILED, PAUSED, STOPPED = "waiting", "claimed", "done", "failed", "paused", "stopped"


@dataclass(frozen=True)
class Proposal:
    """An architecture to train.

    fidelity: meta-iterations at which it stands when it is scored, all of a full training where None; parent: the trial
    whose checkpoint it goes on from, or, where that has another key, whose weights it begins with; mean, std: its
    predicted accuracy, None where nothing predicted it.
    """

    key: str
    fidelity: int | None = None
    parent: int | None = None
    mean: float | None = None
    std: float | None = None


@dataclass(frozen=True)
class Trial:
    """What the history knows of a proposal; numbers are None until it ends.

    id: its number in the order of proposals; round: of proposals, from 1; place: within its round; state: waiting,
    claimed, done, failed, paused (scored below full fidelity, its checkpoint kept) or stopped (by `judge`). reports:
    validation accuracy by the number of meta-iterations done.
    """

    id: int
    round: int
    place: int
    key: str
    state: str
    fidelity: int | None = None
    parent: int | None = None
    mean: float | None = None
    std: float | None = None
    accuracy: float | None = None
    parameters: int | None = None
    macs: int | None = None
    seconds: float | None = None
    failure: str | None = None
    reports: Mapping[int, float] = field(default_factory=dict)

    @property
    def measured(self) -> float:
        """The accuracy of a trial that was scored."""
        assert self.accuracy is not None, f"trial {self.id} has no score"
        return self.accuracy

    @property
    def ended(self) -> bool:
        return self.state not in (WAITING, CLAIMED)

    @property
    def scored(self) -> bool:
        """Whether there is an accuracy to decide by."""
        return self.state in (DONE, PAUSED, STOPPED) and self.accuracy is not None


class Verdict(Enum):
    """What `judge` says of a trial: go on, pause with a checkpoint that a later proposal may go on from, or stop."""

    GO = "go"
    PAUSE = "pause"
    STOP = "stop"


def everything(architecture: Architecture) -> bool:
    """Limits of a search without any."""
    return True


@dataclass(frozen=True)
class SearchSpec:
    """What a strategy may know of its search beside the history.

    Args:
        space: architectures; of full size those of its last level.
        budget: trials in all, failed ones included (a strategy of several fidelities: full trainings' worth of them).
        beam: trials of a round, where a strategy has such (PNAS: K).
        batch: trials trained side by side.
        seed: of all choices.
        iterations: meta-iterations of a full training.
        predictor: makes a predictor that has learned nothing yet; `learned` gives one that has.
        uncertainty_weight: of the predicted standard deviation in choices (0: by mean alone).
        fits: which architectures may be trained at all.
        processes: that may help to predict; results do not depend on it.
        earlier: histories of earlier searches in spaces of the same kind, for strategies that learn from them.
    """

    space: Space
    budget: int
    beam: int = 100
    batch: int = 20
    seed: int = 0
    iterations: int = 1000
    predictor: Callable[[], Predictor] | None = None
    uncertainty_weight: float = 0.0
    fits: Callable[[Any], bool] = everything
    processes: int = 1
    earlier: tuple[Sequence[Trial], ...] = ()
    _learned: dict[tuple, Predictor] = field(default_factory=dict, init=False, repr=False, compare=False)

    def learned(self, trials: Sequence[Trial], seed: int) -> Predictor:
        """The predictor after these trials; the last one is kept, so that who reports what it says of them after a
        choice does not have it learn them again."""
        known = (seed, *((trial.key, trial.accuracy) for trial in trials))
        if known not in self._learned:
            assert self.predictor is not None, "a search whose strategy learns has one"
            made = self.predictor()
            made.fit([self.space.parse(trial.key) for trial in trials], [trial.measured for trial in trials], seed)
            self._learned.clear()
            self._learned[known] = made
        return self._learned[known]


class Strategy(Named, ABC):
    """A search strategy. The base proposes in rounds: nothing new before all of the last round has ended."""

    unit: ClassVar[str | None] = "round"
    """What a round is called in reports; None: as the space calls a part, where round n holds those of n parts."""

    def ask(self, history: Sequence[Trial], spec: SearchSpec) -> list[Proposal]:
        """What to train next; empty while the strategy waits for trials to end, or once it has ended (`over`).

        Raises `DivergedError` where no trial has come through so far.
        """
        if any(not trial.ended for trial in history) or self.over(history, spec):
            return []
        if history and not any(trial.scored for trial in history):
            raise DivergedError(f"none of {len(history)} candidates came through: {main_failure(history)}")
        return self.round(history, spec)[: self.room(history, spec)]

    @abstractmethod
    def round(self, history: Sequence[Trial], spec: SearchSpec) -> list[Proposal]:
        """The next round, after all of `history` has ended; empty where nothing new is left."""

    def room(self, history: Sequence[Trial], spec: SearchSpec) -> int:
        """How many trials may still be proposed."""
        return spec.budget - len(history)

    def over(self, history: Sequence[Trial], spec: SearchSpec) -> bool:
        """Whether the budget is spent."""
        return self.room(history, spec) <= 0

    def judge(self, trial: Trial, history: Sequence[Trial], spec: SearchSpec) -> Verdict:
        """Looked at after each report of a running trial; by default it trains up to its fidelity.

        Of the history only rounds before the trial's may count, so that the answer does not depend on who runs beside.
        """
        if trial.fidelity is None or trial.fidelity >= spec.iterations or not trial.reports:
            return Verdict.GO
        return Verdict.PAUSE if max(trial.reports) >= trial.fidelity else Verdict.GO

    def reports(self, spec: SearchSpec) -> tuple[int, ...]:
        """Meta-iterations at which running trials are scored for `judge`, beside the fidelity where they end."""
        return ()

    def resumable(self, history: Sequence[Trial], spec: SearchSpec) -> Collection[int]:
        """Trials whose checkpoints a later round may go on from, beside the parents of this one; others are removed."""
        return [trial.id for trial in history if trial.scored]

    def inherits(self, spec: SearchSpec) -> bool:
        """Whether architectures may begin with another one's weights, so that full trainings leave checkpoints too."""
        return False

    def learns_from(self) -> tuple[str, ...]:
        """Run folders of earlier searches whose histories `SearchSpec.earlier` is to hold."""
        return ()

    def rounds(self, spec: SearchSpec) -> tuple[int, ...]:
        """Trials of each round as planned, for estimates and progress."""
        return (spec.budget,)

    def workload(self, spec: SearchSpec) -> list[tuple[int, int, float]]:
        """(level of the architectures, trials, share of a full training that each takes), for estimates."""
        return [(spec.space.levels, sum(self.rounds(spec)), 1.0)]

    def check(self, spec: SearchSpec) -> None:  # noqa: B027  most strategies fit every search
        """Raise `InputError` where the strategy's settings do not fit the search."""

    def predictor_after(self, history: Sequence[Trial], spec: SearchSpec, round: int) -> Predictor | None:
        """The predictor as the strategy fitted it after a round, to report how well it ranks; None without one."""
        return None


def main_failure(trials: Sequence[Trial]) -> str:
    """The commonest reason why trials failed."""
    return Counter(trial.failure or "no reason given" for trial in trials).most_common(1)[0][0]


def unknown(spec: SearchSpec, make: Callable[[], Architecture], known: set[str]) -> Architecture | None:
    """What `make` gives first that fits and is not in `known`, which learns of it; None where it gives nothing such."""
    tried = (make() for _ in range(TRIES))
    made = next((a for a in tried if a.key not in known and spec.fits(a)), None)
    if made is not None:
        known.add(made.key)
    return made


def drawn(spec: SearchSpec, count: int, known: set[str], item: int, level: int | None = None) -> list[Architecture]:
    """Up to `count` random architectures that fit and are not in `known`, which learns of them; choices from number
    `item` on."""
    found: list[Architecture] = []
    for number in range(count):
        made = unknown(spec, partial(spec.space.sample, Draws(spec.seed, item + number), level), known)
        if made is None:
            break
        found.append(made)
    return found


def mutated(spec: SearchSpec, made: Architecture, known: set[str], draws: Draws) -> Architecture | None:
    """A random neighbour that fits and is not in `known`, which learns of it, by several mutations where one is not
    enough; None where none was found."""
    way = accumulate(repeat(draws), spec.space.mutate, initial=made)
    next(way)
    return unknown(spec, partial(next, way), known)


def batches(first: int, spec: SearchSpec) -> tuple[int, ...]:
    """Sizes of a first round and of one for each batch that the budget then leaves, the last as it comes out."""
    whole, rest = divmod(spec.budget - first, spec.batch)
    return (first, *[spec.batch] * whole, *([rest] if rest else []))


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Those that have an accuracy, best first; ties go to the smaller key."""
    return sorted((trial for trial in trials if trial.scored), key=lambda trial: (-trial.measured, trial.key))


STRATEGIES: Registry[type[Strategy]] = Registry(
    "search strategy",
    "autometa.strategies",
    {
        "progressive": "autometa.nas.strategies.progressive:Progressive",
        "random": "autometa.nas.strategies.random:RandomSearch",
        "evolution": "autometa.nas.strategies.evolution:RegularisedEvolution",
        "surrogate": "autometa.nas.strategies.surrogate:SurrogateSearch",
        "local": "autometa.nas.strategies.local:LocalSearch",
        "q-learning": "autometa.nas.strategies.q_learning:QLearning",
        "reinforce": "autometa.nas.strategies.reinforce:Reinforce",
        "large-scale-evolution": "autometa.nas.strategies.large_scale_evolution:LargeScaleEvolution",
        "grid": "autometa.nas.strategies.grid:GridSearch",
        "halving": "autometa.nas.strategies.halving:SuccessiveHalving",
        "tpe": "autometa.nas.strategies.tpe:TPE",
        "hyperband": "autometa.nas.strategies.hyperband:Hyperband",
        "gaussian-process": "autometa.nas.strategies.gaussian_process:GaussianProcessSearch",
        "curve-stopping": "autometa.nas.strategies.curve_stopping:CurveStopping",
        "transfer": "autometa.nas.strategies.transfer:TransferHyperband",
    },
)
Strategy.registry = STRATEGIES
