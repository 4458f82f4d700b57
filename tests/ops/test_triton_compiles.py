"""Every Triton kernel compiles for three generations of GPUs, and spills nothing.

For the first in every precision mode; for the others each case in one, or in all where AUTOMETA_TESTS=all.
"""

from __future__ import annotations

import platform

import pytest

from tests import EVERYTHING
from tests.ops.compiling import CASES, MODES, SHARED, TARGETS, WITHOUT_MODES, compile_all, jobs, table

triton = pytest.importorskip("triton")
pytestmark = [
    pytest.mark.skipif(platform.system() != "Linux", reason="triton compiles on Linux only"),
    pytest.mark.skipif(
        tuple(int(n) for n in triton.__version__.split(".")[:2]) < (3, 6),
        reason=f"the compiler of triton {triton.__version__} spills more than that of 3.6, for which kernels are cut",
    ),
]


def test_every_target_has_every_case_and_every_mode():
    some, every = set(jobs()), set(jobs(every=True))
    for target in TARGETS:
        own = {job for job in every if job[0] == target}
        assert {(mode, case) for _, mode, case in own} == {
            (mode, case) for mode in MODES for case in CASES if mode == "fp32" or case not in WITHOUT_MODES
        }
        chosen = some & own
        assert {mode for _, mode, _ in chosen} == set(MODES) and {case for *_, case in chosen} == set(CASES)
        assert target != TARGETS[0] or chosen == own


def test_kernels_compile_without_spills():
    rows = compile_all()
    print(table(rows))
    assert {(r["target"], r["mode"], r["case"]) for r in rows} == set(jobs(EVERYTHING))
    assert {r["target"] for r in rows} == set(TARGETS) and {r["case"] for r in rows} == set(CASES)
    assert all(r["REG"] for r in rows)
    large = [r for r in rows if r["SHARED"] > SHARED]
    assert not large, table(large)
    spilling = [r for r in rows if r["STACK"] or r["LOCAL"]]
    assert not spilling, table(spilling)
