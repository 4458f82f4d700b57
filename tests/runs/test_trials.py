"""Trials in parts: fidelities, checkpoints beside the ledger, judgement, and ledgers of version 1."""

import hashlib
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from autometa.errors import InputError
from autometa.runs.ledger import Ledger
from autometa.runs.ledger_rows import Entry

VERSION_1 = Path(__file__).with_name("ledger_v1.sql")


@pytest.fixture
def ledger(tmp_path):
    with Ledger.open(tmp_path / "ledger.sqlite") as opened:
        yield opened


def trained(batch, **more):
    """Outcomes of a batch, each with a checkpoint that says where it comes from."""
    return [
        {
            "key": key,
            "accuracy": 50.0 + n + (batch.until or 90),
            "seconds": 1.0,
            "step": 90,
            "checkpoint": f"{key}@{batch.until}".encode(),
            **more,
        }
        for n, key in enumerate(batch.keys)
    ]


def files(ledger):
    return sorted(path.name for path in ledger.path.parent.glob("ledger.trials/*"))


def rung(ledger, level, entries, batch=2):
    """Propose and train a round; its rows."""
    ledger.propose(level, entries, batch)
    while (claimed := ledger.claim("me", 60)) is not None:
        assert ledger.finish(claimed, trained(claimed))
    for rows in ledger.reported():
        ledger.judge(rows[0].batch, {row.id: "paused" for row in rows}, None)
    return ledger.outcomes(level)


def test_a_paused_trial_goes_on_in_another_batch_and_level(ledger):
    rows = rung(ledger, 1, [Entry(key, fidelity=10, until=10, keep=True) for key in "abc"])
    assert [(row.id, row.state, row.step, row.reports) for row in rows] == [
        (0, "paused", 10, {10: 60.0}),
        (1, "paused", 10, {10: 61.0}),
        (2, "paused", 10, {10: 60.0}),
    ]
    assert files(ledger) == [f"trial-00000{n}-step-10.safetensors" for n in range(3)]
    ledger.propose(2, [Entry("c", fidelity=90, parent=2), Entry("a", fidelity=90, parent=0)], 2)
    ledger.keep({0, 2})
    assert files(ledger) == [f"trial-00000{n}-step-10.safetensors" for n in (0, 2)]
    batch = ledger.claim("other", 60)
    assert (batch.keys, batch.first, batch.until, batch.starts) == (("c", "a"), 10, None, (b"c@10", b"a@10"))
    assert batch.part([1]) == replace(batch, keys=("a",), trials=(4,), starts=(b"a@10",))
    assert ledger.finish(batch, trained(batch))
    assert [(row.state, row.parent, row.step) for row in ledger.outcomes(2)] == [("done", 2, 90), ("done", 0, 90)]
    assert len(files(ledger)) == 2, "an end leaves no checkpoint"
    ledger.keep(())
    assert not (ledger.path.parent / "ledger.trials").exists()


def test_batches_hold_trials_of_one_length(ledger):
    entries = [
        Entry("a"),
        Entry("b", fidelity=10, until=10, keep=True),
        Entry("c", fidelity=10, until=10, keep=True),
        Entry("d", fidelity=10, until=5, keep=True),
    ]
    ledger.propose(1, entries, 20)
    claims = [ledger.claim("me", 60) for _ in range(3)]
    assert [(claim.keys, claim.until) for claim in claims] == [(("a",), None), (("b", "c"), 10), (("d",), 5)]


def test_what_cannot_be_gone_on_from_is_refused(ledger):
    rung(ledger, 1, [Entry("a", fidelity=10, until=10, keep=True), Entry("b")])
    for entry in (
        Entry("c", parent=7),
        Entry("a", parent=7),
        Entry("b", fidelity=90, parent=1),
        Entry("a", fidelity=10, parent=0, until=10, keep=True),
    ):
        with pytest.raises(InputError, match="cannot go on from trial"):
            ledger.propose(2, [entry], 2)
    with pytest.raises(InputError, match="a was proposed at level 1 already, now at 2"):
        ledger.propose(2, [Entry("a", fidelity=10, until=10, keep=True)], 2)
    ledger.propose(2, [Entry("a", fidelity=30, parent=0, until=30, keep=True)], 2)


def test_another_architecture_begins_with_the_weights_of_its_parent(ledger):
    rung(ledger, 1, [Entry("a", keep=True), Entry("b")])
    assert files(ledger) == ["trial-000000-step-90.safetensors"]
    ledger.propose(2, [Entry("c", parent=0, keep=True), Entry("d", parent=1, keep=True), Entry("e", keep=True)], 2)
    first, second = ledger.claim("me", 60), ledger.claim("me", 60)
    assert (first.keys, first.first, first.starts) == (("c", "d"), 0, (b"a@None", None))
    assert (second.keys, second.starts) == (("e",), ())


def test_a_checkpoint_that_is_gone_or_damaged_is_told(ledger):
    rung(ledger, 1, [Entry("a", fidelity=10, until=10, keep=True)])
    ledger.propose(2, [Entry("a", parent=0)], 1)
    (path,) = (ledger.path.parent / "ledger.trials").iterdir()
    path.write_bytes(b"other")
    with pytest.raises(InputError, match=r"trial-000000-step-10.safetensors is damaged; put a copy"):
        ledger.claim("me", 60)
    path.unlink()
    ledger.release("me")
    with pytest.raises(InputError, match="cannot read"):
        ledger.claim("me", 60)


