"""Gathering images into a float batch, beside the reference."""

import pytest
import torch

from autometa.ops.gather_images import gather_images
from benchmarks.device import DEVICES, NATIVE
from benchmarks.measure import side_by_side


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("channels", "side"), ((1, 28), (3, 84)))
@pytest.mark.parametrize("turned", (False, True))
def test_gather_images(benchmark, channels, side, turned, device):
    made = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2000, channels, side, side), dtype=torch.uint8, generator=made)
    index = torch.randint(0, 2000, (10, 20), generator=made)
    turns = torch.randint(0, 4 if turned else 1, (10, 20), generator=made)
    scale, shift = torch.full((channels,), 1 / 255), torch.zeros(channels)
    images, index, turns, scale, shift = (made.to(device) for made in (images, index, turns, scale, shift))
    out = torch.empty(10, 20, channels, side, side, device=device)

    def run(backend):
        gather_images(images, index, turns, scale, shift, out=out, backend=backend)

    moved = 5 * out.numel()
    rivals = {"reference": lambda: run("reference")}
    ratios = side_by_side(benchmark, lambda: run(NATIVE[device]), rivals, moved, device=device)
    assert ratios["reference"] > 1
