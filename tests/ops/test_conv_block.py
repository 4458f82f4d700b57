"""The conv block: formula in all its forms, TensorFlow's SAME padding, slots, statistics."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autometa.nas.networks.conv_network import FOUR_LAYER, four_layer
from autometa.ops import ConvBlock, backend, conv_block
from autometa.ops._memory import activation
from autometa.ops.conv_block.cpp import _backward, _forward, _sizes
from autometa.ops.primitives import aligned
from tests.ops.arenas import instruction_set, native, threads
from tests.ops.test_preprocess import weights_of
from tests.ops.test_primitives import F
from tests.tolerances import assert_agree

BLOCKS = {
    "stem": ConvBlock(2, 5),
    "strided, same": ConvBlock(2, 4, stride=2, padding="same", bias=True, relu=True, eps=1e-3),
    "pooled": ConvBlock(2, 4, bias=True, relu=True, pool=True),
    "pooled, ceil": ConvBlock(2, 4, padding="same", bias=True, relu=True, pool=True, pool_ceil=True),
    "without norm": ConvBlock(2, 3, stride=2, bias=True, norm=False, relu=True),
    "one channel": ConvBlock(2, 1, relu=True),
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


# block, slots, batch, size
UGLY = {
    **{f"{name}, 7x8": (block, 3, 2, (7, 8)) for name, block in BLOCKS.items()},
    "one pixel": (ConvBlock(1, 1, stride=2, padding="same", bias=True, norm=False), 1, 1, (1, 1)),
    "one image of one row": (ConvBlock(3, 1, relu=True), 2, 1, (1, 9)),
    "stem of 84": (ConvBlock(3, 84), 1, 2, (13, 12)),
    "pointwise": (ConvBlock(9, 7, kernel=1, bias=True, pool=True), 2, 3, (5, 5)),
    "even kernel": (ConvBlock(5, 8, kernel=2, stride=2), 2, 2, (9, 7)),
    "wide": (ConvBlock(128, 17, pool=True, relu=True), 1, 2, (9, 5)),
    "narrow to wide": (ConvBlock(17, 128, stride=2, padding="same", relu=True, bias=True), 2, 3, (7, 6)),
    "7x7": (ConvBlock(20, 24, kernel=7, stride=3, padding="same", norm=False), 1, 2, (11, 8)),
    "chunks of images": (ConvBlock(8, 16, pool=True, pool_ceil=True, relu=True), 2, 9, (15, 11)),
    "patches of several images": (ConvBlock(64, 64, stride=2, padding="same", bias=True, relu=True), 2, 40, (4, 4)),
    "Winograd, ends of rows": (ConvBlock(20, 28, relu=True), 2, 3, (5, 11)),
    "Winograd, bands": (ConvBlock(16, 33, bias=True, norm=False), 1, 2, (30, 37)),
    "Winograd, 64": (ConvBlock(64, 64, pool=True, relu=True), 2, 9, (9, 10)),
    "Winograd, one row": (ConvBlock(24, 16), 2, 2, (1, 70)),
    "many slots": (ConvBlock(4, 5, relu=True), 70, 1, (6, 6)),
    **{
        f"{name}, layer {i}": (block, 2, 3, size)
        for name in FOUR_LAYER
        for network in [four_layer(name, 5, (1, 28, 28) if "omniglot" in name else (3, 42, 42))]
        for i, (block, size) in enumerate(zip(network.blocks, network.sizes[:-1], strict=True))
    },
}
UGLIES = pytest.mark.parametrize("name", UGLY)


def poisoned(value):
    """An activation of these values with NaN as padding."""
    made = activation(*value.shape)
    made.as_strided((made.untyped_storage().nbytes() // 4,), (1,), 0).fill_(torch.nan)
    return made.copy_(value)


def ugly(name, given):
    """x, params (a block of a longer row), given statistics, the gradient of y: all float32."""
    block, slots, batch, size = UGLY[name]
    x, params = case(block, slots=slots, batch=batch, size=size, dtype=torch.float32)
    wide = torch.full((slots, params.shape[1] + 21), 7.0)
    wide[:, 5 : 5 + params.shape[1]] = params
    statistics = torch.rand(slots, 2, block.c_out, generator=torch.Generator().manual_seed(3)) + 0.5
    shape = (slots, batch, block.c_out, *(block.output(n) for n in size))
    gy = torch.randn(shape, generator=torch.Generator().manual_seed(5))
    x = x if block.c_in < 4 else poisoned(x)
    return x, wide[:, 5 : 5 + params.shape[1]], statistics if given and block.norm else None, poisoned(gy)


def decided(block, x, params, given):
    """1 where pool and ReLU choose by more than what float32 rounds, 0 where another sum may choose otherwise."""
    linear = replace(block, relu=False, pool=False)
    z, _ = conv_block(x.double(), params.double(), linear, given=None if given is None else given.double())
    candidates = [z]
    if block.pool:
        sizes = [2 * block.output(n) for n in x.shape[-2:]]
        z = F.pad(z, (0, max(0, sizes[1] - z.shape[-1]), 0, max(0, sizes[0] - z.shape[-2])), value=-torch.inf)
        candidates = [z[..., i : sizes[0] : 2, j : sizes[1] : 2] for i in (0, 1) for j in (0, 1)]
    if block.relu:
        candidates.append(torch.zeros_like(candidates[0]))
    best = torch.stack([*candidates, torch.full_like(candidates[0], -torch.inf)]).topk(2, 0).values
    return (best[0] - best[1] > 1e-5).float()


def outcome(block, x, params, given, gy, forced, dtype=torch.float32):
    """y, statistics, gradients of x and params."""
    leaves = [value.detach().to(dtype).requires_grad_(True) for value in (x, params)]
    given = None if given is None else given.to(dtype)
    y, statistics = conv_block(*leaves, block, given=given, want_statistics=True, backend=forced)
    found = torch.autograd.grad(y, leaves, gy.to(dtype))
    return [y.detach(), *([] if statistics is None else [statistics]), *found]


@native
@UGLIES
@pytest.mark.parametrize("given", [False, True], ids=["batch", "given"])
def test_cpp_agrees_with_the_reference(name, given, monkeypatch):
    """With every instruction set."""
    monkeypatch.setenv("AUTOMETA_DEBUG", "1")
    block = UGLY[name][0]
    x, params, statistics, gy = ugly(name, given)
    arguments = x, params, statistics, poisoned(gy * decided(block, x, params, statistics))
    expected = outcome(block, *arguments, "reference", torch.float64)
    for isa in backend.compiled().isa_names():
        with instruction_set(isa):
            for own, due in zip(outcome(block, *arguments, "cpp"), expected, strict=True):
                assert own.dtype == torch.float32
                assert_agree(own, due, "formula", torch.float32)


@native
@UGLIES
def test_cpp_gives_a_slot_the_same_bits(name):
    """Whatever the threads, the neighbours and the order of the slots, with every instruction set."""
    block = UGLY[name][0]
    arguments = [value for value in ugly(name, False) if value is not None]
    order = torch.arange(arguments[0].shape[0]).flip(0)

    def run(pick):
        x, params, gy = (value[pick] for value in arguments)
        return outcome(block, x, params, None, gy, "cpp")

    for isa in backend.compiled().isa_names():
        with instruction_set(isa):
            with threads(1):
                expected = run(slice(None))
            for count in (2, 3):
                with threads(count):
                    again, turned, alone = run(slice(None)), run(order), run(slice(-1, None))
                for due, own, back, single in zip(expected, again, turned, alone, strict=True):
                    assert torch.equal(own, due) and torch.equal(back[order], due) and torch.equal(single, due[-1:])


@native
def test_cpp_keeps_slots_apart_from_bad_neighbours():
    block = BLOCKS["pooled"]
    x, params, _, gy = ugly("pooled, 7x8", False)
    expected = outcome(block, x, params, None, gy, "cpp")
    x[1, 0, 0, 3, 3] = torch.inf
    params[2] = torch.nan
    found = outcome(block, x, params, None, gy, "cpp")
    for own, due in zip(found, expected, strict=True):
        assert torch.equal(own[0], due[0])
    assert not bool(found[0][1].isfinite().all()) and not bool(found[0][2].isfinite().any())


@native
@pytest.mark.parametrize("gamma", [0.0, 1e-3, -0.07])
@pytest.mark.parametrize("block", [ConvBlock(2, 9, bias=True), ConvBlock(12, 5, stride=2)], ids=["rows", "patches"])
def test_cpp_output_need_not_tell_the_convolution(block, gamma):
    """Where gamma is nothing beside beta in one channel of the second slot; where it is just enough."""
    x, params = case(block, batch=7, size=(7, 8), dtype=torch.float32)
    params[:, -32:-16] = 1.0
    params[1, -30], params[1, -14] = gamma, 1.0
    gy = torch.randn(3, 7, block.c_out, *(block.output(n) for n in (7, 8)), generator=torch.Generator().manual_seed(2))
    expected = outcome(block, x, params, None, gy, "reference", torch.float64)
    for isa in backend.compiled().isa_names():
        with instruction_set(isa):
            for own, due in zip(outcome(block, x, params, None, gy, "cpp"), expected, strict=True):
                assert_agree(own, due, "formula", torch.float32)


@native
@pytest.mark.parametrize("ceil", [False, True])
def test_cpp_ties_go_to_the_first(ceil):
    """Small integers: every value and gradient is exact, and half of all windows have ties."""
    block = ConvBlock(2, 5, bias=True, norm=False, relu=True, pool=True, pool_ceil=ceil)
    generator = torch.Generator().manual_seed(8)
    x = torch.randint(-1, 2, (2, 3, 2, 7, 9), generator=generator).float()
    params = torch.randint(-1, 2, (2, 112), generator=generator).float()
    gy = torch.randint(-3, 4, (2, 3, 5, *(block.output(n) for n in (7, 9))), generator=generator).float()
    expected = outcome(block, x, params, None, gy, "reference", torch.float64)
    for isa in backend.compiled().isa_names():
        with instruction_set(isa):
            for own, due in zip(outcome(block, x, params, None, gy, "cpp"), expected, strict=True):
                assert_agree(own, due, "exact", torch.float32)


@native
def test_cpp_reads_images_from_any_strides():
    block = ConvBlock(3, 4, padding="same", stride=2)
    x, params = case(block, size=(7, 9), dtype=torch.float32)
    expected, _ = conv_block(x, params, block, backend="cpp")
    every_other = torch.full((3, 2, 3, 7, 18), torch.nan)[..., ::2].copy_(x)
    last = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).view(3, 2, 3, 7, 9)
    turned = x.transpose(3, 4).contiguous().transpose(3, 4)
    for same in (every_other, last, turned, poisoned(x)):
        assert torch.equal(conv_block(same, params, block, backend="cpp")[0], expected)
    shared = x[:1].expand_as(x)
    found, _ = conv_block(shared, params, block, backend="cpp")
    assert torch.equal(found, conv_block(shared.contiguous(), params, block, backend="cpp")[0])


@native
@EACH
def test_cpp_without_some_gradients(name):
    block = BLOCKS[name]
    x, params, _, gy = ugly(f"{name}, 7x8", False)
    y, *_, dx, dparams = outcome(block, x, params, None, gy, "cpp")
    leaf = params.detach().requires_grad_(True)
    again, _ = conv_block(x, leaf, block, backend="cpp")
    assert torch.equal(again, y) and torch.equal(torch.autograd.grad(again, leaf, gy)[0], dparams)
    leaf = x.detach().requires_grad_(True)
    assert torch.equal(torch.autograd.grad(conv_block(leaf, params, block, backend="cpp")[0], leaf, gy)[0], dx)
    with torch.no_grad():
        assert torch.equal(conv_block(leaf, params, block, backend="cpp")[0], y)
    flags = [block.bias, block.norm, block.relu, block.pool]
    assert _forward(x, params, None, _sizes(block, 7, 8), flags, block.eps, False, False, False)[2].numel() == 0


@native
def test_cpp_survives_means_of_100_standard_deviations():
    block = ConvBlock(2, 5, bias=True)
    x, params = case(block, batch=8, size=(9, 9), dtype=torch.float32)
    params[:, 96:101] += 100 * params[:, :90].reshape(3, 5, 18).norm(dim=2)
    expected, _ = conv_block(x.double(), params.double(), block, backend="reference")
    assert_agree(conv_block(x, params, block, backend="cpp")[0], expected, "shifted", torch.float32)
    x += 100
    expected, _ = conv_block(x.double(), params.double(), replace(block, kernel=1), backend="reference")
    assert_agree(conv_block(x, params, replace(block, kernel=1), backend="cpp")[0], expected, "shifted", torch.float32)


@native
@EACH
def test_cpp_opcheck(name):
    block = BLOCKS[name]
    x, params, given, gy = ugly(f"{name}, 7x8", True)
    leaves = [value.detach().clone().requires_grad_(True) for value in (x, params)]
    flags = [block.bias, block.norm, block.relu, block.pool]
    shared = (given, _sizes(block, 7, 8), flags, block.eps, False)
    assert torch.library.opcheck(_forward.custom, (*leaves, *shared, block.norm, True))
    y, _, saved = _forward(x, params, *shared, False, True)
    # its own gradient is meant to raise
    checks = ("test_schema", "test_faketensor")
    for want_dx in (False, True):
        assert torch.library.opcheck(_backward.custom, (gy, saved, y, x, params, *shared, want_dx), test_utils=checks)


@native
def test_cpp_of_nothing():
    block = BLOCKS["pooled"]
    x, params = case(block, dtype=torch.float32)
    for own, rows in ((x[:0], params[:0]), (x[:, :0], params)):
        rows = rows.detach().requires_grad_(True)
        y, _ = conv_block(own, rows, block, backend="cpp")
        assert y.numel() == 0 and not bool(torch.autograd.grad(y.sum(), rows)[0].any())


@native
def test_cpp_names_what_does_not_fit():
    block = BLOCKS["pooled"]
    x, params = case(block, dtype=torch.float32)
    with pytest.raises(backend.BackendError, match="not in torch.float64"):
        conv_block(x.double(), params.double(), block, backend="cpp")
    with pytest.raises(ValueError, match=r"params must be \[\d+, \d+\] or wider"):
        conv_block(x, params[:, :-1], block, backend="cpp")
    with pytest.raises(ValueError, match="params must have 3 rows, one per slot"):
        conv_block(x, params[:2], block, backend="cpp")
    with pytest.raises(ValueError, match=r"given must be \[3, 2, 4\]"):
        conv_block(x, params, block, given=torch.ones(3, 2, 3), backend="cpp")
    with pytest.raises(ValueError, match="too small for this block"):
        conv_block(x[..., :1], params, block, backend="cpp")
