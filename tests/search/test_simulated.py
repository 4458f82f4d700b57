"""A simulated search and the driver ask a strategy the same, and come to the same history from the same outcomes."""

from dataclasses import replace

import pytest

from autometa.nas.spaces.space import SPACES
from autometa.nas.strategies.strategy import STRATEGIES, SearchSpec
from autometa.runs.ledger import LEDGER, Ledger
from autometa.search.driver import Driver, trials
from autometa.search.simulated import Curve, simulate
from tests.nas.strategies.landscape import Counting, accuracy

WHOLE = 90
SETTINGS = {
    "evolution": {"population": 8, "sample": 4},
    "surrogate": {"pool": 50},
    "curve-stopping": {"first": 12, "certainty": 0.6},
    "large-scale-evolution": {"inherit": False},
}
"""Weights are handed on by searches that train alone."""


def curve(key: str) -> Curve:
    """What is known of an architecture after every meta-iteration; one in seven diverges."""
    at = tuple(range(1, WHOLE + 1))
    rising = tuple(accuracy(key) * (0.5 + 0.5 * n / WHOLE) for n in at)
    failure = "diverged" if sum(map(ord, key)) % 7 == 0 else None
    return Curve(at, rising, at, (0.0,) * WHOLE, len(key), 10 * len(key), failure)


def outcome(batch, key: str) -> dict:
    """The same as a worker hands it in."""
    known, end = curve(key), batch.until or WHOLE
    sizes = {"key": key, "parameters": known.parameters, "macs": known.macs, "step": end}
    if known.failure is not None:
        return {**sizes, "accuracy": None, "failure": known.failure}
    return {**sizes, "accuracy": known.accuracy[end - 1], **({"checkpoint": b"weights"} if batch.keep else {})}


def driven(strategy, spec, folder):
    """The history of a search whose batches are trained one after another."""
    with Ledger.open(folder / LEDGER) as ledger:
        driver = Driver(strategy, spec, ledger, lambda *_: None)
        while driver.advance():
            batch = ledger.claim("me", 60)
            ledger.finish(batch, [outcome(batch, key) for key in batch.keys])
        return trials(ledger.outcomes(), spec.iterations)


def asking(strategy, monkeypatch):
    """What the strategy is asked from now on: the histories before proposals, in order, and the verdicts wanted."""
    asked, judged, kind = [], set(), type(strategy)
    ask, judge = kind.ask, kind.judge

    def recorded_ask(self, history, spec):
        if not asked or asked[-1] != told(history):
            asked.append(told(history))
        return ask(self, history, spec)

    def recorded_judge(self, trial, history, spec):
        judged.add((trial.id, tuple(trial.reports.items()), trial.measured, len(history)))
        return judge(self, trial, history, spec)

    monkeypatch.setattr(kind, "ask", recorded_ask)
    monkeypatch.setattr(kind, "judge", recorded_judge)
    return asked, judged


def told(history):
    """A history but for its seconds, which a driver measures; a trial that failed has nothing to report."""
    return [replace(trial, seconds=None, reports=dict(sorted(trial.reports.items()))) for trial in history]


@pytest.mark.parametrize("space", SPACES.names())
@pytest.mark.parametrize("name", STRATEGIES.names())
def test_both_ask_the_same_and_end_with_the_same_history(name, space, tmp_path, monkeypatch):
    strategy = STRATEGIES[name](**SETTINGS.get(name, {}))
    spec = SearchSpec(SPACES[space](2), 30, beam=8, batch=5, iterations=WHOLE, predictor=Counting)
    with monkeypatch.context() as patch:
        questions = asking(strategy, patch)
        simulated = simulate(strategy, spec, curve)
    with monkeypatch.context() as patch:
        other = asking(strategy, patch)
        history = driven(strategy, spec, tmp_path)
    assert told(history) == told(simulated)
    assert other == questions
    assert len(history) > 20 and {trial.state for trial in history} > {"failed"}
