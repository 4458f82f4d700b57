"""Stopped by kill -9 or Ctrl-C, a search goes on to the same result as if nothing had happened."""

import random
import shlex
import signal
import time

import pytest

from tests.cli.driving import SEARCH, call, changed, same_outcome, start, wait_for_checkpoint

LONG = changed(SEARCH, **{"meta.iterations": 60, "test.tasks": 40})
LONG += ["--checkpoint-every", "0.01", "--test.max_slots", "1"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    run = tmp_path_factory.mktemp("uninterrupted") / "run"
    assert call("search", *LONG, "--out", run, "-q").code == 0
    return run


def test_killed_at_a_random_moment(tmp_path, uninterrupted):
    run, chance = tmp_path / "run", random.Random()
    for phase in ("search", "test"):
        child = start("search", *(LONG if phase == "search" else ()), "--out", run, "--resume")
        wait_for_checkpoint(child, run, phase)
        time.sleep(0.1 * chance.random())
        child.send_signal(signal.SIGKILL)
        child.communicate()
        assert child.returncode == -signal.SIGKILL
        assert "interrupted" in call("runs", "list", tmp_path).out
    answer = call("search", "--resume", run)
    assert answer.code == 0, answer.err
    assert same_outcome(run, uninterrupted)


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path, uninterrupted):
    run = tmp_path / "run"
    child = start("search", *LONG, "--out", run, "--json")
    wait_for_checkpoint(child, run, "search")
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130 and out == "" and "Traceback" not in err, err
    command = shlex.split(err.strip().splitlines()[-1].partition("go on with: ")[2])
    assert command == ["autometa", "search", "--resume", "run"] or command[-1] == str(run)
    answer = call(*command[1:-1], run)
    assert answer.code == 0, answer.err
    assert same_outcome(run, uninterrupted)


def test_a_finished_run_says_so(uninterrupted):
    before = {path: path.stat().st_mtime_ns for path in uninterrupted.rglob("*")}
    answer = call("search", "--resume", uninterrupted)
    assert answer.code == 0 and "finished already" in answer.err and "Accuracy" in answer.out
    assert before == {path: path.stat().st_mtime_ns for path in uninterrupted.rglob("*")}


def test_resume_with_the_settings_of_the_run_is_no_contradiction(uninterrupted):
    assert call("search", "--resume", uninterrupted, "--preset", "quick", *LONG).code == 0


def test_a_time_budget_ends_training_and_is_told(tmp_path):
    answer = call("search", *LONG, "--out", "short", "--time-budget", "0.05s", "--json", "-q")
    assert answer.code == 0, answer.err
    done = answer.json["iterations"]["done"]
    assert 0 < done < 60
    assert f"after {done} of 60 meta-iterations" in call("search", "--resume", "short").out
