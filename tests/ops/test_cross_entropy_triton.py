"""The Triton cross-entropy against the reference in float64."""

from __future__ import annotations

import math

import pytest
import torch

from autometa.ops import backend, cross_entropy
from tests.ops.test_cross_entropy import case, loss_and_gradient
from tests.ops.triton_device import DEVICE, assert_all_agree, assert_same_bits, triton_ready

pytestmark = triton_ready
UGLY = [(1, 1, 1), (3, 4, 5), (2, 37, 63), (2, 20, 20), (9, 1, 200), (1, 2, 5000)]


@pytest.fixture(autouse=True)
def _poison(monkeypatch):
    monkeypatch.setenv("AUTOMETA_DEBUG", "1")


def run(logits, labels) -> list[torch.Tensor]:
    """Losses and the gradient of their sum."""
    leaf = logits.to(DEVICE).detach().requires_grad_(True)
    losses = cross_entropy(leaf, labels.to(DEVICE), backend="triton")
    return [losses.detach(), torch.autograd.grad(losses.sum(), leaf)[0]]


@pytest.mark.parametrize("slots, batch, classes", UGLY)
@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_agrees_with_the_reference(slots, batch, classes, scale):
    logits, labels = case(slots, batch, classes, torch.float32)
    logits = (scale * logits).transpose(0, 1).contiguous().transpose(0, 1)
    expected = loss_and_gradient(logits, labels, "reference", torch.float64)
    leaf = logits.to(DEVICE).requires_grad_(True)
    losses = cross_entropy(leaf, labels.to(DEVICE), backend="triton")
    (grad,) = torch.autograd.grad(losses, leaf, torch.linspace(-1, 2, slots, device=DEVICE))
    assert_all_agree([losses.detach(), grad], expected, "fp32")


@pytest.mark.parametrize("slots, batch, classes", UGLY[1:3])
def test_bits_do_not_depend_on_position_or_neighbours(slots, batch, classes):
    logits, labels = case(slots, batch, classes, torch.float32)
    due, order = run(logits, labels), torch.arange(slots).flip(0)
    assert_same_bits(run(logits[order], labels[order]), [x[order.to(DEVICE)] for x in due])
    assert_same_bits(run(logits[-1:], labels[-1:]), [x[-1:] for x in due])


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # NumPy's, where kernels are interpreted
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite(bad):
    """As the reference has it, and in their own slot only."""
    logits, labels = case(3, 4, 5, torch.float32)
    logits[1, 2, int(labels[1, 2])] = bad
    leaf = logits.clone().requires_grad_(True)
    losses = cross_entropy(leaf, labels, backend="reference")
    expected = losses.detach(), torch.autograd.grad(losses.sum(), leaf)[0]
    for own, due in zip(run(logits, labels), expected, strict=True):
        assert torch.allclose(own.cpu(), due, rtol=1e-5, atol=1e-6, equal_nan=True)
        assert bool(own[0].isfinite().all()) and bool(own[2].isfinite().all())


@pytest.mark.parametrize("label", [-100, -1, 5])
def test_a_label_that_is_no_class_gives_no_number(label):
    logits, labels = case(dtype=torch.float32)
    labels[2, 3] = label
    losses, grad = run(logits, labels)
    assert bool(losses[2].isnan()) and bool(grad[2, 3].isnan().all())
    assert bool(losses[:2].isfinite().all()) and bool(grad[:2].isfinite().all()) and bool(grad[2, :3].isfinite().all())


def test_nothing_to_compute():
    losses, grad = run(torch.zeros(2, 0, 5), torch.zeros(2, 0, dtype=torch.int64))
    assert bool(losses.isnan().all()) and grad.shape == (2, 0, 5)
    losses, grad = run(torch.zeros(0, 2, 5), torch.zeros(0, 2, dtype=torch.int64))
    assert losses.shape == (0,) and grad.shape == (0, 2, 5)


def test_opcheck_and_second_derivative(monkeypatch):
    monkeypatch.delenv("AUTOMETA_DEBUG")
    logits, labels = (x.to(DEVICE) for x in case(dtype=torch.float32))
    leaf = logits.requires_grad_(True)
    assert torch.library.opcheck(torch.ops.autometa.cross_entropy_triton.default, (leaf, labels))
    checks = ("test_schema", "test_faketensor")
    arguments = (torch.ones(3, device=DEVICE), leaf.detach(), labels)
    assert torch.library.opcheck(torch.ops.autometa.cross_entropy_triton_backward.default, arguments, test_utils=checks)
    (grad,) = torch.autograd.grad(cross_entropy(leaf, labels, backend="triton").sum(), leaf, create_graph=True)
    with pytest.raises(backend.BackendError, match="first derivatives only"):
        grad.sum().backward()
    with pytest.raises(ValueError, match=r"labels must be \[3, 4\]"):
        cross_entropy(logits, labels[:, 1:], backend="triton")
