"""The Reptile update, beside the reference, plain PyTorch and a copy."""

import pytest
import torch

from autometa.ops.reptile import reptile_
from benchmarks.arenas import SIZES, make, table
from benchmarks.device import DEVICES, NATIVE
from benchmarks.measure import side_by_side


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", SIZES)
def test_reptile(benchmark, size, device):
    arena = make(size, device)
    slots, row = arena.phi.shape
    theta = torch.randn(1, row).to(device)
    finite, step_size = torch.ones(slots, dtype=torch.bool, device=device), table(1e-6, device)

    def run(backend):
        reptile_(theta, arena.phi, step_size, finite, arena.rows, backend=backend)

    def plain():
        theta.add_(arena.phi.mean(dim=0).sub_(theta[0]), alpha=1e-6)

    rivals = {"reference": lambda: run("reference"), "plain torch": plain}
    ratios = side_by_side(benchmark, lambda: run(NATIVE[device]), rivals, 4 * (slots + 2) * row, device=device)
    assert ratios["reference"] > 1
