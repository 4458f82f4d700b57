"""Strategies of several lengths of training: brackets of Hyperband, and stopping by predicted curves."""

from dataclasses import replace

import pytest

from autometa.errors import InputError
from autometa.nas.spaces.block_space import BlockSpace
from autometa.nas.strategies.curve_stopping import CurveStopping
from autometa.nas.strategies.halving import SuccessiveHalving, cost
from autometa.nas.strategies.hyperband import Hyperband
from tests.nas.strategies.landscape import SPEC, accuracy, failed, played

SMALL = replace(SPEC, space=BlockSpace(2))


class TestHyperband:
    def test_brackets_of_equal_cost_from_short_to_full_trainings(self):
        spec = replace(SMALL, budget=90)
        plan, brackets = Hyperband().plan(spec), []
        for rung in plan:
            brackets += [[rung]] if rung.first else []
            if not rung.first:
                brackets[-1].append(rung)
        assert [[rung.fidelity for rung in own] for own in brackets] == [[10, 30, 90], [30, 90], [90]]
        assert all(abs(cost(own) - 30 * 90) <= 90 for own in brackets) and brackets[2][0].count == 30
        assert Hyperband(rungs=1).plan(spec) == SuccessiveHalving(rungs=1).plan(spec)

    def test_every_bracket_begins_with_new_cells_and_halves_them(self):
        history = played(Hyperband(passes=2), SMALL)
        new = [trial.key for trial in history if trial.parent is None]
        assert len(new) == len(set(new))
        for trial in history:
            if trial.parent is not None:
                parent = history[trial.parent]
                assert (parent.key, parent.round, parent.fidelity) == (trial.key, trial.round - 1, trial.fidelity // 3)

    def test_a_bracket_in_which_all_fail_is_left(self):
        strategy = Hyperband()
        one = [trial for trial in played(strategy, SMALL) if trial.round == 1]
        survivor = replace(one[0], state="paused", accuracy=1.0, reports={10: 1.0})
        dead = [failed(strategy, t, [], SMALL) for t in one[1:]]
        after = [survivor, *dead]
        (only,) = strategy.ask(after, SMALL)
        assert only.parent == 0 and only.fidelity == 30
        gone = replace(survivor, id=len(after), round=2, place=0, state="failed", accuracy=None, failure="diverged")
        begun = strategy.ask([*after, gone], SMALL)
        assert len(begun) > 1 and {p.fidelity for p in begun} == {30} and {p.parent for p in begun} == {None}

    def test_wrong_settings(self):
        with pytest.raises(InputError, match="30 passes do not fit in 60"):
            Hyperband(passes=30).check(SPEC)
        with pytest.raises(InputError, match="1 passes do not fit in 2"):
            Hyperband().check(replace(SPEC, budget=2))


class TestCurveStopping:
    def test_what_cannot_beat_the_best_is_stopped_and_pays_for_more(self):
        history = played(CurveStopping(), SMALL)
        done = [trial for trial in history if trial.state == "done"]
        stopped = [trial for trial in history if trial.state == "stopped"]
        assert len(history) > 80 and len(stopped) > 40 and all(trial.round > 1 for trial in stopped)
        assert max(accuracy(trial.key) for trial in stopped) <= max(accuracy(trial.key) for trial in done)

    def test_earlier_rounds_alone_decide(self):
        strategy = CurveStopping()
        history = played(strategy, SMALL)
        trial = next(trial for trial in history if trial.state == "stopped")
        before = [own for own in history if own.round < trial.round]
        beside = [own for own in history if own.round == trial.round and own.id != trial.id]
        asked = replace(trial, state="claimed", accuracy=None)
        verdicts = [strategy.judge(asked, seen, SMALL) for seen in (before, history, [*before, *beside])]
        assert len(set(verdicts)) == 1

    def test_nothing_is_stopped_before_enough_is_known(self):
        strategy = CurveStopping()
        history = played(strategy, SMALL)
        trial = next(trial for trial in history if trial.state == "stopped")
        assert strategy.judge(trial, history[:7], SMALL).value == "go"
        with pytest.raises(InputError, match="first of 8 or more"):
            CurveStopping(first=3).check(SPEC)
