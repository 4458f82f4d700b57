"""Adam over an arena, beside the reference, torch's fused Adam and a copy of the same bytes."""

import pytest
import torch

from autometa.ops.adam import adam_
from benchmarks.arenas import SIZES, make, table
from benchmarks.device import DEVICES, NATIVE
from benchmarks.measure import side_by_side


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("with_first", (False, True))
def test_adam(benchmark, size, with_first, device):
    arena = make(size, device)
    steps = torch.zeros(arena.phi.shape[0], 2, dtype=torch.int64, device=device)
    first = torch.zeros_like(arena.phi) if with_first else None
    beta1 = 0.9 if with_first else 0.0
    state = (arena.phi, arena.grad, arena.second, steps, table(1e-6, device), table(0.0, device), arena.rows)

    def run(backend):
        adam_(*state, first=first, beta1=beta1, backend=backend)

    parameter = arena.phi.clone().requires_grad_()
    parameter.grad = arena.grad
    fused = torch.optim.Adam([parameter], 1e-6, betas=(beta1, 0.999), fused=True)
    rivals = {"reference": lambda: run("reference"), "torch fused": fused.step}
    moved = arena.elements * 4 * (7 if with_first else 5)
    ratios = side_by_side(benchmark, lambda: run(NATIVE[device]), rivals, moved, device=device)
    assert ratios["reference"] > 1
