"""The classifier: means or all values, slots, lists of states."""

from __future__ import annotations

import pytest
import torch

from autometa.ops import backend, linear_head
from autometa.ops.linear_head.cpp import _backward, _forward
from autometa.ops.primitives import aligned
from tests.ops.arenas import native, ways_to_run
from tests.tolerances import assert_agree

FLATTEN = pytest.mark.parametrize("flatten", [False, True])
CLASSES = 4


def case(flatten, *, slots=3, batch=2, widths=(2, 3), size=(3, 5), dtype=torch.float64):
    generator = torch.Generator().manual_seed(2)
    features = sum(widths) * (size[0] * size[1] if flatten else 1)
    width = aligned(CLASSES * features) + aligned(CLASSES)
    states = [torch.randn(slots, batch, c, *size, generator=generator, dtype=torch.float64).to(dtype) for c in widths]
    return states, torch.randn(slots, width, generator=generator, dtype=torch.float64).to(dtype), features


@FLATTEN
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_formula_per_slot(flatten, dtype):
    states, params, features = case(flatten, dtype=dtype)
    logits = linear_head(states, params, CLASSES, flatten=flatten)
    for s in range(3):
        x = torch.cat([state[s] for state in states], dim=1).double()
        x = x.flatten(1) if flatten else x.mean(dim=(2, 3))
        weight = params[s, : CLASSES * features].view(CLASSES, features).double()
        start = aligned(CLASSES * features)
        expected = x @ weight.T + params[s, start : start + CLASSES].double()
        assert_agree(logits[s], expected, "formula", dtype)
        alone = linear_head([x[s : s + 1] for x in states], params[s : s + 1], CLASSES, flatten=flatten)
        assert_agree(logits[s : s + 1], alone, "slots, node", dtype)


@FLATTEN
def test_a_list_of_states_is_their_concatenation(flatten):
    states, params, _ = case(flatten)
    joined = linear_head([torch.cat(states, dim=2)], params, CLASSES, flatten=flatten)
    assert_agree(linear_head(states, params, CLASSES, flatten=flatten), joined, "formula", torch.float64)


@FLATTEN
def test_gradcheck(flatten):
    states, params, _ = case(flatten, slots=2, size=(2, 1))
    leaves = [x.requires_grad_(True) for x in (*states, params)]

    def evaluate(a, b, p):
        return linear_head([a, b], p, CLASSES, flatten=flatten)

    assert torch.autograd.gradcheck(evaluate, leaves)
    assert torch.autograd.gradgradcheck(evaluate, leaves, fast_mode=True)


@FLATTEN
def test_one_pixel_one_channel_one_image(flatten):
    states, params, _ = case(flatten, slots=1, batch=1, widths=(1,), size=(1, 1))
    expected = params[:, :CLASSES] * states[0].flatten() + params[:, aligned(CLASSES) : aligned(CLASSES) + CLASSES]
    assert_agree(linear_head(states, params, CLASSES, flatten=flatten)[0], expected, "formula", torch.float64)


# slots, batch, widths, size
UGLY = [
    (1, 1, (1,), (1, 1)),
    (3, 2, (2, 3), (3, 5)),
    (2, 7, (28, 28, 28), (7, 7)),
    (1, 3, (9, 1, 65), (1, 7)),
    (4, 1, (8, 16), (2, 1)),
    (2, 20, (128,), (5, 4)),
]
SHAPES = pytest.mark.parametrize("slots, batch, widths, size", UGLY)


def ugly(flatten, slots, batch, widths, size):
    states, params, _ = case(flatten, slots=slots, batch=batch, widths=widths, size=size, dtype=torch.float32)
    wide = torch.full((slots, params.shape[1] + 21), 7.0)  # a block of a longer row, as the arena gives it
    wide[:, 5 : 5 + params.shape[1]] = params
    grad = torch.randn(slots, batch, CLASSES, generator=torch.Generator().manual_seed(5))
    return [x + 3 for x in states], wide[:, 5 : 5 + params.shape[1]], grad


def logits_and_gradients(states, params, grad, flatten, forced, dtype=torch.float32):
    leaves = [x.detach().to(dtype).requires_grad_(True) for x in (*states, params)]
    logits = linear_head(leaves[:-1], leaves[-1], CLASSES, flatten=flatten, backend=forced)
    return [logits.detach(), *torch.autograd.grad(logits, leaves, grad.to(dtype))]


