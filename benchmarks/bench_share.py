"""The gradients of one activation's readers added up, beside autograd's own sums: 28 channels at 28x28, 20 images."""

import pytest
import torch

from autometa.ops._memory import as_activation
from autometa.ops.share import share
from benchmarks.measure import side_by_side


@pytest.mark.parametrize("readers", (2, 4))
def test_share(benchmark, readers):
    made = torch.Generator().manual_seed(0)
    x = as_activation(torch.randn(1, 20, 28, 28, 28, generator=made)).requires_grad_(True)
    grads = [as_activation(torch.randn(x.shape, generator=made)) for _ in range(readers)]

    def step(backend):
        parts = share(x, readers, backend=backend)
        return torch.autograd.grad([part.view_as(part) for part in parts], x, grads)

    moved = 4 * 32 * 20 * 28 * 28 * (readers + 1)  # a pixel is padded to 32 channels
    ratios = side_by_side(benchmark, lambda: step("cpp"), {"reference": lambda: step("reference")}, moved)
    assert ratios["reference"] > 0.8
