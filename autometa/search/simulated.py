"""A search in memory whose trainings are looked up: any strategy, in seconds, against results that are known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from autometa.errors import InputError
from autometa.nas.strategies.strategy import (
    CLAIMED,
    DONE,
    FAILED,
    PAUSED,
    STOPPED,
    SearchSpec,
    Strategy,
    Trial,
    Verdict,
)


@dataclass(frozen=True)
class Curve:
    """What is known of one architecture's training, at some points of it in order, the last one its end.

    at: meta-iterations; accuracy: on validation classes, percent; training: seconds up to each point; scoring: seconds
    at each point; failure: why there are no accuracies, or None.
    """

    at: tuple[int, ...]
    accuracy: tuple[float, ...]
    training: tuple[float, ...]
    scoring: tuple[float, ...]
    parameters: int
    macs: int
    failure: str | None = None

    def point(self, iterations: int) -> int:
        """The place of the first point at or after so many meta-iterations, of the last one where none is."""
        return next((n for n, at in enumerate(self.at) if at >= iterations), len(self.at) - 1)


def simulate(strategy: Strategy, spec: SearchSpec, curve: Callable[[str], Curve]) -> list[Trial]:
    """The history of a whole search: trials that have all ended, `seconds` of each what it added.

    A trial that should be scored between two points of a curve is scored, and paid for, at the later one.

    Raises `DivergedError` where no trial comes through, `InputError` where one would begin with another's weights.
    """
    history: list[Trial] = []
    while proposals := strategy.ask(history, spec):
        known, round = tuple(history), history[-1].round + 1 if history else 1
        for place, asked in enumerate(proposals):
            what = len(history), round, place, asked.key, CLAIMED, asked.fidelity, asked.parent
            begun = Trial(*what, mean=asked.mean, std=asked.std)
            history.append(_ended(begun, known, strategy, spec, curve(asked.key)))
    return history


def _ended(trial: Trial, history: Sequence[Trial], strategy: Strategy, spec: SearchSpec, curve: Curve) -> Trial:
    """The trial after its training, from its parent's last point to what its fidelity says or the strategy's verdict.

    history: the rounds before.
    """
    seconds, trial = 0.0, replace(trial, parameters=curve.parameters, macs=curve.macs, seconds=0.0)
    if curve.failure is not None:
        return replace(trial, state=FAILED, failure=curve.failure, seconds=curve.training[-1])
    if trial.parent is not None and history[trial.parent].key != trial.key:
        raise InputError(f"{strategy.name} hands weights on, which only a search that trains can do")
    if trial.parent is not None:
        trial = replace(trial, reports=history[trial.parent].reports)
    end = curve.point(min(trial.fidelity or spec.iterations, curve.at[-1]))
    for n in sorted({end, *map(curve.point, strategy.reports(spec))}):
        done = max(trial.reports, default=0)
        if not done < curve.at[n] <= curve.at[end] or math.isnan(curve.accuracy[n]):
            continue
        seconds += curve.training[n] - (curve.training[curve.at.index(done)] if done else 0.0) + curve.scoring[n]
        reports = {**trial.reports, curve.at[n]: curve.accuracy[n]}
        trial = replace(trial, seconds=seconds, reports=reports, accuracy=curve.accuracy[n])
        if curve.at[n] == curve.at[-1]:
            break  # which nobody is asked about
        verdict = strategy.judge(trial, history, spec)
        if verdict is not Verdict.GO:
            return replace(trial, state=PAUSED if verdict is Verdict.PAUSE else STOPPED)
    return replace(trial, state=DONE if end == len(curve.at) - 1 else PAUSED)


@dataclass(frozen=True)
class Step:
    """A search after one more trial. trainings: full trainings' worth of meta-iterations so far; seconds: so far; key:
    of the architecture that it would hand out, of those trained longest the most accurate."""

    trainings: float
    seconds: float
    key: str


def steps(history: Sequence[Trial], iterations: int) -> list[Step]:
    """A search's way, trial by trial; from the first one on that has an accuracy."""
    found: list[Step] = []
    best: tuple[float, ...] = (-1.0,)
    trainings = seconds = 0.0
    key = None
    for trial in history:
        parent = {} if trial.parent is None else history[trial.parent].reports
        reached = max(trial.reports, default=iterations)
        trainings += (reached - max(parent, default=0)) / iterations
        seconds += trial.seconds or 0.0
        if trial.scored and (rank := (reached, trial.measured, -(trial.parameters or 0))) > best:
            best, key = rank, trial.key
        if key is not None:
            found.append(Step(trainings, seconds, key))
    return found
