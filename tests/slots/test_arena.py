"""The arena and initialisation."""

from __future__ import annotations

import math

import pytest
import torch

from autometa.slots.arena import Arena, steps_by_kind
from autometa.slots.init import convolution_init, fan_in_uniform, glorot, initial_row
from autometa.slots.layout import Init, LayoutBuilder
from autometa.slots.statistics import BatchStatistics, Given, Recorder
from tests.slots.test_layout import build


def long_layout(rule, value=0.0, size=20000):
    builder = LayoutBuilder()
    builder.block("a")
    builder.add("x", (3,), Init("constant", 2.5))
    builder.add("y", (size,), Init(rule, value))
    return builder.build()


def test_slots_start_at_their_groups_theta():
    layouts = [build([(3,)], [(2,)]), build([(40,)], [(5,)])]
    theta = torch.randn(3, 64)
    arena = Arena.create(layouts, theta, torch.tensor([2, 0, 1, 2]), torch.tensor([0, 1, 1]))
    assert torch.equal(arena.phi, theta[[2, 0, 1, 2]])
    assert arena.layout_of_slot.tolist() == [1, 0, 1, 1]
    assert arena.bounds.tolist() == [[0, 16, 16, 32], [0, 48, 48, 64]]
    assert (arena.slots, arena.groups) == (4, 3)
    assert not arena.second.any() and arena.steps.shape == (4, 3)
    with pytest.raises(ValueError, match="64 or more"):
        Arena.create(layouts, torch.zeros(3, 32), torch.tensor([0]))


def test_reload_and_reset():
    arena = Arena.single(build([(3,)]), torch.arange(16.0), 2)
    arena.phi.add_(1.0)
    arena.second.fill_(3.0)
    arena.steps.fill_(4)
    arena.reload_()
    assert torch.equal(arena.phi, torch.arange(16.0).expand(2, 16))
    assert arena.second.min() == 3.0 and arena.steps.min() == 4
    arena.reset_moments_()
    assert not arena.second.any() and not arena.steps.any()


def test_a_part_shares_memory():
    arena = Arena.single(build([(3,)]), torch.zeros(16), 5)
    part = arena.part(1, 3)
    part.phi.fill_(1.0)
    part.steps.fill_(2)
    assert arena.phi[:, 0].tolist() == [0, 1, 1, 0, 0] and arena.steps[:, 0].tolist() == [0, 2, 2, 0, 0]
    assert part.theta is arena.theta and part.slots == 2


def test_initial_rows_depend_on_seed_and_entry_alone():
    layout = long_layout("normal", 0.1)
    row = initial_row(layout, 5)
    assert torch.equal(row, initial_row(layout, 5))
    assert not torch.equal(row, initial_row(layout, 6))
    assert torch.equal(initial_row(long_layout("normal", 0.1, 100), 5)[16:116], row[16:116])
    assert row[:3].tolist() == [2.5] * 3 and not row[3:16].any()


@pytest.mark.parametrize("rule, deviation", [("normal", 0.1), ("uniform", 0.1 / math.sqrt(3))])
def test_moments_of_the_random_rules(rule, deviation):
    values = initial_row(long_layout(rule, 0.1), 1, torch.float64)[16:20016]
    assert abs(float(values.mean())) < 4 * deviation / math.sqrt(20000)
    assert float(values.std()) == pytest.approx(deviation, rel=0.03)
    assert rule == "normal" or float(values.abs().max()) <= 0.1
    assert len(torch.unique(values)) > 19990


def test_bounds_of_the_rules():
    assert glorot(10, 14).value == 0.5
    assert fan_in_uniform(16).value == 0.25
    assert convolution_init((8, 4, 3, 3), "glorot") == glorot(36, 72)
    assert convolution_init((8, 1, 5, 5), "fan_in") == fan_in_uniform(25)
    with pytest.raises(ValueError, match="choose glorot or fan_in"):
        convolution_init((1, 1), "he")
    with pytest.raises(ValueError, match="unknown initialisation"):
        initial_row(long_layout("sobol"), 0)


def test_statistics_are_replayed_in_order():
    batch, recorder = BatchStatistics(), Recorder()
    assert batch.take() is None and not batch.record
    first, second = torch.zeros(1), None
    recorder.keep(first)
    recorder.keep(second)
    assert recorder.record and recorder.take() is None
    given = Given(recorder.kept)
    assert given.take() is first and given.take() is None and not given.record


def test_step_counts_of_earlier_versions_are_read():
    """They counted weights, the head among them, and architecture."""
    assert steps_by_kind(torch.tensor([[7, 3], [9, 1]])).tolist() == [[7, 7, 3], [9, 9, 1]]
    assert steps_by_kind(torch.tensor([5, 6, 7])).tolist() == [5, 6, 7]
