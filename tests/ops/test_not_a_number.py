"""NaN in, NaN out: where the reference says so and nowhere else, forward and backward, on every backend."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from autometa.ops import ConvBlock, backend, conv_block, preprocess
from autometa.ops.mixed_op import OFFSET
from autometa.ops.preprocess import preprocess_parameters
from autometa.ops.primitives import PRIMITIVES, aligned
from tests.ops.arenas import instruction_set, native
from tests.ops.node_case import ALL, on_triton_device, random_node

STRIDES = pytest.mark.parametrize("stride", [1, 2])
GIVEN = pytest.mark.parametrize("given", [False, True], ids=["of the batch", "given"])
BLOCKS = {
    "pool": ConvBlock(2, 9, pool=True, norm=False, bias=True),
    "pool, ReLU": ConvBlock(2, 9, pool=True, relu=True),
    "pool to the edge": ConvBlock(2, 9, pool=True, pool_ceil=True, relu=True),
    "ReLU": ConvBlock(2, 9, relu=True, norm=False),
    "normalised": ConvBlock(2, 9),
}


def spoilt(x: Tensor) -> Tensor:
    """Slot 0 with single ones, two side by side and two below one another that are not numbers."""
    x = x.clone()
    for image, channel, row, column in ((0, 0, 0, 0), (1, 1, 2, 2), (1, 1, 2, 1), (1, 0, 3, 3), (1, 0, 2, 3)):
        x[0, image, channel, min(row, x.shape[3] - 1), min(column, x.shape[4] - 1)] = math.nan
    return x


def assert_same_numbers(found, expected) -> None:
    """Equal up to rounding where numbers are, and no numbers in the same places."""
    for number, (own, due) in enumerate(zip(found, expected, strict=True)):
        own = own.detach().cpu().double()
        lost = own.isnan()
        assert torch.equal(lost, due.isnan()), f"result {number}"
        own, due = own[~lost], due.detach()[~lost]
        assert own.numel() == 0 or float((own - due).abs().max()) <= 2e-5 * max(float(due.abs().max()), 1e-3)


def node_of(name: str, stride: int, channels: int, given: bool):
    node = random_node((name,), slots=2, channels=channels, size=(6, 5), stride=stride, affine=True, seed=3)
    node = replace(node.to(torch.float32), states=[spoilt(x) for x in node.to(torch.float32).states])
    seen = torch.rand(2, node.table.shape[1], 2, 2, channels, generator=torch.Generator().manual_seed(1)) + 0.5
    return node, seen if given else None


def results(node, given, forced: str) -> list[Tensor]:
    given = None if given is None else given.to(node.params)
    y, statistics = node.run(given=given, want_statistics=True, backend=forced)
    return [y, statistics, *node.gradients(given=given, backend=forced)]


@native
@STRIDES
@GIVEN
@pytest.mark.parametrize("name", [name for name in ALL if name != "none"])
def test_primitives(name, stride, given):
    node, seen = node_of(name, stride, 9, given)
    expected = results(node.to(torch.float64), seen, "reference")
    for isa in backend.compiled().isa_names():
        with instruction_set(isa):
            assert_same_numbers(results(node, seen, "cpp"), expected)


@STRIDES
@pytest.mark.parametrize("name", ["max_pool_3x3", "avg_pool_3x3", "conv_3x3"])
def test_primitives_by_triton_kernels(name, stride):
    pytest.importorskip("triton")
    node, _ = node_of(name, stride, 4, False)
    expected = results(node.to(torch.float64), None, "reference")
    assert_same_numbers(results(on_triton_device(node), None, "triton"), expected)


def one_weight_spoilt(node, name: str, stride: int, channels: int):
    """The first parameter of either instance of slot 0 holds one value that is no number, in its last place but one."""
    widths = [p.size for p in PRIMITIVES[name].parameters(channels, stride, True)]
    params = node.params.clone()
    for start in node.table[0, :, OFFSET].tolist():
        params[0, start + (widths[0] - 2 if widths else 0)] = math.nan
    return replace(node, params=params)


@native
@STRIDES
@GIVEN
@pytest.mark.parametrize("name", [name for name in ALL if PRIMITIVES[name].parameters(9, 1, False)])
def test_weights_of_primitives(name, stride, given):
    """What stands on padding is multiplied as well: 0 times NaN is NaN."""
    node = random_node((name,), slots=2, channels=9, size=(6, 5), stride=stride, affine=True, seed=3)
    node = one_weight_spoilt(node.to(torch.float32), name, stride, 9)
    seen = torch.rand(2, node.table.shape[1], 2, 2, 9, generator=torch.Generator().manual_seed(1)) + 0.5
    seen = seen if given else None
    expected = results(node.to(torch.float64), seen, "reference")
    for isa in backend.compiled().isa_names():
        with instruction_set(isa):
            assert_same_numbers(results(node, seen, "cpp"), expected)


def block_results(block, x, params, given, forced: str) -> list[Tensor]:
    leaves = [value.detach().clone().requires_grad_() for value in (x, params)]
    given = None if given is None else given.to(x)
    y, _ = conv_block(*leaves, block, given=given, backend=forced)
    gy = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).to(y).view(y.shape)
    return [y, *torch.autograd.grad(y, leaves, gy)]


@native
@GIVEN
@pytest.mark.parametrize("where", ["images", "weights"])
@pytest.mark.parametrize("name", BLOCKS)
def test_blocks(name, where, given):
    block = BLOCKS[name]
    numbers = torch.Generator().manual_seed(0)
    x, params = torch.randn(2, 2, 2, 9, 7, generator=numbers), torch.randn(2, block.columns, generator=numbers)
    if where == "images":
        x = spoilt(x)
    else:
        params[0, 20] = math.nan  # a tap of the second filter, under which padding stands at an edge
    seen = torch.rand(2, 2, 9, generator=numbers) + 0.5 if given and block.norm else None
    expected = block_results(block, x.double(), params.double(), seen, "reference")
    for isa in backend.compiled().isa_names():
        with instruction_set(isa):
            assert_same_numbers(block_results(block, x, params, seen, "cpp"), expected)


@native
@GIVEN
@pytest.mark.parametrize("reduce", [False, True], ids=["same size", "halved"])
def test_preprocessing(given, reduce):
    numbers = torch.Generator().manual_seed(0)
    x = spoilt(torch.randn(2, 2, 3, 6, 5, generator=numbers))
    width = sum(aligned(p.size) for p in preprocess_parameters(3, 9, reduce, True))
    params = torch.randn(2, width, generator=numbers)
    seen = torch.rand(2, 2, 9, generator=numbers) + 0.5 if given else None

    def run(dtype, forced):
        leaves = [value.to(dtype).requires_grad_() for value in (x.clone(), params.clone())]
        own = None if seen is None else seen.to(dtype)
        y, found = preprocess(
            leaves[:1], leaves[1], 9, reduce=reduce, affine=True, given=own, want_statistics=True, backend=forced
        )
        gy = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).to(dtype).view(y.shape)
        return [y, found, *torch.autograd.grad(y, leaves, gy)]

    assert_same_numbers(run(torch.float32, "cpp"), run(torch.float64, "reference"))
