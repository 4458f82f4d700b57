"""`.ci/gpu` on a pretended GPU: what is out of time is interrupted and reports, a failed build hides nothing, a second
run goes on; and what pytest does where the device breaks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(not (ROOT / ".ci" / "gpu").exists(), reason="not in a checkout")

# Answers as Python on a machine with a GPU would; what is asked of it is written down.
PRETENDED = """#!/usr/bin/env bash
echo "$PYTHONPATH|$*" | tr '\\n' ' ' >>"$CALLS"; echo >>"$CALLS"
case "$*" in
    *is_available*) echo "90 a pretended GPU" ;;
    *torch.__version__*) echo 2.9 ;;
    *find_spec*) ;;
    *xdist*) exit 1 ;;
    *build_ext*) exit 1 ;;
    *tests/gpu/test_ops.py*) exec "$REAL" -c "$SLOW" "$@" ;;
    *ceilings*) exit 1 ;;
esac
"""
SLOW = """
import sys, time
try:
    time.sleep(60)
except KeyboardInterrupt:
    open(sys.argv[sys.argv.index("--junitxml") + 1], "w").write("report")
    print("FAILED the one that ran")
    sys.exit(2)
"""


@pytest.fixture
def run(tmp_path):
    tree = tmp_path / "tree"
    for name in ("autometa", "kernels", ".ci"):
        (tree / name).mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "gpu", tree / ".ci")
    python = tmp_path / "python"
    python.write_text(PRETENDED)
    python.chmod(0o755)

    def started(seconds: int) -> tuple[subprocess.CompletedProcess, list[str]]:
        calls = tmp_path / "calls"
        calls.write_text("")
        environment = {
            **os.environ, "PYTHON": str(python), "REAL": sys.executable, "SLOW": SLOW, "CALLS": str(calls),
            "PYTHONPATH": "/carried", "AUTOMETA_GPU_SECONDS": str(seconds), "TMPDIR": str(tmp_path),
        }  # fmt: skip
        command = ["bash", tree / ".ci" / "gpu", tmp_path / "out"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
        return done, calls.read_text().splitlines()

    return started


def test_a_first_run_and_one_that_goes_on(run, tmp_path):
    done, calls = run(3)
    assert done.returncode == 1 and "a pretended GPU, compute capability 90" in done.stdout, done
    assert "compile: done" in done.stdout
    assert "tests-kernels: out of time" in done.stdout and "FAILED the one that ran" in done.stdout
    assert (tmp_path / "out" / "tests-kernels.xml").read_text() == "report", "pytest writes it when it is interrupted"
    assert "sanitizer: no time was left" in done.stdout
    assert all(call.partition("|")[0].endswith("/site:/carried") for call in calls if "pytest" in call)

    shutil.rmtree(tmp_path / "out" / "done" / "tests-kernels", ignore_errors=True)
    (tmp_path / "out" / "done" / "tests-kernels").touch()  # as if it had had time enough
    done, calls = run(60)
    assert "compile: done by an earlier run" in done.stdout
    assert "iteration: FAILED" in done.stdout and "build: FAILED" in done.stdout
    parts = [line.partition(":")[0] for line in done.stdout.splitlines() if ": done in" in line]
    assert parts == ["tests-loop", "tests-ops", "kernels", "tests-runs", "training", "large", "rival", "sanitizer"]
    (last,) = (call for call in calls if "test_sanitizer" in call)
    assert [call for call in calls if "-m pytest" in call][-1] == last, "the sanitizer comes last, alone"
    assert not [call for call in calls if "doctor --compile" in call]


TORCH = """
class cuda:
    broken = False
    is_available = staticmethod(lambda: True)
    def synchronize():
        if cuda.broken:
            raise RuntimeError("an illegal memory access was encountered")
"""
TESTS = """
import torch
def test_first(): assert not torch.cuda.broken
def test_breaks():
    torch.cuda.broken = True
    assert False
def test_later(): assert not torch.cuda.broken
def test_fails_on_its_own(): assert False
def test_last(): assert not torch.cuda.broken
"""


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_device_fails_one_test_alone(workers, tmp_path):
    """Without workers the process is left, with them another takes over."""
    (tmp_path / "torch.py").write_text(TORCH)
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu: x\n")
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    side = ["-n", "1"] if workers else []
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml", "junit.xml", *side]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environment["PYTHONPATH"] = str(tmp_path)
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100)
    assert (tmp_path / "junit.xml").exists(), done
    if workers:
        assert "3 passed" in done.stdout and "test_it.py::test_later" not in done.stdout, done.stdout
    else:
        assert done.returncode == 3 and "no longer works in this process: an illegal" in done.stdout
        assert "1 failed, 1 passed" in done.stdout