def test_judgement_lets_trials_go_on_pause_or_stop(ledger):
    ledger.propose(1, [Entry(key, until=10, keep=True) for key in "abcd"], 4)
    first = ledger.claim("me", 60)
    outcomes = [*trained(first)[:3], {"key": "d", "failure": "diverged"}]
    assert ledger.finish(first, outcomes) and ledger.claim("me", 60) is None
    assert not ledger.levels()[0].finished and ledger.unfinished() == 0
    ((a, b, c),) = ledger.reported()
    assert (a.key, a.state, a.step, b.reports, c.seconds) == ("a", "reported", 10, {10: 61.0}, 1.0)
    ledger.judge(a.batch, {0: "stopped", 1: "paused"}, 30)
    ledger.judge(a.batch, {2: "stopped"}, 90)  # a second time changes nothing
    second = ledger.claim("you", 60)
    assert (second.keys, second.first, second.until, second.starts) == (("c",), 10, 30, (b"c@10",))
    assert not ledger.finish(first, outcomes), "of a part that is over"
    assert ledger.finish(second, trained(second))
    ledger.judge(a.batch, {}, None)
    third = ledger.claim("me", 60)
    assert (third.first, third.until, third.starts) == (30, None, (b"c@30",))
    assert ledger.finish(third, trained(third)) and ledger.levels()[0].finished
    assert [(row.state, row.step) for row in ledger.outcomes()] == [
        ("stopped", 10),
        ("paused", 10),
        ("done", 90),
        ("failed", 10),
    ]
    assert ledger.outcomes()[2].reports == {10: 62.0, 30: 80.0, 90: 140.0} and ledger.outcomes()[2].seconds == 3.0


def test_outcomes_that_do_not_count_leave_the_checkpoints_alone(ledger):
    ledger.propose(1, [Entry("a", fidelity=10, until=10, keep=True)], 1)
    slow = ledger.claim("slow", -1)
    quick = ledger.claim("quick", 60)
    assert ledger.finish(quick, trained(quick))
    assert not ledger.finish(slow, trained(slow, checkpoint=b"another"))
    (path,) = (ledger.path.parent / "ledger.trials").iterdir()
    assert path.read_bytes() == b"a@10"


@pytest.fixture
def version_1(tmp_path):
    path = tmp_path / "ledger.sqlite"
    db = sqlite3.connect(path)
    db.executescript(VERSION_1.read_text())
    db.execute("PRAGMA application_id = 1634561127")
    db.execute("PRAGMA user_version = 1")
    db.close()
    return path


def test_a_ledger_of_version_1_is_read_and_left_as_it_is(version_1):
    before = hashlib.sha256(version_1.read_bytes()).hexdigest()
    with Ledger.open(version_1, create=False) as ledger:
        rows = ledger.outcomes()
        with pytest.raises(InputError, match="is of an earlier version; go on with its run by --resume"):
            ledger.claim("me", 60)
    assert hashlib.sha256(version_1.read_bytes()).hexdigest() == before
    assert [(row.id, row.key, row.level, row.state, row.accuracy) for row in rows] == [
        (0, "0c0m", 1, "done", 61.5),
        (1, "0c1m", 1, "failed", None),
        (2, "0i0f", 1, "done", 58.0),
        (3, "0c0m|1f2i", 2, "claimed", None),
        (4, "0i0f|1f1i", 2, "claimed", None),
        (5, "0c1c|1f1i|2m3a", 3, "waiting", None),
    ]
    first = rows[0]
    assert (first.scores, first.interval, first.parameters, first.macs, first.seconds) == (
        {3: 61.5},
        2.25,
        820,
        4100,
        1.5,
    )
    assert (rows[1].failure, rows[3].predicted_mean, rows[3].worker) == ("left the finite numbers", 60.25, "node/1")


def test_a_run_of_version_1_goes_on(version_1):
    with Ledger.open(version_1, create=False) as ledger:
        before = ledger.outcomes()
    with Ledger.open(version_1) as ledger:
        assert ledger.outcomes() == before
        ledger.release("node/1")
        while (batch := ledger.claim("me", 60)) is not None:
            assert ledger.finish(batch, trained(batch))
        with pytest.raises(InputError, match="proposed at level 1 already"):
            ledger.propose(4, [("0c0m", None, None)], 1)
        assert [row.state for row in ledger.outcomes()] == ["done", "failed", "done", "done", "done", "done"]
    with Ledger.open(version_1, create=False) as ledger:
        assert ledger.outcomes()[0] == before[0]


def test_a_damaged_ledger_of_version_1_is_told_and_left_alone(version_1):
    for statement in (
        "UPDATE candidates SET accuracy = 'high'",
        "UPDATE candidates SET batch = 77",
        "CREATE TABLE x (y)",
    ):
        with sqlite3.connect(version_1) as db:
            db.execute("PRAGMA foreign_keys = OFF")
            db.execute(statement)
        db.close()
        for create in (False, True):
            with pytest.raises(InputError, match="is damaged"):
                Ledger.open(version_1, create=create)
        with sqlite3.connect(version_1) as db:
            assert db.execute("PRAGMA user_version").fetchone() == (1,)
        db.close()
