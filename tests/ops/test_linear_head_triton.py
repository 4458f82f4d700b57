"""The Triton classifier against the reference in float64."""

from __future__ import annotations

import pytest
import torch

from autometa.ops import backend, linear_head
from autometa.ops.linear_head.triton import _backward, _forward
from tests.ops.test_linear_head import CLASSES, FLATTEN, case, logits_and_gradients, ugly
from tests.ops.triton_device import DEVICE, assert_all_agree, assert_same_bits, triton_ready

pytestmark = triton_ready
# slots, batch, widths, size
SHAPES = [
    (1, 1, (1,), (1, 1)),
    (3, 2, (2, 3), (3, 5)),
    (1, 2, (28, 28, 28), (7, 7)),
    (1, 3, (9, 1, 130), (1, 7)),
    (2, 33, (8, 16), (2, 1)),
]


@pytest.fixture(autouse=True)
def _poison(monkeypatch):
    monkeypatch.setenv("AUTOMETA_DEBUG", "1")


def run(states, params, grad, flatten) -> list[torch.Tensor]:
    return logits_and_gradients([x.to(DEVICE) for x in states], params.to(DEVICE), grad.to(DEVICE), flatten, "triton")


@FLATTEN
@pytest.mark.parametrize("slots, batch, widths, size", SHAPES)
def test_agrees_with_the_reference(flatten, slots, batch, widths, size):
    arguments = ugly(flatten, slots, batch, widths, size)
    expected = logits_and_gradients(*arguments, flatten, "reference", torch.float64)
    assert_all_agree(run(*arguments, flatten), expected, "fp32")


@FLATTEN
def test_states_in_different_sizes(flatten):
    states, params, grad = ugly(flatten, *SHAPES[1])
    states[1] = states[1][..., :2, :3]
    expected = logits_and_gradients(states, params, grad, flatten, "reference", torch.float64)
    assert_all_agree(run(states, params, grad, flatten), expected, "fp32")


def test_many_classes():
    states = [torch.randn(1, 2, 5, 2, 2)]
    params = torch.randn(1, 300 * 5 + 4 + 304, requires_grad=True)
    found = linear_head([x.to(DEVICE) for x in states], params.to(DEVICE), 300, backend="triton")
    due = linear_head([x.double() for x in states], params.double(), 300, backend="reference")
    gradients = [torch.autograd.grad(y.square().sum(), params)[0] for y in (found, due)]
    assert_all_agree([found, gradients[0].to(DEVICE)], [due, gradients[1]], "fp32")


@FLATTEN
def test_bits_do_not_depend_on_position_or_neighbours(flatten):
    states, params, grad = ugly(flatten, *SHAPES[1])
    due, order = run(states, params, grad, flatten), [2, 0, 1]
    picked = ([x[order] for x in states], params[order], grad[order])
    assert_same_bits(run(*picked, flatten), [x[order] for x in due])
    assert_same_bits(run([x[2:] for x in states], params[2:], grad[2:], flatten), [x[2:] for x in due])
    states[0][1, 0, 0, 0, 0] = torch.inf
    found = run(states, params, grad, flatten)
    assert_same_bits([x[::2] for x in found], [x[::2] for x in due])
    assert not bool(found[0][1].isfinite().all())


@pytest.mark.parametrize("slots, batch", [(0, 2), (2, 0)])
def test_nothing_to_compute(slots, batch):
    states, params, _ = case(False, slots=slots, batch=batch, dtype=torch.float32)
    logits, *_, d_params = run(states, params, torch.ones(slots, batch, CLASSES), False)
    assert logits.shape == (slots, batch, CLASSES) and d_params.shape == params.shape and not bool(d_params.any())


@FLATTEN
def test_opcheck(flatten, monkeypatch):
    monkeypatch.delenv("AUTOMETA_DEBUG")
    states, params, grad = (
        [y.to(DEVICE) for y in x] if isinstance(x, list) else x.to(DEVICE) for x in ugly(flatten, *SHAPES[1])
    )
    leaves = [x.detach().requires_grad_(True) for x in states]
    assert torch.library.opcheck(
        _forward.custom, (leaves, params.detach().requires_grad_(True), CLASSES, flatten, None, None)
    )
    features = torch.randn(3, 2, 75 if flatten else 5, device=DEVICE)
    # its own gradient is meant to raise
    checks = ("test_schema", "test_faketensor")
    arguments = (grad, features, params, [2, 3, 5, 3, 3, 5], flatten, None, None)
    assert torch.library.opcheck(_backward.custom, arguments, test_utils=checks)


def test_what_does_not_fit_is_named():
    states, params, _ = ugly(False, *SHAPES[1])
    states, params = [x.to(DEVICE) for x in states], params.to(DEVICE)
    with pytest.raises(ValueError, match=r"params must be \[3, 36\] or wider"):
        linear_head(states, params[:, :35], CLASSES, backend="triton")
    with pytest.raises(ValueError, match="states must all be torch.float32"):
        linear_head([states[0].double(), states[1]], params, CLASSES, backend="triton")
    leaf = params.detach().requires_grad_(True)
    loss = linear_head(states, leaf, CLASSES, backend="triton").square().sum()
    (grad,) = torch.autograd.grad(loss, leaf, create_graph=True)
    with pytest.raises(backend.BackendError, match="first derivatives only"):
        grad.square().sum().backward()
