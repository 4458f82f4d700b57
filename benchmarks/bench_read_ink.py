"""Reading ink of grey pictures, beside the reference."""

import pytest
import torch

from autometa.ops.read_ink import read_ink
from benchmarks.measure import side_by_side


@pytest.mark.parametrize(("count", "side"), ((1, 28), (1, 105), (64, 105)))
def test_read_ink(benchmark, count, side):
    made = torch.Generator().manual_seed(0)
    images = torch.randint(180, 256, (count, side, side), dtype=torch.uint8, generator=made)
    images[:, side // 3 : side // 2, side // 4 : -side // 4] //= 4

    def run(backend):
        read_ink(images, backend=backend)

    ratios = side_by_side(benchmark, lambda: run("cpp"), {"reference": lambda: run("reference")}, 2 * images.numel())
    assert ratios["reference"] > 1
