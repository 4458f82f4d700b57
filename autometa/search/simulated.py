"""A search in memory whose trainings are looked up: any strategy, in seconds, against results that are known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from autometa.nas.strategies.strategy import (
    CLAIMED,
    DONE,
    FAILED,
    PAUSED,
    STOPPED,
    Proposal,
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


def simulate(strategy: Strategy, spec: SearchSpec, curve: Callable[[str], Curve]) -> list[Trial]:
    """The history of a whole search: trials that have all ended, `seconds` of each what it added.

    A fidelity that lies between two points of a curve is trained up to the later one. Points on the way to it are
    scored, and paid for, where the strategy judges by them.

    Raises `DivergedError` where no trial comes through.
    """
    history: list[Trial] = []
    judges = type(strategy).judge is not Strategy.judge
    while proposals := strategy.ask(history, spec):
        round = history[-1].round + 1 if history else 1
        for place, proposal in enumerate(proposals):
            history.append(_trial(strategy, spec, curve(proposal.key), history, (round, place), proposal, judges))
    return history


def _trial(
    strategy: Strategy,
    spec: SearchSpec,
    curve: Curve,
    history: Sequence[Trial],
    where: tuple[int, int],
    asked: Proposal,
    judges: bool,
) -> Trial:
    """One trial, from its parent's point to what its fidelity says or the strategy's verdict."""
    how = {"fidelity": asked.fidelity, "parent": asked.parent, "mean": asked.mean, "std": asked.std}
    sizes = {"parameters": curve.parameters, "macs": curve.macs}
    trial = Trial(len(history), *where, asked.key, CLAIMED, **how, **sizes)
    if curve.failure is not None:
        return replace(trial, state=FAILED, failure=curve.failure, seconds=curve.training[-1])
    known = {} if asked.parent is None else dict(history[asked.parent].reports)
    begin = max(known, default=0)
    end = next(at for at in curve.at if at >= min(asked.fidelity or spec.iterations, curve.at[-1]))
    points = [n for n, at in enumerate(curve.at) if begin < at <= end and not math.isnan(curve.accuracy[n])]
    seconds = 0.0
    for n in points:
        if not judges and curve.at[n] < end:
            continue
        known[curve.at[n]] = curve.accuracy[n]
        before = curve.training[curve.at.index(begin)] if begin else 0.0
        seconds, begin = seconds + curve.training[n] - before + curve.scoring[n], curve.at[n]
        trial = replace(trial, reports=dict(known), accuracy=curve.accuracy[n], seconds=seconds)
        verdict = strategy.judge(trial, spec)
        if verdict is not Verdict.GO:
            whole = begin >= curve.at[-1]
            return replace(trial, state=DONE if whole else PAUSED if verdict is Verdict.PAUSE else STOPPED)
    return replace(trial, state=DONE if begin >= curve.at[-1] else PAUSED)


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
        if trial.scored and (rank := (reached, trial.accuracy, -(trial.parameters or 0))) > best:
            best, key = rank, trial.key
        if key is not None:
            found.append(Step(trainings, seconds, key))
    return found
