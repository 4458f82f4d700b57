"""Preprocessing: formula, slots, lists of states, statistics."""

from __future__ import annotations

import pytest
import torch

from autometa.ops import preprocess
from autometa.ops.preprocess import preprocess_parameters
from autometa.ops.primitives import aligned
from tests.ops.test_primitives import F, normalised, skip
from tests.tolerances import assert_agree

REDUCE = pytest.mark.parametrize("reduce", [False, True])
CHANNELS = 5


def case(reduce, affine=False, *, slots=3, batch=2, widths=(2, 3), size=(6, 7), dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    shapes = preprocess_parameters(sum(widths), CHANNELS, reduce, affine)
    states = [normal(slots, batch, c, *size) for c in widths]
    return states, normal(slots, sum(aligned(p.size) for p in shapes)), shapes


def weights_of(params, shapes, slot):
    found, offset = [], 0
    for p in shapes:
        found.append(params[slot, offset : offset + p.size].view(p.shape))
        offset += aligned(p.size)
    return found


@REDUCE
@pytest.mark.parametrize("affine", [False, True])
def test_formula(reduce, affine):
    states, params, shapes = case(reduce, affine)
    y, _ = preprocess(states, params, CHANNELS, reduce=reduce, affine=affine)
    for s in range(3):
        x = torch.cat([state[s] for state in states], dim=1)
        w = weights_of(params, shapes, s)
        expected = skip(x, w, 2) if reduce else normalised(F.conv2d(torch.relu(x), w[0]))
        if affine:
            expected = w[-2][:, None, None] * expected + w[-1][:, None, None]
        assert_agree(y[s], expected, "formula", torch.float64)


@REDUCE
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_slots_alone(reduce, dtype):
    states, params, _ = case(reduce, True, dtype=dtype)
    leaves = [x.requires_grad_(True) for x in (*states, params)]
    y, _ = preprocess(leaves[:2], leaves[2], CHANNELS, reduce=reduce, affine=True)
    gy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
    together = (y, *torch.autograd.grad(y, leaves, gy))
    for s in range(3):
        own = [x[s : s + 1].detach().requires_grad_(True) for x in leaves]
        y, _ = preprocess(own[:2], own[2], CHANNELS, reduce=reduce, affine=True)
        alone = (y, *torch.autograd.grad(y, own, gy[s : s + 1]))
        for a, b in zip(together, alone, strict=True):
            assert_agree(a[s : s + 1], b, "slots, node", dtype)


@REDUCE
def test_a_list_of_states_is_their_concatenation(reduce):
    states, params, _ = case(reduce)
    joined = [torch.cat(states, dim=2)]
    a, b = (preprocess(x, params, CHANNELS, reduce=reduce)[0] for x in (states, joined))
    assert torch.equal(a, b)


@REDUCE
def test_statistics(reduce):
    states, params, _ = case(reduce, True)
    y, statistics = preprocess(states, params, CHANNELS, reduce=reduce, affine=True, want_statistics=True)
    assert statistics.shape == (3, 2, CHANNELS) and not statistics.requires_grad
    again, none = preprocess(states, params, CHANNELS, reduce=reduce, affine=True, given=statistics)
    assert none is None
    assert_agree(again, y, "formula", torch.float64)
    one, _ = preprocess([x[:, :1] for x in states], params, CHANNELS, reduce=reduce, affine=True, given=statistics)
    assert_agree(one, y[:, :1], "formula", torch.float64)


@REDUCE
def test_gradcheck(reduce):
    states, params, _ = case(reduce, True, slots=2, size=(3, 4))
    leaves = [x.requires_grad_(True) for x in (*states, params)]

    def evaluate(a, b, p):
        return preprocess([a, b], p, CHANNELS, reduce=reduce, affine=True)[0]

    assert torch.autograd.gradcheck(evaluate, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(evaluate, leaves, fast_mode=True, atol=1e-4)


@REDUCE
@pytest.mark.parametrize("size", [(1, 1), (1, 6), (7, 3)])
@pytest.mark.parametrize("batch", [1, 3])
def test_ugly_shapes(reduce, size, batch):
    states, params, _ = case(reduce, widths=(1,), size=size, batch=batch, slots=1)
    y, _ = preprocess(states, params, CHANNELS, reduce=reduce)
    half = tuple(-(-n // 2) for n in size) if reduce else size
    assert y.shape == (1, batch, CHANNELS, *half)
    assert bool(torch.isfinite(y).all())
    assert bool(y.any()) == (y[0, :, 0].numel() > 1)


def test_states_of_different_sizes_are_refused():
    states, params, _ = case(False)
    with pytest.raises(ValueError, match="states must agree"):
        preprocess([states[0], states[1][..., 1:]], params, CHANNELS)
