"""The ledger: order, leases, what counts once, and what its errors say."""

import math
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from autometa.errors import DiskError, InputError
from autometa.runs import ledger_file
from autometa.runs.ledger import ATTEMPTS, Ledger

from . import ledger_work
from .ledger_work import entries, outcome

ENTRIES = entries(7)


class Clock:
    """Time that stands until it is moved."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def ledger(tmp_path, clock):
    with Ledger.open(tmp_path / "ledger.sqlite", clock=clock) as opened:
        yield opened


def outcomes_of(batch):
    return [outcome(key) for key in batch.keys]


def contents(ledger):
    """All that a ledger knows."""
    with sqlite3.connect(ledger.path) as db:
        tables = ("levels", "batches", "trials", "reports")
        return {table: db.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in tables}


def test_batches_are_cut_once_in_order(ledger):
    ledger.propose(1, ENTRIES, 3)
    before = contents(ledger)
    ledger.propose(1, [(key, math.nan, None) for key, _, _ in ENTRIES], 3)
    assert contents(ledger) == before
    ledger.propose(2, [("deep-1", None, None)], 3)
    claims = [ledger.claim(f"w{n}", 60) for n in range(5)]
    assert [c and c.keys for c in claims] == [
        ("cell-0", "cell-1", "cell-2"),
        ("cell-3", "cell-4", "cell-5"),
        ("cell-6",),
        ("deep-1",),
        None,
    ]
    assert [(c.level, c.place, c.attempt) for c in claims[:4]] == [(1, 0, 1), (1, 1, 1), (1, 2, 1), (2, 0, 1)]


@pytest.mark.parametrize(
    "other",
    [(ENTRIES, 2), (ENTRIES[:-1], 3), (ENTRIES[::-1], 3), ([*ENTRIES, ("cell-9", None, None)], 3)],
    ids=["batch size", "fewer", "order", "more"],
)
def test_another_proposal_of_a_level_is_refused(ledger, other):
    ledger.propose(1, ENTRIES, 3)
    before = contents(ledger)
    with pytest.raises(InputError, match="level 1 stands in .* with 7 candidates, cut otherwise"):
        ledger.propose(1, *other)
    assert contents(ledger) == before


def test_a_key_stands_once_in_a_run(ledger):
    with pytest.raises(InputError, match="level 1 proposes cell-0 twice"):
        ledger.propose(1, [ENTRIES[0], ENTRIES[0]], 3)
    ledger.propose(1, ENTRIES, 3)
    before = contents(ledger)
    with pytest.raises(InputError, match="cell-6 was proposed at level 1 already, now at 2"):
        ledger.propose(2, [("new-1", None, None), ENTRIES[6]], 3)
    assert contents(ledger) == before, "a refused level leaves nothing behind"
    with pytest.raises(InputError, match="needs candidates"):
        ledger.propose(2, [], 3)


def test_outcomes_come_back_as_they_went_in(ledger):
    ledger.propose(1, entries(20), 20)
    batch = ledger.claim("me", 60)
    assert {row.state for row in ledger.outcomes()} == {"claimed"}
    assert ledger.finish(batch, outcomes_of(batch)[::-1])
    rows = ledger.outcomes(1)
    assert [row.key for row in rows] == [key for key, _, _ in entries(20)]
    bad, good = rows[13], rows[14]
    assert (good.state, good.accuracy, good.interval, good.scores) == ("done", 14.25, 0.5, {0: 14.25})
    assert (good.parameters, good.macs, good.seconds, good.worker, good.attempts) == (14, 7, 0.1, "me", 1)
    assert (good.predicted_mean, good.predicted_std) == (14.0, 0.5)
    assert (bad.state, bad.accuracy, bad.failure, bad.parameters, bad.scores) == ("failed", None, "diverged", 13, {})
    assert ledger.outcomes(2) == []
    (level,) = ledger.levels()
    assert level.finished and level.candidates == 20 and level.batches["done"] == 1


def test_scores_of_several_seeds(ledger):
    ledger.propose(1, [("a", None, None), ("b", None, None)], 2)
    batch = ledger.claim("me", 60)
    ledger.finish(
        batch,
        [
            {"key": "a", "seed": 0, "accuracy": 60.0, "interval": 3.0, "seconds": 2.0},
            {"key": "a", "seed": 1, "accuracy": 70.0, "interval": 4.0, "seconds": 3.0},
            {"key": "b", "seed": 0, "accuracy": math.nan},
        ],
    )
    a, b = ledger.outcomes()
    assert (a.accuracy, a.interval, a.seconds, a.scores) == (65.0, 2.5, 5.0, {0: 60.0, 1: 70.0})
    assert b.state == "failed" and b.failure == "its accuracy is no finite number"


def test_outcomes_of_other_candidates_are_refused(ledger):
    ledger.propose(1, ENTRIES, 3)
    batch = ledger.claim("me", 60)
    before = contents(ledger)
    for wrong in (outcomes_of(batch)[:-1], [*outcomes_of(batch), outcome("cell-6")]):
        with pytest.raises(InputError, match="not those of its candidates"):
            ledger.finish(batch, wrong)
    assert contents(ledger) == before


def test_finishing_twice_changes_nothing(ledger, clock):
    ledger.propose(1, ENTRIES, 3)
    batch = ledger.claim("me", 60)
    assert ledger.finish(batch, outcomes_of(batch))
    before = contents(ledger)
    clock.now += 5
    assert ledger.finish(batch, [{**o, "accuracy": 1.0} for o in outcomes_of(batch)])
    assert not ledger.fail(batch, "too late") and contents(ledger) == before


def test_a_lease_that_ran_out_goes_to_the_next(ledger, clock):
    ledger.propose(1, ENTRIES[:2], 2)
    slow = ledger.claim("slow", 60)
    clock.now += 59
    assert ledger.claim("quick", 60) is None
    assert ledger.renew("slow", 60) == (slow.id,)
    clock.now += 59
    assert ledger.claim("quick", 60) is None and ledger.holders() == ("slow",)
    clock.now += 1
    quick = ledger.claim("quick", 60)
    assert quick == replace(slow, worker="quick", attempt=2)
    assert ledger.renew("slow", 60) == ()
    assert ledger.finish(quick, outcomes_of(quick))
    before = contents(ledger)
    assert not ledger.finish(slow, [{**o, "accuracy": 1.0} for o in outcomes_of(slow)])
    assert contents(ledger) == before


def test_the_first_outcomes_count_even_late(ledger, clock):
    ledger.propose(1, ENTRIES[:2], 2)
    slow = ledger.claim("slow", 60)
    clock.now += 61
    quick = ledger.claim("quick", 60)
    assert ledger.finish(slow, outcomes_of(slow))
    assert not ledger.finish(quick, outcomes_of(quick))
    assert {row.worker for row in ledger.outcomes()} == {"slow"} and ledger.unfinished() == 0


def test_a_batch_that_nobody_ends_is_given_up(ledger, clock):
    ledger.propose(1, ENTRIES, 4)
    for _ in range(ATTEMPTS):
        batch = ledger.claim("doomed", 60)
        assert batch.place == 0
        clock.now += 61
    assert ledger.claim("next", 60).place == 1
    rows = ledger.outcomes()
    assert [row.state for row in rows] == ["failed"] * 4 + ["claimed"] * 3
    assert rows[0].failure == f"given up: {ATTEMPTS} workers began it and none ended it"
    assert not ledger.finish(batch, outcomes_of(batch)), "what was passed over stays so"
    assert ledger.outcomes()[0].accuracy is None


def test_failing_and_handing_back(ledger):
    ledger.propose(1, ENTRIES, 7)
    first = ledger.claim("a", 60)
    assert ledger.release("a") == 1 and ledger.claim("a", 60).attempt == 1, "handed back: no attempt"
    assert ledger.lost("a", "killed by signal 9") == 1 and ledger.release("a") == 0
    second = ledger.claim("b", 60)
    assert second.attempt == 2 and not ledger.fail(first, "not mine any more")
    assert ledger.fail(second, "no\nmemory", again=True)
    third = ledger.claim("c", 60)
    assert third.attempt == 3 and ledger.fail(third, "no memory", again=True) and ledger.fail(third, "again")
    assert {(row.state, row.failure) for row in ledger.outcomes()} == {("failed", "no memory")}
    assert ledger.claim("d", 60) is None and ledger.levels()[0].finished


def run(*arguments):
    """What ledger_work.py prints."""
    source = str(Path(ledger_file.__file__).parents[2])
    paths = os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, ledger_work.__file__, *map(str, arguments)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout


def results(path):
    with Ledger.open(path, create=False) as ledger:
        return [replace(row, worker=None, attempts=0) for row in ledger.outcomes()]


def test_workers_killed_at_random_lose_nothing(tmp_path):
    run(tmp_path / "whole.sqlite", 1, 120, 2, 0, 60)
    # five times as many batches as kills: hardly any is hit three times and given up
    assert int(run(tmp_path / "killed.sqlite", 4, 120, 2, 12, 0.4)) == 12
    whole, killed = results(tmp_path / "whole.sqlite"), results(tmp_path / "killed.sqlite")
    assert [row.state for row in whole].count("done") == 118
    assert killed == whole


def test_processes_never_share_a_claim(tmp_path):
    path = tmp_path / "ledger.sqlite"
    run(path, 6, 200, 1, 0, 60)
    with Ledger.open(path, create=False) as ledger:
        rows = ledger.outcomes()
    assert {row.attempts for row in rows} == {1}, "a claim handed out twice"
    assert len({row.worker for row in rows}) > 1 and {row.state for row in rows} == {"done", "failed"}


def test_a_forked_child_has_a_connection_of_its_own(ledger):
    ledger.propose(1, ENTRIES, 1)
    child = os.fork()
    if child == 0:
        os._exit(0 if ledger.claim("child", 60).place == 0 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert ledger.claim("parent", 60).place == 1


def test_what_cannot_be_opened_is_explained(tmp_path):
    with pytest.raises(InputError, match="there is no ledger"):
        Ledger.open(tmp_path / "none.sqlite", create=False)
    with pytest.raises(InputError, match="there is no folder"):
        Ledger.open(tmp_path / "none" / "ledger.sqlite")
    (tmp_path / "text").write_text("no database " * 100)
    with pytest.raises(InputError, match="damaged"):
        Ledger.open(tmp_path / "text")
    with sqlite3.connect(tmp_path / "other") as db:
        db.execute("CREATE TABLE x (y)")
    with pytest.raises(InputError, match="is no ledger of autometa"):
        Ledger.open(tmp_path / "other")
    Ledger.open(tmp_path / "new").close()
    with sqlite3.connect(tmp_path / "new") as db:
        db.execute("PRAGMA user_version = 7")
    with pytest.raises(InputError, match=r"another version of autometa \(schema 7, this one reads 1 and 2\)"):
        Ledger.open(tmp_path / "new")


def test_a_damaged_page_is_explained(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with Ledger.open(path) as ledger:
        ledger.propose(1, entries(400), 3)
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(InputError, match="is damaged"), Ledger.open(path) as ledger:
        ledger.outcomes()


def test_a_lock_that_stays_is_explained(ledger, monkeypatch):
    monkeypatch.setattr(ledger_file, "PATIENCE", 0.05)
    ledger.propose(1, ENTRIES, 3)
    with sqlite3.connect(ledger.path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with Ledger.open(ledger.path) as impatient, pytest.raises(DiskError, match="stayed locked by another process"):
            impatient.claim("me", 60)
        assert len(ledger.outcomes()) == 7, "readers do not wait"
        other.execute("ROLLBACK")
    other.close()
    assert ledger.claim("me", 60) is not None


def test_a_full_disk_is_explained_and_loses_nothing(ledger):
    ledger.propose(1, ENTRIES, 3)
    before = contents(ledger)
    ledger._file.db.execute("PRAGMA max_page_count = 1")
    with pytest.raises(DiskError, match="is full; make room and go on with --resume"):
        ledger.propose(2, [(f"more-{n}" * 20, None, None) for n in range(500)], 3)
    assert contents(ledger) == before
    ledger._file.db.execute("PRAGMA max_page_count = 100000")
    ledger.propose(2, [(f"more-{n}", None, None) for n in range(500)], 3)
    assert len(ledger.outcomes(2)) == 500


def test_disks_of_several_machines_are_recognised(tmp_path, monkeypatch, ledger):
    mounts = tmp_path / "mounts"
    lines = [f"/dev/a / ext4 rw 0 0\nserver:/x {tmp_path}/far nfs4 rw 0 0", f"y {tmp_path}/a\\040b fuse.sshfs rw 0 0\n"]
    mounts.write_text("\n".join(lines))
    assert ledger_file.file_system(tmp_path / "far" / "ledger", mounts) == "nfs4"
    assert ledger_file.file_system(tmp_path / "farther" / "ledger", mounts) == "ext4"
    assert ledger_file.file_system(tmp_path / "a b" / "ledger", mounts) == "fuse.sshfs"
    assert ledger_file.file_system(tmp_path, tmp_path / "none") == ""
    monkeypatch.setattr(ledger_file, "file_system", lambda path: "nfs4")
    assert "it lies on nfs4" in ledger.advice() and "--ray" in ledger.advice()
