"""compute-sanitizer finds no access out of bounds and no race in a meta-iteration."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOL = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
LIMIT = 100  # seconds; its tools make a program tens of times slower


def within(seconds: float, command: list[str], environment: dict[str, str]) -> tuple[int | None, str]:
    """Exit status, None out of time, and what was printed. The whole group ends: a child of a tool that is killed would
    keep the device."""
    child = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        told, _ = child.communicate(timeout=seconds)
        return child.returncode, told
    except subprocess.TimeoutExpired:
        return None, ""
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()


@pytest.mark.skipif(TOOL is None, reason="compute-sanitizer is not on the path")
@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
def test_clean(tool):
    environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1", "PYTHONUNBUFFERED": "1"}
    command = [TOOL, "--tool", tool, "--error-exitcode", "9", sys.executable, "-m", "tests.gpu.small_step"]
    status, told = within(LIMIT, command, environment)
    if status is None:
        pytest.skip(f"{tool} did not end within {LIMIT} s")
    if "Device not supported" in told:
        pytest.skip("compute-sanitizer does not support this device")
    assert status == 0, told[-3000:]
    assert "done" in told
