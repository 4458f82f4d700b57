"""A meta-iteration by the Triton kernels, interpreted: the right numbers, and nothing that a graph could not hold."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from autometa.ops import backend

WITHOUT = [op for op in ("mixed_op", "conv_block", "linear_head") if "triton" not in backend.registered()[op]]


@pytest.mark.skipif(bool(WITHOUT), reason=f"{', '.join(WITHOUT)}: no Triton kernels")
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
@pytest.mark.skipif(backend.compiled() is None, reason=str(backend.compiled_error()))
def test_a_meta_iteration(tmp_path):
    environment = {**os.environ, "TRITON_INTERPRET": "1", "AUTOMETA_CACHE": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.train.interpreted"],
        cwd=Path(__file__).resolve().parents[2],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for name, found in json.loads(done.stdout.splitlines()[-1]).items():
        assert found["losses"] < 1e-5 and found["gradient"] < 1e-4, (name, found)
        assert found["looks"] == [], name
