"""Search strategies: pure in settings, seed and history, within their budget, and each finds what it looks for."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from autometa.errors import InputError
from autometa.nas.spaces import blocks
from autometa.nas.spaces.block_space import BlockSpace
from autometa.nas.spaces.blocks import OPS, BlockCell
from autometa.nas.spaces.draws import STREAM, Draws
from autometa.nas.strategies.evolution import RegularisedEvolution
from autometa.nas.strategies.halving import SuccessiveHalving
from autometa.nas.strategies.progressive import Progressive
from autometa.nas.strategies.random import RandomSearch
from autometa.nas.strategies.strategy import Trial, Verdict
from autometa.nas.strategies.surrogate import SurrogateSearch
from autometa.ops.philox import bounded, philox_uint32
from tests.nas.strategies.landscape import SPEC, played

KINDS = {
    "random": RandomSearch(),
    "evolution": RegularisedEvolution(population=16, sample=5),
    "surrogate": SurrogateSearch(pool=200),
}
EVERY = KINDS | {"progressive": Progressive(), "halving": SuccessiveHalving()}


@pytest.mark.parametrize("kind", KINDS)
def test_as_many_different_cells_as_asked_for(kind):
    history = played(KINDS[kind])
    assert len(history) == 60 and {trial.state for trial in history} == {"done"}
    cells = [BlockCell.parse(trial.key) for trial in history]
    assert all(cell.level == 4 and cell.key == trial.key for cell, trial in zip(cells, history, strict=True))


@pytest.mark.parametrize("kind", EVERY)
def test_rounds_are_as_planned(kind):
    history = played(EVERY[kind])
    sizes = [count for _, count in sorted(Counter(trial.round for trial in history).items())]
    assert tuple(sizes) == EVERY[kind].rounds(SPEC)


def test_a_round_of_evolution_comes_from_the_youngest():
    history = played(RegularisedEvolution(population=16, sample=64))
    sizes = [count for _, count in sorted(Counter(trial.round for trial in history).items())]
    assert sizes == [16, 8, 8, 8, 8, 8, 4]
    for number in range(2, 8):
        before = [trial for trial in history if trial.round < number][-16:]
        best = max(before, key=lambda trial: trial.accuracy)
        own = [trial for trial in history if trial.round == number]
        # 64 draws of 16 all but surely hold the best one; most children are one mutation from it
        near = sum(shared(best.key, trial.key) for trial in own)
        assert near >= len(own) / 2, (number, best.key, [trial.key for trial in own])


def shared(parent, child):
    """Whether all but one of the ops are the same, or the ops are (a state was changed)."""
    ops = [Counter(letter for letter in key if letter in blocks.LETTERS) for key in (parent, child)]
    return sum((ops[0] - ops[1]).values()) <= 1


def test_progression_goes_on_from_what_was_trained():
    history = played(Progressive())
    for level in (2, 3, 4):
        before = {trial.key for trial in history if trial.round == level - 1}
        own = [trial for trial in history if trial.round == level]
        assert all(before & {parent.key for parent in BlockCell.parse(trial.key).parents()} for trial in own)
        assert [trial.mean for trial in own] == sorted((trial.mean for trial in own), reverse=True)


class TestHalving:
    def test_the_best_of_each_rung_go_on_from_their_checkpoints(self):
        history = played(SuccessiveHalving())
        lengths = tuple(rung.fidelity for rung in SuccessiveHalving().plan(SPEC))
        assert lengths == (10, 30, 90)
        for rung in (1, 2, 3):
            own = [trial for trial in history if trial.round == rung]
            assert {trial.fidelity for trial in own} == {lengths[rung - 1]}
            assert {trial.state for trial in own} == {"done" if rung == 3 else "paused"}
            if rung == 1:
                assert all(trial.parent is None for trial in own)
                continue
            parents = [history[trial.parent] for trial in own]
            assert [p.key for p in parents] == [trial.key for trial in own] and {p.round for p in parents} == {rung - 1}
            left = [trial.accuracy for trial in history if trial.round == rung - 1 and trial not in parents]
            assert max(left) <= min(p.accuracy for p in parents)

    @pytest.mark.parametrize("eta, rungs", [(2, 2), (3, 3), (4, 3), (3, 1)])
    def test_the_budget_is_spent_and_kept(self, eta, rungs):
        strategy, spent = SuccessiveHalving(eta, rungs), 0
        history = played(strategy)
        for trial in history:
            spent += trial.fidelity - (history[trial.parent].fidelity if trial.parent is not None else 0)
        assert 0.9 * 60 * 90 <= spent <= 60 * 90
        assert sum(n * share * 90 for _, n, share in strategy.workload(SPEC)) == pytest.approx(spent)

    def test_a_trial_pauses_at_its_fidelity(self):
        strategy, trial = SuccessiveHalving(), Trial(0, 1, 0, "0c0m", "claimed", fidelity=10)
        assert strategy.judge(trial, [], SPEC) is Verdict.GO
        assert strategy.judge(replace(trial, reports={5: 40.0}), [], SPEC) is Verdict.GO
        assert strategy.judge(replace(trial, reports={5: 40.0, 10: 50.0}), [], SPEC) is Verdict.PAUSE
        assert strategy.judge(replace(trial, fidelity=90, reports={90: 50.0}), [], SPEC) is Verdict.GO

    def test_wrong_settings(self):
        with pytest.raises(InputError, match="eta of 2 or more"):
            SuccessiveHalving(eta=1).check(SPEC)
        with pytest.raises(InputError, match="cannot be cut into 6 rungs by 3"):
            SuccessiveHalving(rungs=6).check(SPEC)


def test_random_cells_use_every_op_and_state():
    cells = [BlockSpace(3).sample(Draws(7, n)) for n in range(400)]
    operands = Counter((o.op, o.state) for c in cells for b in c.blocks for o in (b.first, b.second))
    assert set(operands) == {(op, state) for op in range(len(OPS)) for state in range(4)}
    ops = Counter(op for op, _ in operands.elements())
    assert max(ops.values()) < 1.3 * min(ops.values())
    assert len({c.key for c in cells}) > 390


def test_a_mutation_changes_one_operand_and_gives_a_neighbour():
    space = BlockSpace(5)
    parent, kinds = space.sample(Draws(1, 0)), Counter()
    neighbours = {cell.key for cell in space.neighbours(parent)}
    assert parent.key not in neighbours and len(neighbours) > 40
    for n in range(200):
        child = space.mutate(parent, Draws(2, n))
        ops = [Counter(o.op for b in c.blocks for o in (b.first, b.second)) for c in (parent, child)]
        changed = sum((ops[0] - ops[1]).values())
        assert changed in (0, 1) and child.level == 5 and child.key in neighbours | {parent.key}
        kinds[changed] += 1
    assert min(kinds.values()) > 60


def test_features_tell_cells_apart_and_count_ops():
    space = BlockSpace(2)
    cells = [space.sample(Draws(3, n)) for n in range(50)]
    rows = space.encode(cells)
    assert rows.shape == (50, 20) and np.allclose(np.square(rows[:, :5]).sum(axis=1), 4)
    assert (rows[:, 19] == [cell.depth for cell in cells]).all()


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="smaller than its 10 candidates"):
        RegularisedEvolution(population=10).check(replace(SPEC, budget=10))
    with pytest.raises(InputError, match="a round of 20 cells cannot be chosen among 10"):
        SurrogateSearch(pool=10).check(replace(SPEC, beam=20))


def test_draws_are_those_of_philox_and_follow_weights():
    for seed, item in ((0, 0), (7, 12345), (2**32 - 1, 2**40 + 3)):
        draws, numbers = Draws(seed, item), philox_uint32(seed, STREAM, item, range(9))
        assert [draws.below(1000) for _ in range(9)] == bounded(numbers, 1000).tolist()
    often = Counter(Draws(3, n).weighted((1, 0, 3)) for n in range(400))
    assert set(often) == {0, 2} and 2.2 < often[2] / often[0] < 4
    assert Draws(3, 9).shuffled(range(9)) != list(range(9)) and sorted(Draws(3, 9).shuffled(range(9))) == list(range(9))


def test_choices_make_the_cell_they_are_of():
    space = BlockSpace(3)
    assert space.decisions(2) == (5, 2, 5, 2, 5, 3, 5, 3)
    for n in range(50):
        cell = space.sample(Draws(4, n))
        choices = space.choices(cell)
        assert space.decide(choices).key == cell.key
        assert all(0 <= chosen < options for chosen, options in zip(choices, space.decisions(3), strict=True))
