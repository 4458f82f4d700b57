"""A block of rows cut into columns, forward and backward, beside torch.split: the search network's 36 edges."""

import torch

from autometa.ops.split_columns import split_columns
from benchmarks.measure import side_by_side

SLOTS, WIDTHS = 10, [12800] * 36


def test_split_columns(benchmark):
    made = torch.Generator().manual_seed(0)
    rows = torch.randn(SLOTS, sum(WIDTHS), generator=made).requires_grad_(True)
    grads = [torch.randn(SLOTS, width, generator=made) for width in WIDTHS]

    def step(backend):
        return torch.autograd.grad(split_columns(rows, WIDTHS, backend=backend), rows, grads)

    moved = 2 * 4 * rows.numel()
    ratios = side_by_side(benchmark, lambda: step("cpp"), {"reference": lambda: step("reference")}, moved)
    assert ratios["reference"] > 0.8
