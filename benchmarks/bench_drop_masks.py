"""Drop path's masks of an inner step, beside the reference: 10 slots, 20 images, the 63 instances of a cell."""

import pytest
import torch

from autometa.ops.drop_masks import drop_masks
from benchmarks.device import DEVICES, NATIVE
from benchmarks.measure import side_by_side


@pytest.mark.parametrize("device", DEVICES)
def test_drop_masks(benchmark, device):
    ids, exempt = torch.arange(10, device=device), torch.arange(63, device=device) % 7 == 1

    def run(backend):
        drop_masks(ids, exempt, keep=0.8, seed=0, step=3, batch=20, backend=backend)

    ratios = side_by_side(
        benchmark, lambda: run(NATIVE[device]), {"reference": lambda: run("reference")}, device=device
    )
    assert ratios["reference"] > 1
