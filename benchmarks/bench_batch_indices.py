"""Which images the steps of a meta-iteration see, beside the reference: 10 tasks, 5 steps of 20 images."""

import pytest
import torch

from autometa.ops.batch_indices import MODES, batch_indices
from benchmarks.device import DEVICES, NATIVE
from benchmarks.measure import side_by_side


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mode", MODES)
def test_batch_indices(benchmark, mode, device):
    ids = torch.arange(10, device=device)

    def run(backend):
        batch_indices(ids, n_items=200, batch=20, steps=5, seed=0, mode=mode, backend=backend)

    ratios = side_by_side(
        benchmark, lambda: run(NATIVE[device]), {"reference": lambda: run("reference")}, device=device
    )
    assert ratios["reference"] > 1
