"""The inner loop: slots, optimiser state, frozen kinds."""

from __future__ import annotations

import pytest
import torch

from autometa.meta.inner_loop import adapt_, slot_gradients
from autometa.meta.optimisers import SGD, Adam, PerKind
from autometa.slots.arena import Arena
from autometa.slots.layout import KINDS
from tests.meta.tasks import (
    Images,
    arena_of,
    network_objective,
    per_kind,
    plain_layout,
    quadratic,
    small_networks,
    targets,
)
from tests.tolerances import assert_agree

BOTH = PerKind(0.1, 0.05)
OPTIMISERS = {
    "adam": Adam(PerKind(1e-2, 2e-2), PerKind(0.0, 1e-3)),
    "clipped adam": Adam(PerKind(1e-2, 2e-2), max_norm=PerKind(0.05, 0.01)),
    "gradient descent": SGD(PerKind(0.05, 0.1), PerKind(1e-3, 0.0)),
}


def single(slots, dtype=torch.float64):
    layout = plain_layout()
    return Arena.single(
        layout, torch.linspace(-1, 1, layout.row, dtype=dtype) * (targets(layout, 1).target[0] != 0), slots
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("name", small_networks())
def test_slots_in_one_batch_equal_slots_alone(name, optimiser, dtype):
    """The whole inner loop, three steps; changes are compared, not weights.

    A bias in front of BN has gradient 0 up to rounding, which Adam blows up to full steps, so it is left out.
    """
    network, shape = small_networks()[name]
    together = arena_of(network, 3, dtype)
    objective, how = network_objective(network), OPTIMISERS[optimiser]
    losses = adapt_(together, objective, Images((4, 5, 6), shape, dtype=dtype), how, 3)
    kept = ~network.layout.columns(*(n for n in network.layout.by_name if n.endswith("conv_bias")))
    assert losses.shape == (3, 3)
    for s, task in enumerate((4, 5, 6)):
        alone = arena_of(network, 1, dtype)
        own = adapt_(alone, objective, Images((task,), shape, dtype=dtype), how, 3)
        assert_agree(losses[:, s : s + 1], own, "slots, inner loop", dtype)
        moved, expected = ((arena.phi - arena.theta)[:, kept] for arena in (together, alone))
        assert float(expected.abs().max()) > 1e-3
        assert_agree(moved[s : s + 1], expected, "slots, inner loop", dtype)


def test_gradients_are_those_of_each_slots_own_loss():
    arena = single(3)
    goal = targets(plain_layout(), 3)
    losses, grad = slot_gradients(quadratic, arena.phi, *goal.step(0), 0)
    assert_agree(losses, 0.5 * ((arena.phi - goal.target) ** 2).sum(dim=1), "formula", torch.float64)
    assert_agree(grad, arena.phi - goal.target, "formula", torch.float64)
    assert not arena.phi.requires_grad and not losses.requires_grad


def test_gradient_descent_by_hand():
    arena, goal = single(2), targets(plain_layout(), 2)
    expected = arena.phi.clone()
    rate = per_kind(0.1, 0.05)
    for t in range(3):
        expected -= rate * (expected - goal.step(t)[0])
    adapt_(arena, quadratic, goal, SGD(BOTH), 3)
    assert_agree(arena.phi, expected, "formula", torch.float64)


def test_adam_by_hand():
    arena, goal = single(2), targets(plain_layout(), 2)
    phi, second = arena.phi.clone(), torch.zeros_like(arena.phi)
    lr, decay = per_kind(0.1, 0.05), per_kind(0.0, 0.3)
    for t in range(4):
        g = phi - goal.step(t)[0] + decay * phi
        second = 0.9 * second + 0.1 * g * g
        phi = phi - lr * g / (torch.sqrt(second / (1 - 0.9 ** (t + 1))) + 1e-8)
    adapt_(arena, quadratic, goal, Adam(BOTH, PerKind(0.0, 0.3), beta2=0.9), 4)
    assert_agree(arena.phi, phi, "formula", torch.float64)
    assert_agree(arena.second, second, "formula", torch.float64)
    assert arena.steps.tolist() == [[4, 4, 4], [4, 4, 4]]


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("kind", [0, 2])
def test_a_frozen_kind_does_not_move(optimiser, kind):
    arena, goal = single(2), targets(plain_layout(), 2)
    arena.second.fill_(0.5)
    arena.steps.fill_(3)
    before = arena.phi.clone()
    adapt_(arena, quadratic, goal, OPTIMISERS[optimiser], 2, frozen=KINDS[kind : kind + 1])
    columns = slice(arena.bounds[0, kind], arena.bounds[0, kind + 1])
    others = slice(arena.bounds[0, 2 - kind], arena.bounds[0, 3 - kind])
    assert torch.equal(arena.phi[:, columns], before[:, columns])
    assert bool((arena.second[:, columns] == 0.5).all()) and arena.steps[:, kind].tolist() == [3, 3]
    assert not torch.equal(arena.phi[:, others], before[:, others])


def test_steps_may_be_taken_in_two_parts():
    whole, parts, goal = single(2), single(2), targets(plain_layout(), 2)
    optimiser = OPTIMISERS["adam"]
    losses = adapt_(whole, quadratic, goal, optimiser, 5)
    first = adapt_(parts, quadratic, goal, optimiser, 2)
    second = adapt_(parts, quadratic, goal, optimiser, 3, first_step=2)
    assert torch.equal(torch.cat([first, second]), losses) and torch.equal(parts.phi, whole.phi)


def test_adam_state_is_carried_or_reset():
    goal = targets(plain_layout(), 2)
    carry, reset = (Adam(BOTH, state=state) for state in ("carry", "reset"))
    arena = single(2)
    adapt_(arena, quadratic, goal, carry, 2)
    carry.begin_(arena)
    assert arena.second.any() and arena.steps.tolist() == [[2, 2, 2], [2, 2, 2]]
    reset.begin_(arena)
    assert not arena.second.any() and not arena.steps.any()
    with pytest.raises(ValueError, match="'carry' or 'reset'"):
        Adam(BOTH, state="keep")


def test_no_steps_change_nothing():
    arena = single(2)
    before = arena.phi.clone()
    losses = adapt_(arena, quadratic, targets(plain_layout(), 2), OPTIMISERS["adam"], 0)
    assert losses.shape == (0, 2) and torch.equal(arena.phi, before)


def test_rates_per_kind_as_a_table():
    table = BOTH.table(single(2), ("body",))
    assert table.tolist() == [[0.0, 0.1, 0.05]] and table.dtype == torch.float64
    assert PerKind(0.1, 0.05, head=0.3).values() == (0.1, 0.3, 0.05)
    with pytest.raises(ValueError, match="no kind of columns 'weights'"):
        BOTH.table(single(2), ("weights",))
