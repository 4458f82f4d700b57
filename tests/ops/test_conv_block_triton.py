"""The Triton conv block against the reference in float64, over ugly shapes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from autometa.ops import ConvBlock, backend, conv_block
from autometa.ops.conv_block.cpp import _sizes
from autometa.ops.conv_block.triton import _backward, _forward
from tests.ops.test_conv_block import BLOCKS, UGLY, case, outcome, ugly
from tests.ops.triton_device import DEVICE, MODES, assert_all_agree, assert_same_bits, in_mode, triton_ready
from tests.tolerances import assert_agree

pytestmark = triton_ready
SHAPES = {
    **{f"{name}, 7x8": (block, 1, 2, (7, 8)) for name, block in BLOCKS.items()},
    **{name: UGLY[name] for name in ("one pixel", "one image of one row", "pointwise", "even kernel")},
    "stem of 84": (ConvBlock(3, 84), 1, 1, (7, 12)),
    "wide": (ConvBlock(70, 17, pool=True, relu=True), 1, 1, (9, 5)),
    "narrow to wide": (ConvBlock(17, 70, stride=2, padding="same", relu=True, bias=True), 1, 2, (7, 6)),
    "outputs for two programs": (ConvBlock(5, 150, kernel=2, bias=True, relu=True, pool=True), 1, 2, (5, 4)),
    "stride beyond the kernel": (ConvBlock(5, 6, kernel=2, stride=3, padding="same"), 2, 3, (7, 8)),
    "programs of several tiles": (ConvBlock(5, 6, kernel=1, pool=True, bias=True), 1, 9, (11, 12)),
}


@pytest.fixture(autouse=True)
def _poison(monkeypatch):
    monkeypatch.setenv("AUTOMETA_DEBUG", "1")
    monkeypatch.setattr("tests.ops.test_conv_block.UGLY", SHAPES)


def run(block, x, params, given, gy, dtype=torch.float32, backend="triton") -> list[torch.Tensor]:
    moved = (None if value is None else value.to(DEVICE) for value in (x, params, given, gy))
    return outcome(block, *moved, backend, dtype)


def reference(block, *arguments) -> list[torch.Tensor]:
    return outcome(block, *arguments, "reference", torch.float64)


@MODES
@pytest.mark.parametrize("name", SHAPES)
def test_agrees_with_the_reference(name, mode):
    """With given statistics in one mode, with the batch's own in the other: both come in both, by name.

    In bf16 the convolution's output is exact, else rounding would choose other branches of ReLU and pool.
    """
    block = SHAPES[name][0]
    x, params, given, gy = ugly(name, (mode == "bf16") ^ (len(name) % 2 == 0))
    if mode == "bf16":
        x.round_().clamp_(-2, 2)
        params[:, : block.parameters()[0].size].round_().clamp_(-2, 2)
    assert_all_agree(in_mode(mode, run, block, x, params, given, gy), reference(block, x, params, given, gy), mode)


@pytest.mark.parametrize("name", ["pooled, 7x8", "even kernel"])
def test_bits_do_not_depend_on_position_or_neighbours(name):
    block, _, batch, size = SHAPES[name]
    generator = torch.Generator().manual_seed(6)
    x, params = case(block, slots=3, batch=batch, size=size, dtype=torch.float32)
    gy = torch.randn((3, batch, block.c_out, *(block.output(n) for n in size)), generator=generator)
    due, order = run(block, x, params, None, gy), [2, 0, 1]
    beside = params.clone()
    beside[1] = torch.nan
    assert_same_bits(run(block, x[order], params[order], None, gy[order]), [v[order] for v in due])
    assert_same_bits(run(block, x[2:], params[2:], None, gy[2:]), [v[2:] for v in due])
    found = run(block, x, beside, None, gy)
    assert_same_bits([v[::2] for v in found], [v[::2] for v in due])
    assert not bool(found[0][1].isfinite().any())


@pytest.mark.parametrize("ceil", [False, True])
def test_ties_go_to_the_first(ceil):
    """Small integers: every value and gradient is exact, and half of all windows have ties."""
    block = ConvBlock(2, 5, bias=True, norm=False, relu=True, pool=True, pool_ceil=ceil)
    generator = torch.Generator().manual_seed(8)
    x = torch.randint(-1, 2, (1, 3, 2, 7, 9), generator=generator).float()
    params = torch.randint(-1, 2, (1, 112), generator=generator).float()
    gy = torch.randint(-3, 4, (1, 3, 5, *(block.output(n) for n in (7, 9))), generator=generator).float()
    for own, due in zip(run(block, x, params, None, gy), reference(block, x, params, None, gy), strict=True):
        assert_agree(own, due, "exact", torch.float32)


def test_images_are_read_from_any_strides():
    block = ConvBlock(3, 4, padding="same", stride=2)
    x, params = (value.to(DEVICE) for value in case(block, size=(7, 9), dtype=torch.float32))
    expected, _ = conv_block(x, params, block, backend="triton")
    every_other = torch.full((3, 2, 3, 7, 18), torch.nan, device=DEVICE)[..., ::2].copy_(x)
    last = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).view(3, 2, 3, 7, 9)
    turned = x.transpose(3, 4).contiguous().transpose(3, 4)
    for same in (every_other, last, turned):
        assert torch.equal(conv_block(same, params, block, backend="triton")[0], expected)
    shared = x[:1].expand_as(x)
    found, _ = conv_block(shared, params, block, backend="triton")
    assert torch.equal(found, conv_block(shared.contiguous(), params, block, backend="triton")[0])


@pytest.mark.parametrize("name", ["stem", "pooled"])
def test_without_some_gradients(name):
    block = BLOCKS[name]
    x, params, _, gy = (value if value is None else value.to(DEVICE) for value in ugly(f"{name}, 7x8", False))
    y, *_, dx, dparams = outcome(block, x, params, None, gy, "triton")
    leaf = params.detach().requires_grad_(True)
    again, _ = conv_block(x, leaf, block, backend="triton")
    assert torch.equal(again, y)
    (found,) = torch.autograd.grad(again, leaf, gy)
    assert_agree(found.cpu(), dparams.cpu(), "gradient, kernel", torch.float32)
    leaf = x.detach().requires_grad_(True)
    assert torch.equal(torch.autograd.grad(conv_block(leaf, params, block, backend="triton")[0], leaf, gy)[0], dx)
    with torch.no_grad():
        assert torch.equal(conv_block(leaf, params, block, backend="triton")[0], y)


def test_means_of_100_standard_deviations():
    block = ConvBlock(2, 5, bias=True)
    x, params = case(block, slots=1, batch=4, size=(9, 9), dtype=torch.float32)
    params[:, 96:101] += 100 * params[:, :90].reshape(1, 5, 18).norm(dim=2)
    for own in (block, replace(block, kernel=1)):
        expected, _ = conv_block(x.double(), params.double(), own, backend="reference")
        found, _ = conv_block(x.to(DEVICE), params.to(DEVICE), own, backend="triton")
        assert_agree(found, expected, "shifted, kernel", torch.float32)
        x = x + 100


def test_opcheck(monkeypatch):
    monkeypatch.delenv("AUTOMETA_DEBUG")
    block = BLOCKS["pooled"]
    x, params, given, gy = (value[:1].to(DEVICE) for value in ugly("pooled, 7x8", True))
    shared = (_sizes(block, 7, 8), [block.bias, block.norm, block.relu, block.pool])
    leaves = [value.detach().clone().requires_grad_(True) for value in (x, params)]
    assert torch.library.opcheck(_forward.custom, (*leaves, given, *shared, block.eps, True, True, "fp32"))
    _, _, z, factors = _forward(x, params, None, *shared, block.eps, False, True, "bf16")
    assert z.dtype == torch.bfloat16
    # its own gradient is meant to raise
    checks = ("test_schema", "test_faketensor")
    for want_dx in (False, True):
        arguments = (gy, z, factors, x, params, *shared, True, want_dx, "bf16")
        assert torch.library.opcheck(_backward.custom, arguments, test_utils=checks)


def test_nothing_to_compute():
    block = BLOCKS["pooled"]
    x, params = (value.to(DEVICE) for value in case(block, dtype=torch.float32))
    for own, rows in ((x[:0], params[:0]), (x[:, :0], params)):
        leaves = [value.detach().requires_grad_(True) for value in (own, rows)]
        y, _ = conv_block(*leaves, block, backend="triton")
        dx, dparams = torch.autograd.grad(y.sum(), leaves)
        assert y.numel() == 0 and dx.shape == own.shape and not bool(dparams.any())


def test_what_does_not_fit_is_named():
    block = BLOCKS["pooled"]
    x, params = (value.to(DEVICE) for value in case(block, dtype=torch.float32))
    with pytest.raises(backend.BackendError, match="not in torch.float64"):
        conv_block(x.double(), params.double(), block, backend="triton")
    with pytest.raises(ValueError, match=r"params must be \[\d+, \d+\] or wider"):
        conv_block(x, params[:, :-1], block, backend="triton")
    with pytest.raises(ValueError, match="params must have 3 rows, one per slot"):
        conv_block(x, params[:2], block, backend="triton")
    with pytest.raises(ValueError, match=r"given must be \[3, 2, 4\]"):
        conv_block(x, params, block, given=torch.ones(3, 2, 3, device=DEVICE), backend="triton")
    with pytest.raises(ValueError, match="too small for this block"):
        conv_block(x[..., :1], params, block, backend="triton")
    leaf = params.requires_grad_(True)
    (grad,) = torch.autograd.grad(conv_block(x, leaf, block, backend="triton")[0].sum(), leaf, create_graph=True)
    with pytest.raises(backend.BackendError, match="first derivatives only"):
        grad.sum().backward()
