"""Cell preprocessing, forward and backward, beside the reference: three states of 28 channels to 28."""

import pytest
import torch

from autometa.ops._memory import as_activation
from autometa.ops.preprocess import preprocess, preprocess_parameters
from autometa.ops.primitives import aligned
from benchmarks.measure import side_by_side

CHANNELS, BATCH, STATES = 28, 20, 3
CASES = {"28x28": (28, False), "28x28, reduced": (28, True), "14x14": (14, False), "84x84": (84, False)}


@pytest.mark.parametrize("name", CASES)
def test_preprocess(benchmark, name):
    size, reduce = CASES[name]
    generator = torch.Generator().manual_seed(0)
    width = sum(aligned(p.size) for p in preprocess_parameters(STATES * CHANNELS, CHANNELS, reduce, False))
    images = [torch.randn(1, BATCH, CHANNELS, size, size, generator=generator) for _ in range(STATES)]
    params = torch.randn(1, width, generator=generator).requires_grad_(True)
    out = -(-size // 2) if reduce else size
    gy = torch.randn(1, BATCH, CHANNELS, out, out, generator=generator)
    states = {
        "reference": [x.clone().requires_grad_(True) for x in images],
        "cpp": [as_activation(x).requires_grad_(True) for x in images],
    }
    grads = {"reference": gy, "cpp": as_activation(gy)}

    def call(backend: str):
        y, _ = preprocess(states[backend], params, CHANNELS, reduce=reduce, backend=backend)
        return torch.autograd.grad(y, [*states[backend], params], grads[backend])

    ratios = side_by_side(benchmark, lambda: call("cpp"), {"reference": lambda: call("reference")}, rounds=8)
    assert ratios["reference"] > 1
