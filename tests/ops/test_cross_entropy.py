"""Cross-entropy per slot."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autometa.ops import cross_entropy
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
