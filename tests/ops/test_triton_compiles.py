"""Every Triton kernel compiles for three generations of GPUs, and spills nothing."""

from __future__ import annotations

import platform

import pytest

from tests.ops.compiling import CASES, TARGETS, compile_all, jobs, table

triton = pytest.importorskip("triton")
pytestmark = [
    pytest.mark.skipif(platform.system() != "Linux", reason="triton compiles on Linux only"),
    pytest.mark.skipif(
        tuple(int(n) for n in triton.__version__.split(".")[:2]) < (3, 6),
        reason=f"the compiler of triton {triton.__version__} spills more than that of 3.6, for which kernels are cut",
    ),
]


def test_kernels_compile_without_spills():
    rows = compile_all()
    print(table(rows))
    assert {(r["target"], r["mode"], r["case"]) for r in rows} == set(jobs())
    assert {r["target"] for r in rows} == set(TARGETS) and {r["case"] for r in rows} == set(CASES)
    assert all(r["REG"] for r in rows)
    spilling = [r for r in rows if r["STACK"] or r["LOCAL"]]
    assert not spilling, table(spilling)
