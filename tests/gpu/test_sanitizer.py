"""compute-sanitizer finds no access out of bounds and no race in a meta-iteration."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOL = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
LIMIT = 100  # seconds; its tools make a program tens of times slower


@pytest.mark.skipif(TOOL is None, reason="compute-sanitizer is not on the path")
@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
def test_clean(tool):
    environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1", "PYTHONUNBUFFERED": "1"}
    command = [TOOL, "--tool", tool, "--error-exitcode", "9", sys.executable, "-m", "tests.gpu.small_step"]
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        pytest.skip(f"{tool} did not end within {LIMIT} s")
    if "Device not supported" in done.stdout:
        pytest.skip("compute-sanitizer does not support this device")
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert "done" in done.stdout
