"""The driver: whatever the strategy, a search that is cut off anywhere and goes on ends as one that is not."""

from dataclasses import dataclass, replace
from itertools import count

import pytest

from autometa.nas.spaces.block_space import BlockSpace
from autometa.nas.strategies.random import RandomSearch
from autometa.nas.strategies.strategy import STRATEGIES, Proposal, SearchSpec, Strategy, Verdict, drawn
from autometa.nas.strategies.surrogate import SurrogateSearch
from autometa.runs.ledger import LEDGER, Ledger
from autometa.search.driver import Driver
from tests.nas.strategies.landscape import Counting, accuracy

WHOLE = 90


@dataclass
class Learning(Counting):
    """Counts how often it learns."""

    fits = 0

    def fit(self, cells, accuracies, seed):
        Learning.fits += 1
        super().fit(cells, accuracies, seed)


SPEC = SearchSpec(BlockSpace(3), 24, beam=6, batch=4, iterations=WHOLE, predictor=Learning)


@dataclass(frozen=True)
class Looking(RandomSearch):
    """Random search that stops whoever is behind after 10 meta-iterations, and pauses some after 30."""

    def reports(self, spec):
        return (30, 10)

    def judge(self, trial, history, spec):
        if max(trial.reports) == 10:
            return Verdict.STOP if trial.reports[10] < 34 else Verdict.GO
        return Verdict.PAUSE if trial.id % 3 == 0 else Verdict.GO


@dataclass(frozen=True)
class Returning(Strategy):
    """Short trainings of a few, then of others, then on from the first ones' checkpoints."""

    def round(self, history, spec):
        number, known = history[-1].round if history else 0, {trial.key for trial in history}
        if number < 2:
            return [Proposal(made.key, fidelity=10 + 20 * number) for made in drawn(spec, 5, known, 50 * number)]
        own = [trial for trial in history if trial.round == 1] if number == 2 else []
        return [Proposal(trial.key, parent=trial.id) for trial in own]


OTHERS = {"looking": Looking(), "returning": Returning()}
EVERY = {name: STRATEGIES[name]() for name in STRATEGIES.names()} | {"surrogate": SurrogateSearch(pool=50)} | OTHERS


def trained(batch):
    """Outcomes decided by key and length alone; a checkpoint says what it is of, and training goes on from its own."""
    if batch.first:
        assert batch.starts == tuple(f"{key}@{batch.first}".encode() for key in batch.keys)
    elif batch.starts:  # with another one's weights
        assert all(start.endswith(f"@{WHOLE}".encode()) for start in batch.starts)
    end = batch.until or WHOLE
    return [
        {
            "key": key,
            "accuracy": accuracy(key) + end / 30,
            "step": end,
            **({"checkpoint": f"{key}@{end}".encode()} if batch.keep else {}),
        }
        for key in batch.keys
    ]


def played(folder, strategy, cut=None):
    """(rows, reports) of a search; its process ends after `cut` of its steps, and another one goes on."""
    folder.mkdir(exist_ok=True)
    reports = {}
    with Ledger.open(folder / LEDGER) as ledger:
        ledger.release("me")
        driver = Driver(strategy, replace(SPEC), ledger, reports.__setitem__)
        steps = count()

        def over():
            return cut is not None and next(steps) == cut

        while not over() and driver.advance():
            batch = None if over() else ledger.claim("me", 60)
            if batch is None or over():
                break
            ledger.finish(batch, trained(batch))
        if cut is not None:
            return played(folder, strategy)
        assert not driver.advance()
        driver.report_rest(set(reports))
        assert not list(folder.glob("ledger.trials/*")), "a search that is over leaves no checkpoints"
        return [replace(row, worker=None, attempts=0) for row in ledger.outcomes()], reports


@pytest.mark.parametrize("name", EVERY)
def test_cut_off_anywhere_and_resumed_ends_the_same(tmp_path, name):
    rows, reports = played(tmp_path / "whole", EVERY[name])
    assert len(rows) > 8 and all(row.ended for row in rows) and len(reports) == rows[-1].level
    for cut in (2, 7, 12):
        again, told = played(tmp_path / f"cut-{cut}", EVERY[name], cut)
        assert again == rows and told == {level: reports[level] for level in told}


def test_trials_on_their_way_are_judged(tmp_path):
    rows, _ = played(tmp_path / "run", Looking())
    ends = {row.id: (row.state, row.step) for row in rows}
    assert set(ends.values()) == {("stopped", 10), ("paused", 30), ("done", WHOLE)}
    for row in rows:
        assert (row.state == "stopped") == (row.reports[10] < 34)
        assert tuple(row.reports) == {"stopped": (10,), "paused": (10, 30), "done": (10, 30, WHOLE)}[row.state]


def test_halving_goes_on_from_checkpoints_and_full_trainings_alone_win(tmp_path):
    rows, reports = played(tmp_path / "run", EVERY["halving"])
    assert [row.step for row in rows if row.level == 1] == [10] * sum(row.level == 1 for row in rows)
    for row in rows:
        assert row.parent is None or (rows[row.parent].key, rows[row.parent].level) == (row.key, row.level - 1)
    assert [reports[level].get("iterations") for level in (1, 2, 3)] == [10, 30, None]


def test_a_predictor_learns_once_a_level(tmp_path):
    Learning.fits = 0
    played(tmp_path / "run", EVERY["progressive"])
    assert Learning.fits == 3
