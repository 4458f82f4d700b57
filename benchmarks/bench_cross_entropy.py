"""Cross-entropy per slot, forward and backward, beside the reference: 10 slots, 20 images."""

import pytest
import torch

from autometa.ops.cross_entropy import cross_entropy
from benchmarks.measure import side_by_side


@pytest.mark.parametrize("ways", (5, 20))
def test_cross_entropy(benchmark, ways):
    made = torch.Generator().manual_seed(0)
    logits = torch.randn(10, 20, ways, generator=made).requires_grad_(True)
    labels = torch.randint(ways, (10, 20), generator=made)

    def step(backend):
        return torch.autograd.grad(cross_entropy(logits, labels, backend=backend).sum(), logits)

    ratios = side_by_side(benchmark, lambda: step("cpp"), {"reference": lambda: step("reference")})
    assert ratios["reference"] > 1
