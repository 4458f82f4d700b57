"""Every Triton kernel compiles for three generations of GPUs, and spills nothing."""

from __future__ import annotations

import importlib.util
import platform

import pytest

from tests.ops.compiling import CASES, TARGETS, compile_all, jobs, table

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed"),
    pytest.mark.skipif(platform.system() != "Linux", reason="triton compiles on Linux only"),
]


def test_kernels_compile_without_spills():
    rows = compile_all()
    print(table(rows))
    assert {(r["target"], r["mode"], r["case"]) for r in rows} == set(jobs())
    assert {r["target"] for r in rows} == set(TARGETS) and {r["case"] for r in rows} == set(CASES)
    assert all(r["REG"] for r in rows)
    spilling = [r for r in rows if r["STACK"] or r["LOCAL"]]
    assert not spilling, table(spilling)
