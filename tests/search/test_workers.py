"""Workers: same results whoever works, dead ones replaced, Ctrl-C in order, a killed driver no loss."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import autometa
from autometa.errors import InputError
from autometa.runs.ledger import Ledger
from autometa.search import workers
from autometa.search.workers import Alone, Processes, train_all

from . import run_workers
from .units import Toy, value_of

KEYS = [f"cell-{n}" for n in range(10)]


def proposed(folder, keys=KEYS, batch=2):
    path = folder / "ledger.sqlite"
    with Ledger.open(path) as ledger:
        ledger.propose(1, [(key, None, None) for key in keys], batch)
    return path


def results(path):
    with Ledger.open(path, create=False) as ledger:
        return [replace(row, worker=None, attempts=0) for row in ledger.outcomes()]


def trained(folder, keys=KEYS, count=None, **options):
    """The ledger's rows after all work, by this process where `count` is None."""
    folder.mkdir(exist_ok=True)
    path = proposed(folder, keys)
    with Ledger.open(path) as ledger:
        unit = Toy(folder)
        with Alone(ledger, unit) if count is None else Processes(ledger, unit, count, **options) as force:
            train_all(ledger, force)
    return results(path)


def test_results_do_not_depend_on_the_workers(tmp_path):
    keys = [*KEYS, "diverges"]
    alone = trained(tmp_path / "alone", keys)
    assert [row.accuracy for row in alone[:-1]] == [value_of(key) for key in KEYS]
    assert (alone[-1].state, alone[-1].failure) == ("failed", "diverged")
    assert trained(tmp_path / "three", keys, 3, devices=("cpu", "other")) == alone
    opened = {path.read_text() for path in (tmp_path / "three").glob("opened-*")}
    assert opened <= {"cpu", "other"}


def test_a_worker_that_dies_is_replaced(tmp_path):
    told = []
    keys = [*KEYS[:4], "kill-1", *KEYS[4:], "raise-1"]
    rows = trained(tmp_path / "killed", keys, 2, notice=told.append)
    assert [row.accuracy for row in rows] == [value_of(key) for key in keys]
    assert any("killed by signal 9" in line for line in told) and any("raise-1 will not do" in line for line in told)


def test_a_batch_that_kills_every_worker_is_passed_over(tmp_path):
    keys = ["cell-1", "cell-2", "poison", "cell-3", "cell-4", "cell-5"]
    rows = trained(tmp_path / "poisoned", keys, 1)
    assert [row.state for row in rows] == ["done", "done", "failed", "failed", "done", "done"]
    assert rows[2].failure == "given up: 3 workers began it and none ended it; RuntimeError: poison will not do"


def test_workers_that_all_die_stop_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "DEATHS", 2)
    with pytest.raises(RuntimeError, match="2 workers died one after another.*poison"):
        trained(tmp_path / "poisoned", [f"poison-{n}" for n in range(6)], 1)
    rows = results(tmp_path / "poisoned" / "ledger.sqlite")
    assert {row.state for row in rows} == {"waiting"}


@pytest.mark.parametrize("count", [None, 1])
def test_a_users_mistake_ends_the_run_and_marks_nothing(tmp_path, count):
    with pytest.raises(InputError, match="input-1 is a mistake"):
        trained(tmp_path / "wrong", ["input-1"], count)
    (row,) = results(tmp_path / "wrong" / "ledger.sqlite")
    assert row.state == "waiting" and row.failure is None


def start(path, count, delay):
    root = Path(run_workers.__file__).parents[2]
    paths = [str(Path(autometa.__file__).parents[1]), str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, run_workers.__file__, str(path), str(count), str(delay)]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command,
        env=environment,
        stdout=pipe,
        stderr=pipe,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job's children ignore it
    )


def wait_for(child, path, batches):
    """Until so many batches are done."""
    deadline = time.monotonic() + 60
    with Ledger.open(path, create=False) as ledger:
        while ledger.levels()[0].batches["done"] < batches:
            assert time.monotonic() < deadline and child.poll() is None, child.communicate()
            time.sleep(0.02)


def test_interrupted_and_killed_runs_go_on(tmp_path):
    path = proposed(tmp_path, KEYS, 1)
    child = start(path, 2, 0.3)
    wait_for(child, path, 1)
    os.killpg(child.pid, signal.SIGINT)  # as a terminal does: to the workers too
    _, error = child.communicate(timeout=60)
    assert child.returncode == 130, error
    with Ledger.open(path) as ledger:
        counts = ledger.levels()[0].batches
        assert counts["claimed"] == 0 and counts["failed"] == 0 and 0 < counts["done"] < len(KEYS)
        assert {row.attempts for row in ledger.outcomes() if row.state == "waiting"} == {0}, "batches were ended"
    child = start(path, 2, 0.3)
    wait_for(child, path, counts["done"] + 1)
    child.kill()
    child.communicate()
    with Ledger.open(path) as ledger:
        deadline = time.monotonic() + 30
        while any(_alive(worker) for worker in ledger.holders()):
            assert time.monotonic() < deadline, "workers outlive their run"
            time.sleep(0.05)
        with Alone(ledger, Toy(tmp_path)) as force:
            train_all(ledger, force)
    rows = results(path)
    assert [row.accuracy for row in rows] == [value_of(key) for key in KEYS]


def _alive(worker):
    return workers._lives(int(worker.partition("/")[2]))


def test_the_heartbeat_keeps_a_long_batch(tmp_path):
    path = proposed(tmp_path, ["slow-1"], 1)
    with Ledger.open(path) as ledger, Ledger.open(path) as thief:
        stolen = []

        class Slow(Toy):
            def work(self, batch):
                time.sleep(1.2)
                stolen.append(thief.claim("thief", 60.0))
                return super().work(batch)

        with Alone(ledger, Slow(tmp_path), lease_seconds=0.6) as force:
            train_all(ledger, force)
    assert stolen == [None]
    assert results(path)[0].accuracy == value_of("slow-1")
