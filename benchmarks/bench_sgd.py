"""Gradient descent over an arena, beside the reference and a copy of the same bytes."""

import pytest
import torch

from autometa.ops.sgd import sgd_
from benchmarks.arenas import SIZES, make, table
from benchmarks.device import DEVICES, NATIVE
from benchmarks.measure import side_by_side


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("momentum", (0.0, 0.9))
def test_sgd(benchmark, size, momentum, device):
    arena = make(size, device)
    velocity = torch.zeros_like(arena.phi) if momentum else None
    state = (arena.phi, arena.grad, table(1e-6, device), table(0.0, device), arena.rows)

    def run(backend):
        sgd_(*state, momentum=momentum, velocity=velocity, backend=backend)

    moved = arena.elements * 4 * (5 if momentum else 3)
    rivals = {"reference": lambda: run("reference")}
    ratios = side_by_side(benchmark, lambda: run(NATIVE[device]), rivals, moved, device=device)
    assert ratios["reference"] > 1
