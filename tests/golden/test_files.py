"""The stored fixtures, one by one, and proof that every number in them is looked at."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from autometa.ops import backend
from tests.golden.checking import check_file, judge, units_of
from tests.golden.fixture import NO_OPS, Engine
from tests.golden.meta_gradients import SECOND_ORDER

FOLDER = Path(os.environ.get("AUTOMETA_GOLDEN") or Path(__file__).resolve().parents[3] / "shared" / "golden")
FILES = sorted(p for p in FOLDER.glob("*") if p.suffix in (".npz", ".json"))
ABSENT = f"no fixtures in {FOLDER}; AUTOMETA_GOLDEN names their folder"
stored = pytest.mark.skipif(not FILES, reason=ABSENT)
each_file = pytest.mark.parametrize("path", FILES or [FOLDER], ids=lambda path: path.name)


@stored
@each_file
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_agrees(path, dtype):
    results = check_file(path, Engine(dtype))
    assert results
    assert [f"{r.group} {r.text}" for r in results if r.status != "ok"] == []


@stored
@each_file
@pytest.mark.skipif(backend.compiled() is None, reason=str(backend.compiled_error()))
def test_agrees_with_the_compiled_backend(path):
    """All that is computed by an op and once differentiable; the float32 bounds are those of the reference."""
    results = check_file(path, Engine(torch.float32, "cpp"))
    assert [f"{r.group} {r.text}" for r in results if r.status not in ("ok", "not provided")] == []
    without_ops = path.suffix == ".json" or path.stem == "soft_pruning"
    assert any(r.checked for r in results) != without_ops
    reasons = {r.text.removeprefix("not provided by cpp: ") for r in results if not r.checked}
    assert reasons <= {NO_OPS, SECOND_ORDER}


def corrupted(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A copy with one entry changed."""
    wrong = values.copy().astype(object if values.dtype.kind == "U" else values.dtype)
    place = rng.integers(values.size)
    if values.dtype.kind == "U":
        wrong.flat[place] = wrong.flat[place] + "x"
        return wrong.astype(str)
    wrong.flat[place] += 1 if values.dtype.kind in "iu" else 1e-6 * (np.abs(values).max() or 1.0)
    return wrong


@stored
@each_file
def test_one_wrong_number_fails(path):
    """Every stored array, corrupted in one place at a time, is found."""
    engine, rng = Engine(), np.random.default_rng(5)
    units, unknown = units_of(path, engine)
    tried = 0
    assert unknown == []
    for unit in units:
        found = unit.compute()
        for group in unit.groups:
            for key, expected in group.expected.items():
                if np.size(expected):
                    changed = {key: corrupted(np.asarray(expected), rng)}
                    assert judge(unit.name, group, changed, found, engine).status == "FAILED", (group.name, key)
                    tried += 1
    assert tried
