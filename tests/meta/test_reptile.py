"""Reptile's laws."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autometa.meta.inner_loop import adapt_
from autometa.meta.optimisers import SGD, Adam, PerKind
from autometa.meta.outer_loop import meta_iteration_
from autometa.meta.schedule import Schedule
from autometa.slots.arena import Arena
from tests.meta.tasks import (
    Images,
    Targets,
    arena_of,
    gaps,
    network_objective,
    per_kind,
    plain_layout,
    quadratic,
    small_networks,
    targets,
)
from tests.tolerances import assert_agree

CARRY = Adam(PerKind(0.05, 0.1))
RESET = Adam(PerKind(0.05, 0.1), PerKind(0.0, 1e-2), state="reset")


def arena_with(slots, seed=0):
    layout = plain_layout()
    return Arena.single(layout, targets(layout, 1, seed).target[0], slots)


def quadratic_tasks(goal):
    return lambda start, stop: (quadratic, Targets(goal.target[start:stop]))


@pytest.mark.parametrize("name", small_networks())
def test_one_task_and_step_size_1_return_the_adapted_weights(name):
    network, shape = small_networks()[name]
    objective, batches = network_objective(network), Images((8,), shape)
    adapted, arena = arena_of(network, 1), arena_of(network, 1)
    adapt_(adapted, objective, batches, CARRY, 3)
    meta_iteration_(arena, lambda a, b: (objective, batches), CARRY, 3, PerKind(1.0, 1.0))
    assert float((adapted.phi - adapted.theta).abs().max()) > 1e-3
    assert_agree(arena.theta, adapted.phi, "formula", torch.float64)


@given(st.floats(0, 1.5), st.floats(0, 1.5), st.integers(1, 5), st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_formula_per_kind(weights, architecture, slots, steps):
    """theta + step size * mean of (adapted - theta), with a step size for each kind."""
    goal, arena = targets(plain_layout(), slots, 2), arena_with(slots)
    start = arena.theta.clone()
    phi = start.expand(slots, -1).clone()
    for t in range(steps):
        phi = phi - 0.2 * (phi - goal.step(t)[0])
    meta_iteration_(arena, quadratic_tasks(goal), SGD(PerKind(0.2, 0.2)), steps, PerKind(weights, architecture))
    size = per_kind(weights, architecture)
    assert_agree(arena.theta[0], start[0] + size * (phi - start).mean(dim=0), "formula", torch.float64)


@pytest.mark.parametrize("max_slots", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("optimiser", [CARRY, RESET], ids=["carry", "reset"])
def test_chunks_change_nothing(max_slots, optimiser):
    network, shape = small_networks()["one-shot"]
    objective = network_objective(network)

    def tasks(start, stop):
        return objective, Images(tuple(range(start, stop)), shape)

    whole, parts = arena_of(network, 5), arena_of(network, 5)
    start = whole.theta.clone()
    for _ in range(2):
        a = meta_iteration_(whole, tasks, optimiser, 2, PerKind(1.0, 0.6))
        b = meta_iteration_(parts, tasks, optimiser, 2, PerKind(1.0, 0.6), max_slots=max_slots)
    assert_agree(b.losses, a.losses, "slots, inner loop", torch.float64)
    assert_agree(parts.theta - start, whole.theta - start, "slots, inner loop", torch.float64)
    assert_agree(parts.second, whole.second, "slots, inner loop", torch.float64)
    assert torch.equal(parts.steps, whole.steps)


@pytest.mark.parametrize("name", small_networks())
def test_gaps_stay_0_through_a_meta_iteration(name):
    network, shape = small_networks()[name]
    arena = arena_of(network, 2)
    wide = Arena.single(network.layout, torch.cat([arena.theta[0], torch.zeros(7, dtype=torch.float64)]), 2)
    objective = network_objective(network)
    meta_iteration_(wide, lambda a, b: (objective, Images((a, a + 1), shape)), RESET, 2, PerKind(1.0, 0.6))
    free = torch.cat([gaps(network.layout), torch.ones(7, dtype=torch.bool)])
    assert free.sum() > 7
    for name_, value in (("theta", wide.theta), ("phi", wide.phi), ("second", wide.second)):
        assert not value[:, free].any(), name_
        assert value[:, ~free].any(), name_


def test_warm_up_freezes_the_architecture():
    goal, arena = targets(plain_layout(), 3), arena_with(3, 5)
    before = arena.theta.clone()
    meta_iteration_(arena, quadratic_tasks(goal), CARRY, 2, PerKind(1.0, 0.6), frozen=("architecture",))
    assert torch.equal(arena.theta[:, 16:], before[:, 16:])
    assert not torch.equal(arena.theta[:, :16], before[:, :16])
    assert arena.steps.tolist() == [[2, 2, 0]] * 3


def test_adam_state_goes_on_or_starts_anew():
    goal = targets(plain_layout(), 2)
    for optimiser, steps in ((CARRY, 6), (RESET, 2)):
        arena = arena_with(2)
        for _ in range(3):
            meta_iteration_(arena, quadratic_tasks(goal), optimiser, 2, PerKind(0.5, 0.5))
        assert arena.steps.tolist() == [[steps] * 3] * 2


def test_slots_that_are_not_finite_are_left_out():
    goal, arena, without = targets(plain_layout(), 3, 4), arena_with(3), arena_with(2)
    broken = goal.target.clone()
    broken[1, 2] = torch.inf
    done = meta_iteration_(arena, quadratic_tasks(Targets(broken)), CARRY, 2, PerKind(1.0, 1.0))
    assert done.finite.tolist() == [True, False, True]
    meta_iteration_(without, quadratic_tasks(Targets(goal.target[[0, 2]])), CARRY, 2, PerKind(1.0, 1.0))
    assert_agree(arena.theta, without.theta, "formula", torch.float64)
    assert bool(torch.isfinite(arena.second).all())
    assert_agree(arena.second[1], arena.second[[0, 2]].mean(dim=0), "formula", torch.float64)


def test_a_group_without_a_finite_slot_starts_adam_anew():
    layout = plain_layout()
    goal, theta = targets(layout, 4, 6), targets(layout, 2, 7).target
    broken = goal.target.clone()
    broken[[0, 2], 1] = torch.nan
    broken[3, 0] = torch.inf
    arena = Arena.create([layout], theta.clone(), torch.tensor([1, 0, 1, 0]))
    meta_iteration_(arena, quadratic_tasks(Targets(broken)), CARRY, 3, PerKind(1.0, 1.0))
    assert not arena.second[[0, 2]].any() and not arena.steps[[0, 2]].any()
    assert torch.equal(arena.second[3], arena.second[1]) and arena.steps[[1, 3]].tolist() == [[3, 3, 3], [3, 3, 3]]
    assert torch.equal(arena.theta[1], theta[1])


def test_groups_learn_apart():
    layout = plain_layout()
    goal = targets(layout, 4, 6)
    theta = targets(layout, 2, 7).target
    group = torch.tensor([1, 0, 1, 0])
    arena = Arena.create([layout], theta.clone(), group)
    meta_iteration_(arena, quadratic_tasks(goal), RESET, 2, PerKind(0.7, 0.3))
    for g in (0, 1):
        alone = Arena.single(layout, theta[g].clone(), 2)
        meta_iteration_(alone, quadratic_tasks(Targets(goal.target[group == g])), RESET, 2, PerKind(0.7, 0.3))
        assert_agree(arena.theta[g] - theta[g], (alone.theta - theta[g])[0], "formula", torch.float64)


def test_schedules():
    assert [Schedule(0.6, 0.1, "constant").at(i, 10) for i in (0, 9)] == [0.6, 0.6]
    assert [Schedule(1.0).at(i, 4) for i in range(4)] == [1.0, 0.75, 0.5, 0.25]
    cosine = Schedule(1.0, 0.2, "cosine")
    assert [cosine.at(i, 4) for i in (0, 2, 4)] == pytest.approx([1.0, 0.6, 0.2])
    with pytest.raises(ValueError, match="constant or linear or cosine"):
        Schedule(1.0, shape="step")
