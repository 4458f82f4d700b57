"""The same bits as at f72af26: weights, accuracies, cells and rankings of whole runs, every option written out.

What a machine may choose is fixed: the instruction set of the package and of torch. The longer runs are compared where
AUTOMETA_TESTS=all; a change that alters them on purpose renews the files and says why.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import autometa
from autometa.ops import backend
from autometa.runs.migrate import migrated
from tests import EVERYTHING
from tests.reference.bits import HERE, of_run

FIXED = {"AUTOMETA_ISA": "avx2", "ATEN_CPU_CAPABILITY": "avx2"}
SHORT = ("metanas-quick",)


@pytest.mark.parametrize("name", sorted(path.stem for path in HERE.glob("*.json")))
def test_a_run_has_the_same_bits_as_before(name, tmp_path):
    if name not in SHORT and not EVERYTHING:
        pytest.skip("a minute or more: AUTOMETA_TESTS=all compares it")
    if backend.compiled() is None or "avx2" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("the reference was made by the compiled core with AVX2")
    wanted = json.loads((HERE / f"{name}.json").read_text())
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(migrated(wanted["config"])))
    roots = os.pathsep.join([str(Path(autometa.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    word = "auto-meta" if name.startswith("auto-meta") else "metanas"
    words = ["search", word, "--config", "config.yaml", "--out", "run", "-q"]
    done = subprocess.run(
        [sys.executable, "-m", "autometa", *words],
        cwd=tmp_path,
        env={**os.environ, **FIXED, "PYTHONPATH": roots},
        capture_output=True,
        text=True,
        timeout=3600,
    )
    assert done.returncode == 0, done.stderr
    found = of_run(tmp_path / "run")
    assert {key: found.get(key) for key in wanted["bits"]} == wanted["bits"]