@native
@FLATTEN
@SHAPES
def test_cpp_agrees_with_the_reference(flatten, slots, batch, widths, size):
    arguments = ugly(flatten, slots, batch, widths, size)
    expected = logits_and_gradients(*arguments, flatten, "reference", torch.float64)
    found = logits_and_gradients(*arguments, flatten, "cpp")
    for own, due in zip(found, expected, strict=True):
        assert own.shape == due.shape and own.dtype == torch.float32
        assert_agree(own, due, "formula", torch.float32)


@native
@FLATTEN
@SHAPES
def test_cpp_gives_the_same_bits(flatten, slots, batch, widths, size):
    """Whatever the threads, the instruction set, the neighbours and the order of the slots."""
    states, params, grad = ugly(flatten, slots, batch, widths, size)
    expected = logits_and_gradients(states, params, grad, flatten, "cpp")
    order = torch.arange(slots).flip(0)
    for way in ways_to_run():
        with way:
            again = logits_and_gradients(states, params, grad, flatten, "cpp")
            picked = ([x[order] for x in states], params[order], grad[order])
            turned = logits_and_gradients(*picked, flatten, "cpp")
            last = ([x[-1:] for x in states], params[-1:], grad[-1:])
            alone = logits_and_gradients(*last, flatten, "cpp")
        for due, own, back, single in zip(expected, again, turned, alone, strict=True):
            assert torch.equal(own, due) and torch.equal(back[order], due) and torch.equal(single, due[-1:])


@native
def test_cpp_keeps_slots_apart_from_bad_neighbours():
    states, params, grad = ugly(False, *UGLY[1])
    expected = logits_and_gradients(states, params, grad, False, "cpp")
    states[0][1, 0, 0, 0, 0] = torch.inf
    params[2] = torch.nan
    found = logits_and_gradients(states, params, grad, False, "cpp")
    for own, due in zip(found, expected, strict=True):
        assert torch.equal(own[0], due[0])
    assert not bool(found[0][1:].isfinite().all())


@native
@FLATTEN
def test_cpp_states_in_different_sizes(flatten):
    states, params, grad = ugly(flatten, *UGLY[1])
    states[1] = states[1][..., :2, :3]
    expected = logits_and_gradients(states, params, grad, flatten, "reference", torch.float64)
    for own, due in zip(logits_and_gradients(states, params, grad, flatten, "cpp"), expected, strict=True):
        assert_agree(own, due, "formula", torch.float32)


@native
@FLATTEN
def test_cpp_opcheck(flatten):
    states, params, grad = ugly(flatten, *UGLY[1])
    leaves = [x.requires_grad_(True) for x in states]
    assert torch.library.opcheck(_forward.custom, (leaves, params.requires_grad_(True), CLASSES, flatten, None, None))
    features = torch.randn(3, 2, 75 if flatten else 5)
    sizes = [2, 3, 5, 3, 3, 5]
    # its own gradient is meant to raise
    checks = ("test_schema", "test_faketensor")
    arguments = (grad, features, params.detach(), sizes, flatten, None, None)
    assert torch.library.opcheck(_backward.custom, arguments, test_utils=checks)


@native
def test_second_derivatives_need_the_reference(monkeypatch):
    monkeypatch.delenv("AUTOMETA_BACKEND", raising=False)
    monkeypatch.setattr(backend, "_SECOND_ORDER_ANNOUNCED", False)
    states, params, _ = ugly(False, *UGLY[1])
    params = params.detach().requires_grad_(True)

    def gradient():
        loss = linear_head(states, params, CLASSES).square().sum()
        return torch.autograd.grad(loss, params, create_graph=True)[0].square().sum()

    with pytest.raises(backend.BackendError, match="first derivatives only"):
        gradient().backward()
    with backend.second_order(), pytest.warns(RuntimeWarning, match="second derivatives"):
        (found,) = torch.autograd.grad(gradient(), params)
    assert bool(found.any())


@native
def test_cpp_refuses_what_does_not_fit():
    states, params, _ = ugly(False, *UGLY[1])
    with pytest.raises(backend.BackendError, match="not in torch.float64"):
        linear_head([x.double() for x in states], params.double(), CLASSES, backend="cpp")
    with pytest.raises(ValueError, match=r"params must be \[3, 36\] or wider"):
        linear_head(states, params[:, :35], CLASSES, backend="cpp")
    with pytest.raises(ValueError, match="states must all be torch.float32"):
        linear_head([states[0].double(), states[1]], params, CLASSES, backend="cpp")
