"""The stack of conv blocks: the blocks and the head one after another, as one op."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from autometa.nas.networks.conv_network import FOUR_LAYER, ConvNetwork, four_layer
from autometa.ops import ConvBlock, backend, conv_block, conv_stack, linear_head
from autometa.ops._memory import activation
from autometa.ops.conv_stack.cpp import _backward, _described, _forward
from autometa.slots.statistics import Given, Recorder
from tests.ops.arenas import instruction_set, native, threads
from tests.tolerances import assert_agree

WAYS = 5
MIXED = (
    ConvBlock(3, 5, bias=True, norm=False, relu=True),
    ConvBlock(5, 17, kernel=5, stride=2, padding="same", pool=True, pool_ceil=True),
    ConvBlock(17, 4, relu=True),
)
# network, slots, batch, size; rows are wider than the network by the last
CASES = {
    **{f"{name}, few filters": (four_layer(name, WAYS, (2, 25, 19), 6), 3, 2, 0) for name in FOUR_LAYER},
    "omniglot": (four_layer("reptile-omniglot", WAYS, (1, 28, 28)), 2, 10, 0),
    "means as features": (ConvNetwork(MIXED, WAYS, (3, 13, 9), flatten=False), 2, 3, 32),
    "one block, one image": (ConvNetwork(MIXED[:1], WAYS, (3, 1, 2)), 1, 1, 16),
    "images in chunks": (ConvNetwork(MIXED, WAYS, (3, 21, 23)), 2, 9, 0),
    "many slots": (ConvNetwork(MIXED[:2], WAYS, (3, 6, 7)), 37, 1, 0),
}
EACH = pytest.mark.parametrize("name", CASES)


def case(name, dtype=torch.float32):
    """Network, images, rows, the gradient of the logits."""
    network, slots, batch, more = CASES[name]
    generator = torch.Generator().manual_seed(3)

    def random(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    return network, random(slots, batch, *network.image_shape), random(slots, network.layout.row + more), random(
        slots, batch, WAYS
    )  # fmt: skip


def outcome(network, images, rows, grad, forced, call=conv_stack):
    """Logits, gradients of images and rows."""
    leaves = [value.detach().requires_grad_(True) for value in (images, rows)]
    logits = call(*leaves, network.blocks, WAYS, flatten=network.flatten, backend=forced)
    return logits.detach(), *torch.autograd.grad(logits, leaves, grad)


def composed(x, params, blocks, classes, *, flatten, backend):
    """What the op is by definition."""
    at = 0
    for block in blocks:
        width = sum(-(-p.size // 16) * 16 for p in block.parameters())
        x, _ = conv_block(x, params[:, at : at + width], block, backend=backend)
        at += width
    return linear_head([x], params[:, at:], classes, flatten=flatten, backend=backend)


@EACH
def test_reference_is_the_ops_one_after_another(name):
    arguments = case(name, torch.float64)
    for own, due in zip(
        outcome(*arguments, "reference"), outcome(*arguments, "reference", composed), strict=True
    ):  # fmt: skip
        assert_agree(own, due, "slots, node", torch.float64)


@native
@EACH
def test_cpp_gives_the_bits_of_the_ops_one_after_another(name, monkeypatch):
    """With every instruction set, with one thread and with two."""
    monkeypatch.setenv("AUTOMETA_DEBUG", "1")
    arguments = case(name)
    for isa in backend.compiled().isa_names():
        for count in (1, 2):
            with instruction_set(isa), threads(count):
                for own, due in zip(
                    outcome(*arguments, "cpp"), outcome(*arguments, "cpp", composed), strict=True
                ):  # fmt: skip
                    assert own.dtype == torch.float32 and torch.equal(own, due)


@native
@EACH
def test_cpp_agrees_with_the_reference(name):
    network, *values = case(name)
    expected = outcome(network, *(value.double() for value in values), "reference")
    for own, due in zip(outcome(network, *values, "cpp"), expected, strict=True):
        assert_agree(own, due, "discrete gradient", torch.float32)


@native
@EACH
def test_cpp_gives_a_slot_the_same_bits(name):
    network, *values = case(name)
    order = torch.arange(values[0].shape[0]).flip(0)

    def run(pick):
        return outcome(network, *(value[pick] for value in values), "cpp")

    with threads(1):
        expected = run(slice(None))
    for count in (2, 3):
        with threads(count):
            again, turned, alone = run(slice(None)), run(order), run(slice(-1, None))
        for due, own, back, single in zip(expected, again, turned, alone, strict=True):
            assert torch.equal(own, due) and torch.equal(back[order], due) and torch.equal(single, due[-1:])


@native
@EACH
def test_cpp_without_some_gradients(name):
    network, images, rows, grad = case(name)
    logits, _, drows = outcome(network, images, rows, grad, "cpp")
    leaf = rows.detach().requires_grad_(True)
    again = conv_stack(images, leaf, network.blocks, WAYS, flatten=network.flatten, backend="cpp")
    assert torch.equal(again, logits) and torch.equal(torch.autograd.grad(again, leaf, grad)[0], drows)
    assert not bool(drows[:, network.layout.row :].any())
    with torch.no_grad():
        assert torch.equal(
            conv_stack(images, leaf, network.blocks, WAYS, flatten=network.flatten, backend="cpp"), logits
        )


@native
def test_cpp_reads_images_and_rows_from_any_strides():
    network, images, rows, grad = case("means as features")
    expected = outcome(network, images, rows, grad, "cpp")
    wide = torch.full((rows.shape[0], 2 * rows.shape[1]), torch.nan)
    shifted, every_other = wide[:, 7 : 7 + rows.shape[1]].copy_(rows), wide.clone()[:, ::2].copy_(rows)
    own = activation(*images.shape)
    own.as_strided((own.untyped_storage().nbytes() // 4,), (1,), 0).fill_(torch.nan)
    turned = images.transpose(3, 4).contiguous().transpose(3, 4)
    for x, params in ((own.copy_(images), shifted), (turned, every_other)):
        for found, due in zip(outcome(network, x, params, grad, "cpp"), expected, strict=True):
            assert torch.equal(found, due)


@EACH
def test_network_with_recorded_statistics(name):
    """Layer by layer, where somebody asks for or gives statistics, the logits are the same."""
    network, images, rows, _ = case(name, torch.float64)
    rows = rows[:, : network.layout.row]
    recorder = Recorder()
    expected = network.logits(rows, images)
    assert_agree(network.logits(rows, images, recorder), expected, "slots, node", torch.float64)
    assert len(recorder.kept) == len(network.blocks)
    assert_agree(network.logits(rows, images, Given(recorder.kept)), expected, "formula", torch.float64)


@native
def test_cpp_opcheck():
    network, images, rows, grad = case("means as features")
    images, grad = (torch.cat([v, v[:, :1]], dim=1) for v in (images, grad))  # sizes that leave no gaps in what is kept
    settings = (*map(list, _described(network.blocks, 13, 9)), WAYS, False, False)
    leaves = [value.detach().clone().requires_grad_(True) for value in (images, rows)]
    assert torch.library.opcheck(_forward.custom, (*leaves, *settings, True))
    saved = _forward(images, rows, *settings, True)[1]
    checks = ("test_schema", "test_faketensor")  # its own gradient is meant to raise
    for want_dx in (False, True):
        assert torch.library.opcheck(
            _backward.custom, (grad, saved, images, rows, *settings, want_dx), test_utils=checks
        )


@native
def test_cpp_of_nothing():
    network, images, rows, _ = case("means as features")
    for own, params in ((images[:0], rows[:0]), (images[:, :0], rows)):
        leaf = params.detach().requires_grad_(True)
        logits = conv_stack(own, leaf, network.blocks, WAYS, flatten=False, backend="cpp")
        assert logits.shape == (*own.shape[:2], WAYS)
        assert not bool(torch.autograd.grad(logits.sum(), leaf)[0].any())


def test_backends_of_other_devices_are_asked_block_by_block():
    network, images, rows, _ = case("means as features")
    with pytest.raises(backend.BackendError, match="conv_block"):
        conv_stack(images, rows, network.blocks, WAYS, flatten=False, backend="cuda")


@native
def test_wrong_arguments_are_named():
    network, images, rows, _ = case("means as features")
    blocks = network.blocks
    with pytest.raises(ValueError, match="2 channels, this network was made for 3"):
        conv_stack(images[:, :, :2], rows, blocks, WAYS)
    with pytest.raises(ValueError, match=rf"rows of 100 parameters, the network has {network.layout.row}"):
        conv_stack(images, rows[:, :100], blocks, WAYS, flatten=False, backend="cpp")
    with pytest.raises(ValueError, match="params"):
        conv_stack(images, rows[:1], blocks, WAYS, backend="cpp")
    with pytest.raises(ValueError, match="9 channels follows one that puts out 5"):
        conv_stack(images, rows, (blocks[0], replace(blocks[2], c_in=9)), WAYS, backend="cpp")
