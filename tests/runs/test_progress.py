"""Progress off a terminal: a line after some seconds, then one a minute, with what is left."""

import time

import pytest

from autometa.runs import RunFolder, Session
from autometa.runs.progress import EVERY, FIRST, Lines, progress


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_long_loop_is_told_by_time_with_what_is_left_and_how_well_it_does(tmp_path, clock, capsys):
    with RunFolder.create(tmp_path / "run", "test", {}, []) as folder:
        with Session(folder, lambda: ({}, {}), lambda *_: None, every_seconds=None, phase="search") as session:
            for step in session.steps(200):
                session.log(step, loss=0.5, accuracy=0.71)
                clock[0] += 2.0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "search: 5 of 200, 6m30s left, loss 0.5, accuracy 0.71"
    assert lines[1].startswith("search: 35 of 200, 5m30s left") and len(lines) == 1 + (400 - FIRST) // EVERY


def test_short_and_quiet_loops_say_nothing(tmp_path, clock, capsys):
    for quiet, seconds in ((False, 0.1), (True, 30.0)):
        with RunFolder.create(tmp_path / str(quiet), "test", {}, []) as folder:
            with Session(folder, lambda: ({}, {}), lambda *_: None, every_seconds=None, quiet=quiet) as session:
                for _ in session.steps(20):
                    clock[0] += seconds
    assert capsys.readouterr().err == ""


def test_a_plan_that_changes_and_a_total_that_is_not_known(clock):
    told = []
    bar = Lines(10, 0, "", told.append, "step")
    clock[0] += 20
    bar.total = 40
    bar.update(10)
    assert told == ["10 of 40, 1m left"]
    with progress(None, 0, "", told.append, unit="B", unit_scale=True) as bar:
        bar.set_description("omniglot.zip", refresh=False)
        clock[0] += 20
        bar.total, bar.n = None, 12_000_000
        bar.refresh()
    assert told[1:] == ["omniglot.zip: 12 MB"]
