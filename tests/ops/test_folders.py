"""One op, one name, everywhere: its folder in autometa/ops and csrc, its kernel, its test, its benchmark."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from autometa.ops.backend import registered

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = sorted(path.parent for path in (ROOT / "autometa" / "ops").glob("*/__init__.py"))
SHARED = {"arena", "conv", "include", "isa", "memory", "threads", "versions"}
"""Folders of csrc that several ops use."""


def test_every_op_has_a_folder():
    for folder in FOLDERS:  # an op is registered when it is imported
        importlib.import_module(f"autometa.ops.{folder.name}")
    assert {folder.name for folder in FOLDERS} == set(registered()) and len(FOLDERS) >= 18
    assert {path.name for path in (ROOT / "csrc").iterdir() if path.is_dir()} - SHARED == set(registered())


@pytest.mark.parametrize("op", [folder.name for folder in FOLDERS])
def test_an_op_has_a_test_and_a_benchmark_of_its_name(op):
    wanted = [f"tests/ops/test_{op}.py", f"benchmarks/bench_{op}.py"]
    folder = ROOT / "autometa" / "ops" / op
    assert {path.stem for path in folder.glob("*.py")} <= {"__init__", "native", "cpp", "triton", "plan"}
    assert any((folder / f"{name}.py").exists() for name in ("native", "cpp"))
    if (folder / "triton.py").exists():
        wanted.append(f"kernels/{op}.py")
    missing = [name for name in wanted if not (ROOT / name).is_file()]
    assert not missing, f"{op} lacks {missing}"
