"""The classifier, forward and backward, beside the reference: mean over 7x7 pixels of 112 channels, or all features."""

import pytest
import torch

from autometa.ops._memory import as_activation
from autometa.ops.linear_head import head_parameters, linear_head
from autometa.ops.primitives import aligned
from benchmarks.measure import side_by_side

SHAPES = {"mean of 112 x 7 x 7": ((112, 7, 7), False), "all of 64 x 2 x 2": ((64, 2, 2), True)}


@pytest.mark.parametrize("name", SHAPES)
def test_linear_head(benchmark, name):
    shape, flatten = SHAPES[name]
    made = torch.Generator().manual_seed(0)
    features = shape[0] * (shape[1] * shape[2] if flatten else 1)
    width = sum(aligned(p.size) for p in head_parameters(features, 20))
    x = torch.randn(10, 20, *shape, generator=made)
    states = {"reference": x.clone().requires_grad_(True), "cpp": as_activation(x).requires_grad_(True)}
    params = torch.randn(10, width, generator=made).requires_grad_(True)

    def step(backend):
        logits = linear_head([states[backend]], params, 20, flatten=flatten, backend=backend)
        return torch.autograd.grad(logits, [states[backend], params], torch.ones_like(logits))

    ratios = side_by_side(benchmark, lambda: step("cpp"), {"reference": lambda: step("reference")})
    assert ratios["reference"] > 0.5
