"""Changing a batch of images at random, beside the reference."""

import pytest
import torch

from autometa.ops.augment_images import Augment, augment_images
from benchmarks.device import DEVICES, NATIVE
from benchmarks.measure import side_by_side

MOVED = Augment(shift=0.1, scale=0.15, rotation=10.0, shear=0.15)
ALL = Augment(0.1, 0.15, 10.0, 0.15, 0.5, 1.0, 0.4, 0.1, 0.05, 0.5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("channels", "side"), ((1, 28), (3, 84)))
@pytest.mark.parametrize("augment", (MOVED, ALL), ids=("moved", "all"))
def test_augment_images(benchmark, channels, side, augment, device):
    images = torch.rand(5, 20, channels, side, side, generator=torch.Generator().manual_seed(0)).to(device)
    ids, place = torch.arange(5, device=device), torch.arange(100, device=device).view(5, 20)
    out = torch.empty_like(images)

    def run(backend):
        augment_images(images, ids, place, augment, seed=0, out=out, backend=backend)

    moved = 8 * out.numel()
    rivals = {"reference": lambda: run("reference")}
    ratios = side_by_side(benchmark, lambda: run(NATIVE[device]), rivals, moved, device=device)
    assert ratios["reference"] > 1
