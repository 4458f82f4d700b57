"""Clipping by norm over an arena, beside the reference and a copy of the same bytes."""

import pytest

from autometa.ops.clip_grad import clip_grad_
from benchmarks.arenas import SIZES, make, table
from benchmarks.device import DEVICES, NATIVE
from benchmarks.measure import side_by_side


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("binds", (False, True))
def test_clip_grad(benchmark, size, binds, device):
    arena = make(size, device)
    limit = table(1.0 if binds else float("inf"), device)

    def run(backend):
        if binds:
            limit.mul_(0.999)  # binds anew in every call
        clip_grad_(arena.grad, limit, arena.rows, backend=backend)

    moved = arena.elements * 4 * (3 if binds else 1)
    rivals = {"reference": lambda: run("reference")}
    ratios = side_by_side(benchmark, lambda: run(NATIVE[device]), rivals, moved, device=device)
    assert ratios["reference"] > 1
