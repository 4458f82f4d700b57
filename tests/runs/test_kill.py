"""kill -9, Ctrl-C and SIGTERM: a resumed run ends with the bytes of an uninterrupted one."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import autometa
from autometa.report.listing import list_runs
from autometa.runs import load_latest

from . import loop

SCRIPT = Path(loop.__file__)


def start(*arguments):
    source = str(Path(autometa.__file__).parents[1])
    paths = [source, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)


def wait_for_growth(child, path, least):
    """Until metrics.jsonl has `least` bytes."""
    deadline = time.monotonic() + 60
    metrics = path / "metrics.jsonl"
    while child.poll() is None and not (metrics.exists() and metrics.stat().st_size >= least):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    assert child.poll() is None, child.communicate()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    path = tmp_path_factory.mktemp("uninterrupted") / "run"
    loop.run(path, 120, 10**9)
    return loop.outcome(path)


def test_killed_at_random_moments(tmp_path, uninterrupted):
    chance = random.Random()
    path = tmp_path / "run"
    steps = []
    for _ in range(2):
        child = start("run", path, 120, 7, 0.005)
        before = (path / "metrics.jsonl").stat().st_size if steps else 0
        beyond_a_checkpoint = 600 if steps else 0  # more than 10 lines
        wait_for_growth(child, path, before + beyond_a_checkpoint + chance.randrange(1, 1000))
        time.sleep(chance.random() * 0.02)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        assert child.returncode == -signal.SIGKILL
        assert [row.status for row in list_runs(tmp_path)] == ["interrupted"]
        steps.append(getattr(load_latest(path / "checkpoints"), "step", 0))
    assert steps == sorted(steps) and steps[-1] > 0
    child = start("run", path, 120, 11, 0)
    out, error = child.communicate(timeout=60)
    assert child.returncode == 0, error
    assert loop.outcome(path) == uninterrupted, f"checkpoints resumed from: {steps}"
    assert error == "", "silent where stderr is no terminal"
    assert list_runs(tmp_path)[0].progress == (120, 120)


def test_killed_before_every_disk_operation(tmp_path):
    child = start("crash", tmp_path)
    out, error = child.communicate(timeout=100)
    assert child.returncode == 0, error
    points = int(out.split()[0])
    assert points > 50, out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_go_on(tmp_path, uninterrupted, number):
    path = tmp_path / "run"
    child = start("run", path, 120, 10**9, 0.005)
    wait_for_growth(child, path, 500)
    child.send_signal(number)
    _, error = child.communicate(timeout=60)
    assert child.returncode == 130, error
    assert f"go on with: loop.py run {path}" in error
    saved = load_latest(path / "checkpoints")
    assert 0 < saved.step < 120
    assert len((path / "metrics.jsonl").read_bytes().splitlines()) == saved.step
    loop.run(path, 120, 7)
    assert loop.outcome(path) == uninterrupted
