"""Temperatures, sharpened weights, input weights of pairs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autometa.nas.relax.same_batch import SameBatch
from autometa.nas.relax.soft_pruning import above, input_weights, pairs, temperature
from tests.nas.networks import images_for, one_shot, rows
from tests.tolerances import assert_agree


@given(st.integers(1, 100), st.floats(0.5, 2.0), st.floats(0.01, 0.4))
@settings(max_examples=50, deadline=None)
def test_temperature_falls_linearly_and_stays(steps, t_max, t_min):
    found = [temperature(s, steps, t_max, t_min) for s in range(steps + 3)]
    assert found[steps - 1 :] == [t_min] * 4
    assert steps == 1 or found[0] == t_max
    falls = [a - b for a, b in zip(found[: steps - 1], found[1:steps], strict=True)]
    assert all(f == pytest.approx((t_max - t_min) / max(steps - 1, 1), rel=1e-6) for f in falls)


def test_pairs_are_in_the_order_of_the_paper():
    assert pairs(2) == [(0, 1)]
    assert pairs(4) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]


@given(st.integers(2, 5), st.integers(0, 999))
@settings(max_examples=30, deadline=None)
def test_input_weights_equal_the_sum_over_pairs(inputs, seed):
    """sum over (a, b) of g_ab (m_a + m_b) = sum over a of weight_a m_a."""
    generator = torch.Generator().manual_seed(seed)
    g = torch.rand(3, len(pairs(inputs)), generator=generator, dtype=torch.float64)
    m = torch.randn(3, inputs, generator=generator, dtype=torch.float64)
    by_pairs = sum(g[:, p] * (m[:, a] + m[:, b]) for p, (a, b) in enumerate(pairs(inputs)))
    assert_agree((input_weights(g, inputs) * m).sum(dim=1), by_pairs, "formula", torch.float64)


def test_a_weight_at_the_threshold_is_pruned_and_others_are_not_rescaled():
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.125, 0.125]], dtype=torch.float64))
    exactly = float(torch.softmax(logits, dim=-1)[0, 1])
    found = above(torch.softmax(logits, dim=-1), exactly)
    assert found[0, 1:].tolist() == [0.0, 0.0, 0.0] and float(found[0, 0]) == pytest.approx(0.5)
    assert above(torch.softmax(logits, dim=-1), None)[0].tolist() == pytest.approx([0.5, 0.25, 0.125, 0.125])


def test_cold_weights_are_one_hot():
    logits = torch.tensor([[0.1, 0.4, 0.3]])
    assert_agree(SameBatch().weights(logits / 1e-3), torch.tensor([[0.0, 1.0, 0.0]]), "formula", torch.float32)


def test_logits_of_pruned_ops_still_get_gradients_through_the_softmax():
    logits = torch.tensor([[2.0, 1.0, -3.0]], dtype=torch.float64, requires_grad=True)
    weights = above(SameBatch().weights(logits), 0.1)
    assert weights[0, 2] == 0 and (weights[0, :2] > 0).all()
    (grad,) = torch.autograd.grad(weights[0, 0], logits)
    share = torch.softmax(logits.detach(), dim=-1)[0]
    assert_agree(grad[0], share[0] * (torch.tensor([1.0, 0, 0], dtype=torch.float64) - share), "formula", torch.float64)


def test_threshold_0_and_no_threshold_are_the_same():
    network = one_shot()
    phi, (x, _) = rows(network, 2), images_for(network, 2, 3)
    a, b = (network.logits(phi, x, temperature=0.5, threshold=t) for t in (None, 0.0))
    assert torch.equal(a, b)


def test_weights_differ_from_slot_to_slot():
    network = one_shot()
    node = network.weights(rows(network, 2), 0.5)["normal"][1]
    assert node.op.shape == (2, 21) and node.input.shape == (2, 3)
    assert float((node.op[0] - node.op[1]).abs().max()) > 1e-3
    assert_agree(node.op.view(2, 3, 7).sum(dim=2), torch.ones(2, 3), "formula", torch.float64)
    assert_agree(node.input.sum(dim=1), torch.full((2,), 2.0), "formula", torch.float64)
