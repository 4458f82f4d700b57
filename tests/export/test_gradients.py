"""Backward passes in plain ops against PyTorch's own, in float64."""

import pytest
import torch
import torch.nn.functional as F
from torch.fx.experimental.proxy_tensor import make_fx

from autometa.export.gradients import DECOMPOSITIONS, batch_norm, tidy


def compared(function, *inputs, whole_numbers: bool = False):
    """Gradients of `function` by the decompositions and by autograd; small whole numbers make equal values."""
    random = torch.Generator().manual_seed(0)
    values = [torch.randn(size, generator=random, dtype=torch.float64) for size in inputs]
    values = [v.round() for v in values] if whole_numbers else values
    weight = torch.randn(function(*values).shape, generator=random, dtype=torch.float64)

    def gradients(weight, *given):
        leaves = [value.detach().requires_grad_(True) for value in given]
        return torch.autograd.grad((function(*leaves) * weight).sum(), leaves)

    traced = tidy(make_fx(gradients, DECOMPOSITIONS, tracing_mode="fake")(weight, *values))
    assert not [node for node in traced.graph.nodes if "backward" in str(node.target)]
    return zip(traced(weight, *values), gradients(weight, *values), strict=True)


def check(pairs):
    for found, wanted in pairs:
        assert float(wanted.abs().max()) > 0.1
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [(7, 7), (6, 9), (2, 1)])
@pytest.mark.parametrize(
    "kernel, groups, options",
    [
        ((3, 3), 1, dict(padding=1)),
        ((3, 3), 1, dict(padding=1, stride=2)),
        ((3, 3), 4, dict(padding=2, dilation=2, stride=2)),
        ((3, 3), 2, dict(padding=1)),
        ((1, 5), 1, dict(padding=(0, 2), stride=2)),
        ((1, 1), 1, dict()),
    ],
)
def test_convolution(size, kernel, groups, options):
    out = 6 if groups < 4 else 4
    sizes = ((3, 4, *size), (out, 4 // groups, *kernel), (out,))
    check(compared(lambda x, w, b: F.conv2d(x, w, b, groups=groups, **options), *sizes))


@pytest.mark.parametrize("size", [(7, 7), (6, 9), (5, 2), (2, 1)])
@pytest.mark.parametrize("stride", [1, 2])
def test_pools_of_cells(size, stride):
    check(compared(lambda x: F.max_pool2d(x, 3, stride, 1), (3, 4, *size), whole_numbers=True))
    check(compared(lambda x: F.avg_pool2d(x, 3, stride, 1, count_include_pad=False), (3, 4, *size)))
    check(compared(lambda x: F.avg_pool2d(x, 3, stride, 1), (3, 4, *size)))


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("size", [(7, 6), (9, 3)])
def test_pools_of_four_layer_nets(size, ceil_mode):
    check(compared(lambda x: F.max_pool2d(x, 2, ceil_mode=ceil_mode), (3, 4, *size), whole_numbers=True))


def test_slices_relu_and_padding():
    check(compared(lambda x: x[:, :, 1::2, ::2] * x[:, 1:2, :3, -3:], (2, 4, 6, 5)))
    check(compared(lambda x: F.pad(torch.relu(x), (0, 1, 2, 0)), (2, 3, 4, 4)))


def test_batch_norm():
    random = torch.Generator().manual_seed(0)
    sizes = ((4, 3, 5, 2), (3,), (3,))
    x, gamma, beta = (torch.randn(size, generator=random, dtype=torch.float64).requires_grad_(True) for size in sizes)
    weight = torch.randn(sizes[0], generator=random, dtype=torch.float64)
    ours = batch_norm(x + 3, gamma, beta, 1e-3)
    theirs = F.batch_norm(x + 3, None, None, gamma, beta, True, 0.0, 1e-3)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    pairs = (torch.autograd.grad((y * weight).sum(), (x, gamma, beta)) for y in (ours, theirs))
    check(zip(*pairs, strict=True))
