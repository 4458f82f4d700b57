"""The Reptile update and the finite check, beside the reference, plain PyTorch and a copy."""

import pytest
import torch

from autometa.ops.finite_slots import finite_slots
from autometa.ops.reptile import reptile_
from benchmarks.arenas import SIZES, make, table
from benchmarks.measure import side_by_side


@pytest.mark.parametrize("size", SIZES)
def test_reptile(benchmark, size):
    arena = make(size)
    slots, row = arena.phi.shape
    theta = torch.randn(1, row)
    finite = torch.ones(slots, dtype=torch.bool)

    def run(backend):
        reptile_(theta, arena.phi, table(1e-6), finite, *arena.tables, backend=backend)

    def plain():
        theta.add_(arena.phi.mean(dim=0).sub_(theta[0]), alpha=1e-6)

    rivals = {"reference": lambda: run("reference"), "plain torch": plain}
    ratios = side_by_side(benchmark, lambda: run("cpp"), rivals, 4 * (slots + 2) * row)
    assert ratios["reference"] > 1


@pytest.mark.parametrize("size", SIZES)
def test_finite_slots(benchmark, size):
    arena = make(size)
    rivals = {"reference": lambda: finite_slots(arena.phi, backend="reference")}
    ratios = side_by_side(benchmark, lambda: finite_slots(arena.phi, backend="cpp"), rivals, 4 * arena.elements)
    assert ratios["reference"] > 1
