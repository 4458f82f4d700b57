"""The conv block: formula in all its forms, TensorFlow's SAME padding, slots, statistics."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autometa.ops import ConvBlock, conv_block
from autometa.ops.primitives import aligned
from tests.ops.test_preprocess import weights_of
from tests.ops.test_primitives import F
from tests.tolerances import assert_agree

BLOCKS = {
    "stem": ConvBlock(2, 5),
    "strided, same": ConvBlock(2, 4, stride=2, padding="same", bias=True, relu=True, eps=1e-3),
    "pooled": ConvBlock(2, 4, bias=True, relu=True, pool=True),
    "pooled, ceil": ConvBlock(2, 4, padding="same", bias=True, relu=True, pool=True, pool_ceil=True),
    "without norm": ConvBlock(2, 3, stride=2, bias=True, norm=False, relu=True),
    "5x5": ConvBlock(2, 3, kernel=5, padding="same", stride=2),
}
EACH = pytest.mark.parametrize("name", BLOCKS)


def case(block, *, slots=3, batch=2, size=(7, 8), dtype=torch.float64):
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(slots, batch, block.c_in, *size, generator=generator, dtype=torch.float64)
    params = torch.randn(
        slots, sum(aligned(p.size) for p in block.parameters()), generator=generator, dtype=torch.float64
    )
    return x.to(dtype), params.to(dtype)


def formula(x, params, slot, block):
    w = dict(zip((p.role for p in block.parameters()), weights_of(params, block.parameters(), slot), strict=True))
    pads = [block.pads(n) for n in x.shape[-2:]]
    y = F.conv2d(F.pad(x, (*pads[1], *pads[0])), w["conv_weight"], w.get("conv_bias"), block.stride)
    if block.norm:
        y = F.batch_norm(y, None, None, w["bn_gamma"], w["bn_beta"], training=True, eps=block.eps)
    if block.relu:
        y = torch.relu(y)
    return F.max_pool2d(y, 2, 2, ceil_mode=block.pool_ceil) if block.pool else y


@EACH
def test_formula(name):
    block = BLOCKS[name]
    x, params = case(block)
    y, _ = conv_block(x, params, block)
    assert y.shape[3:] == tuple(block.output(n) for n in x.shape[3:])
    for s in range(3):
        assert_agree(y[s], formula(x[s], params, s, block), "formula", torch.float64)


@EACH
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_slots_alone(name, dtype):
    block = BLOCKS[name]
    x, params = (value.requires_grad_(True) for value in case(block, dtype=dtype))
    y, _ = conv_block(x, params, block)
    gy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
    together = (y, *torch.autograd.grad(y, (x, params), gy))
    for s in range(3):
        own = [v[s : s + 1].detach().requires_grad_(True) for v in (x, params)]
        y, _ = conv_block(*own, block)
        for a, b in zip(together, (y, *torch.autograd.grad(y, own, gy[s : s + 1])), strict=True):
            assert_agree(a[s : s + 1], b, "slots, node", dtype)


@EACH
def test_gradcheck(name):
    block = replace(BLOCKS[name], c_out=2)
    x, params = (v.requires_grad_(True) for v in case(block, slots=2, size=(4, 5)))
    assert torch.autograd.gradcheck(lambda a, p: conv_block(a, p, block)[0], (x, params), fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda a, p: conv_block(a, p, block)[0], (x, params), fast_mode=True, atol=1e-4)


@EACH
def test_statistics(name):
    block = BLOCKS[name]
    x, params = case(block)
    y, statistics = conv_block(x, params, block, want_statistics=True)
    if not block.norm:
        assert statistics is None
        return
    assert statistics.shape == (3, 2, block.c_out)
    assert_agree(conv_block(x[:, :1], params, block, given=statistics)[0], y[:, :1], "formula", torch.float64)


@given(st.integers(1, 40), st.integers(1, 3), st.sampled_from([1, 3, 5]))
@settings(max_examples=60, deadline=None)
def test_same_padding_is_that_of_tensorflow(size, stride, kernel):
    """Output ceil(n / stride); the odd pixel goes to the end."""
    block = ConvBlock(1, 1, kernel=kernel, stride=stride, padding="same")
    before, after = block.pads(size)
    assert block.output(size) == -(-size // stride)
    assert after - before in (0, 1)
    needed = (block.output(size) - 1) * stride + kernel - size
    assert before + after == max(needed, 0)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3)])
def test_ugly_shapes(size):
    block = ConvBlock(1, 1, stride=2, padding="same", bias=True, relu=True)
    x, params = case(block, slots=1, batch=1, size=size)
    y, _ = conv_block(x, params, block)
    assert y.shape == (1, 1, 1, *(-(-n // 2) for n in size)) and bool(torch.isfinite(y).all())
    assert_agree(y[0], formula_or_beta(x, params, block), "formula", torch.float64)


def formula_or_beta(x, params, block):
    """With a single value per channel BN gives beta; PyTorch refuses that case."""
    if block.output(x.shape[3]) * block.output(x.shape[4]) > 1:
        return formula(x[0], params, 0, block)
    return torch.relu(weights_of(params, block.parameters(), 0)[-1]).view(1, 1, 1, 1)


def test_wrong_arguments_are_named():
    block = BLOCKS["stem"]
    x, params = case(block)
    with pytest.raises(ValueError, match="3 channels, this network was made for 2"):
        conv_block(torch.cat([x, x[:, :, :1]], dim=2), params, block)
    with pytest.raises(ValueError, match="padding must be"):
        ConvBlock(1, 1, padding="valid")
