"""Gradient descent over an arena, beside the reference and a copy of the same bytes."""

import pytest
import torch

from autometa.ops.sgd import sgd_
from benchmarks.arenas import SIZES, make, table
from benchmarks.measure import side_by_side


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("momentum", (0.0, 0.9))
def test_sgd(benchmark, size, momentum):
    arena = make(size)
    velocity = torch.zeros_like(arena.phi) if momentum else None

    def run(backend):
        state = (arena.phi, arena.grad, table(1e-6), table(0.0), *arena.tables)
        sgd_(*state, momentum=momentum, velocity=velocity, backend=backend)

    moved = arena.elements * 4 * (5 if momentum else 3)
    ratios = side_by_side(benchmark, lambda: run("cpp"), {"reference": lambda: run("reference")}, moved)
    assert ratios["reference"] > 1
