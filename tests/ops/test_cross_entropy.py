"""Cross-entropy per slot."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autometa.ops import backend, cross_entropy
from autometa.ops.cross_entropy.cpp import cross_entropy_cpp, cross_entropy_cpp_backward
from tests.ops.arenas import native, ways_to_run
from tests.tolerances import assert_agree


def case(slots=3, batch=4, classes=5, dtype=torch.float64):
    generator = torch.Generator().manual_seed(8)
    logits = torch.randn(slots, batch, classes, generator=generator, dtype=torch.float64).to(dtype)
    return logits, torch.randint(classes, (slots, batch), generator=generator)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_formula_per_slot(dtype):
    logits, labels = case(dtype=dtype)
    losses = cross_entropy(logits, labels)
    for s in range(3):
        rows = logits[s].double()
        picked = [rows[n, labels[s, n]] - torch.log(torch.exp(rows[n]).sum()) for n in range(4)]
        assert_agree(losses[s], -sum(picked) / 4, "formula", dtype)
        assert_agree(losses[s : s + 1], cross_entropy(logits[s : s + 1], labels[s : s + 1]), "slots, node", dtype)


@given(st.floats(-1e4, 1e4), st.integers(1, 7), st.integers(2, 6))
@settings(max_examples=30, deadline=None)
def test_a_constant_added_to_all_logits_changes_nothing(shift, batch, classes):
    logits, labels = case(2, batch, classes)
    assert torch.allclose(cross_entropy(logits + shift, labels), cross_entropy(logits, labels), rtol=1e-9, atol=1e-9)


def test_equal_logits_give_the_logarithm_of_the_classes():
    loss = cross_entropy(torch.zeros(2, 1, 7, dtype=torch.float64), torch.tensor([[0], [6]]))
    assert loss.tolist() == pytest.approx([math.log(7)] * 2, rel=1e-12)


def test_gradient_is_softmax_less_the_label():
    logits, labels = case()
    leaf = logits.requires_grad_(True)
    (grad,) = torch.autograd.grad(cross_entropy(leaf, labels).sum(), leaf)
    target = torch.nn.functional.one_hot(labels, 5).double()
    assert_agree(grad, (torch.softmax(logits, dim=2) - target) / 4, "formula", torch.float64)
    assert torch.autograd.gradgradcheck(lambda x: cross_entropy(x, labels), (leaf,))


def test_large_logits_stay_finite():
    logits = torch.tensor([[[1e4, -1e4]]])
    assert cross_entropy(logits, torch.tensor([[1]])).tolist() == [2e4]


def test_sizes_that_disagree_are_refused():
    logits, labels = case()
    with pytest.raises(ValueError, match=r"labels must be \[3, 4\]"):
        cross_entropy(logits, labels[:, 1:])


UGLY = [(1, 1, 1), (3, 4, 5), (2, 7, 63), (5, 20, 20), (300, 1, 200)]


def loss_and_gradient(logits, labels, forced, dtype=torch.float32):
    leaf = logits.detach().to(dtype).requires_grad_(True)
    losses = cross_entropy(leaf, labels, backend=forced)
    weight = torch.linspace(-1, 2, len(losses), dtype=dtype)
    return losses.detach(), torch.autograd.grad(losses, leaf, weight)[0]


@native
@pytest.mark.parametrize("slots, batch, classes", UGLY)
@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_cpp_agrees_with_the_reference(slots, batch, classes, scale):
    logits, labels = case(slots, batch, classes, torch.float32)
    logits = (scale * logits).transpose(0, 1).contiguous().transpose(0, 1)
    expected = loss_and_gradient(logits, labels, "reference", torch.float64)
    for own, due in zip(loss_and_gradient(logits, labels, "cpp"), expected, strict=True):
        assert own.shape == due.shape and own.dtype == torch.float32
        assert_agree(own, due, "formula", torch.float32)


@native
@pytest.mark.parametrize("slots, batch, classes", UGLY)
def test_cpp_gives_the_same_bits(slots, batch, classes):
    logits, labels = case(slots, batch, classes, torch.float32)
    order, weight = torch.arange(slots).flip(0), torch.linspace(-1, 2, slots)
    expected = cross_entropy_cpp(logits, labels), cross_entropy_cpp_backward(weight, logits, labels)
    for way in ways_to_run():
        with way:
            again = cross_entropy_cpp(logits, labels), cross_entropy_cpp_backward(weight, logits, labels)
            picked = logits[order], labels[order]
            turned = cross_entropy_cpp(*picked), cross_entropy_cpp_backward(weight[order], *picked)
            last = logits[-1:], labels[-1:]
            alone = cross_entropy_cpp(*last), cross_entropy_cpp_backward(weight[-1:], *last)
        for due, own, back, single in zip(expected, again, turned, alone, strict=True):
            assert torch.equal(own, due) and torch.equal(back[order], due) and torch.equal(single, due[-1:])


@native
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_cpp_values_that_are_not_finite(bad):
    """As the reference has it, and in their own slot only."""
    logits, labels = case(3, 4, 5, torch.float32)
    logits[1, 2, int(labels[1, 2])] = bad
    for own, due in zip(
        loss_and_gradient(logits, labels, "cpp"), loss_and_gradient(logits, labels, "reference"), strict=True
    ):
        assert torch.allclose(own, due, rtol=1e-5, atol=1e-6, equal_nan=True)
        assert bool(own[0].isfinite().all()) and bool(own[2].isfinite().all())


@native
def test_cpp_opcheck_and_second_derivative():
    logits, labels = case(dtype=torch.float32)
    leaf = logits.requires_grad_(True)
    assert torch.library.opcheck(torch.ops.autometa.cross_entropy.default, (leaf, labels))
    checks = ("test_schema", "test_faketensor")
    arguments = (torch.ones(3), leaf.detach(), labels)
    assert torch.library.opcheck(torch.ops.autometa.cross_entropy_backward.default, arguments, test_utils=checks)
    (grad,) = torch.autograd.grad(cross_entropy(leaf, labels, backend="cpp").sum(), leaf, create_graph=True)
    with pytest.raises(backend.BackendError, match="first derivatives only"):
        grad.sum().backward()


@native
@pytest.mark.parametrize("label", [-100, -1, 5])
def test_cpp_refuses_labels_out_of_range(label):
    logits, labels = case(dtype=torch.float32)
    labels[2, 3] = label
    with pytest.raises(ValueError, match=f"labels must lie in 0..4, one is {label}"):
        cross_entropy(logits, labels, backend="cpp")
