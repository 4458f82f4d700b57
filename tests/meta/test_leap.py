"""Leap: its gradient is that of the pull-forward objective, whose every point knows where the next one lies."""

from __future__ import annotations

import pytest
import torch

from autometa.errors import InputError
from autometa.meta.inner_loop import slot_gradients
from autometa.meta.leap import Leap
from autometa.meta.learner import InnerLoop, TaskChunk
from autometa.meta.optimisers import SGD, PerKind
from autometa.slots.arena import Arena
from tests.meta.tasks import Images
from tests.meta.test_maml import NETWORK, OBJECTIVE, SHAPE

STEPS, RATE, SLOTS = 4, 0.05, 2


class OneBatch:
    """The same batch in every step, so that the loss falls."""

    def __init__(self, ids):
        self.batch = Images(ids, SHAPE).step(0)

    def step(self, t):
        return self.batch

    def support(self):
        return self.batch


def arena():
    return Arena.single(NETWORK.layout, NETWORK.initial(3).double(), SLOTS)


def pulled_forward(metric, loss):
    """The gradient of the objective for all points, added up: the Jacobians of the steps are the identity."""
    task, begun = OneBatch((1, 2)), arena()
    row, points = begun.phi.clone(), []
    for t in range(STEPS + 1):
        value, grad = slot_gradients(OBJECTIVE, row, *task.step(t), t)
        points.append((row, value))
        row = row - RATE * grad
    assert all((after < before).all() for (_, before), (_, after) in zip(points, points[1:], strict=False))
    total = torch.zeros_like(begun.phi)
    for (here, _), (there, low) in zip(points, points[1:], strict=False):
        leaf = here.clone().requires_grad_(True)
        square = (there - leaf).square().sum(dim=1)
        if loss:
            square = square + (low - OBJECTIVE(leaf, *task.step(0), 0)).square()
        (found,) = torch.autograd.grad((square if metric == "energy" else square.sqrt()).sum(), leaf)
        total += found
    return total


@pytest.mark.parametrize("metric", ["length", "energy"])
@pytest.mark.parametrize("loss", [True, False])
def test_the_gradient_is_that_of_the_pull_forward_objective(metric, loss):
    here, task = arena(), TaskChunk(OBJECTIVE, OneBatch((1, 2)))
    start = here.phi.clone()
    done = Leap(metric=metric, loss=loss).train_(here, task, InnerLoop(SGD(PerKind(RATE)), STEPS, {}))
    assert done.losses.shape == (STEPS, SLOTS)
    torch.testing.assert_close(start - here.phi, pulled_forward(metric, loss), rtol=1e-9, atol=1e-12)


def test_a_rising_loss_is_taken_for_a_falling_one():
    way, slope = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.5, 0.25]])
    up, down = (Leap().pull(way, torch.tensor([rise]), slope) for rise in (0.3, -0.3))
    assert torch.equal(up, down) and torch.isfinite(Leap().pull(0 * way, torch.zeros(1), slope)).all()


def test_what_is_frozen_stays_and_no_step_is_no_path():
    here = arena()
    start, body = here.phi.clone(), ~NETWORK.layout.columns("head").bool()
    Leap().train_(
        here, TaskChunk(OBJECTIVE, OneBatch((1, 2))), InnerLoop(SGD(PerKind(RATE)), STEPS, {}, frozen=("head",))
    )
    changed = (here.phi != start).any(dim=0)
    assert changed.any() and not (changed & ~body).any()
    none = arena()
    done = Leap().train_(none, TaskChunk(OBJECTIVE, OneBatch((1, 2))), InnerLoop(SGD(PerKind(RATE)), 0, {}))
    assert torch.equal(none.phi, start) and done.losses.shape == (0, SLOTS)


def test_a_metric_that_is_none():
    with pytest.raises(InputError, match="learner.metric must be length or energy, not way"):
        Leap(metric="way")
