"""Laws that every registered strategy keeps, on made-up accuracies."""

from dataclasses import replace

import numpy as np
import pytest

from autometa.errors import DivergedError
from autometa.nas.spaces.block_space import BlockSpace
from autometa.nas.spaces.space import SPACES
from autometa.nas.strategies.strategy import STRATEGIES
from tests.nas.strategies.landscape import SPEC, accuracy, ended, failed, played

SETTINGS = {"evolution": {"population": 16, "sample": 5}, "surrogate": {"pool": 200}}
NOT_OVER = ("progressive",)
"""Begin with all architectures of one part, whatever the seed, and go on past the budget of these tests."""
NO_BETTER_THAN_CHANCE = (*NOT_OVER, "random", "grid", "halving", "hyperband", "curve-stopping")
"""Or not by what they train last in full."""
SMALL = replace(SPEC, space=BlockSpace(2), budget=48, batch=8)

every = pytest.mark.parametrize("name", STRATEGIES.names())


def made(name):
    return STRATEGIES[name](**SETTINGS.get(name, {}))


@every
def test_what_is_proposed_depends_on_settings_seed_and_history_alone(name):
    strategy = made(name)
    whole = played(strategy, SMALL)
    ends = [n for n in range(1, len(whole)) if whole[n].round != whole[n - 1].round]
    for cut in [ends[len(ends) // 2], ends[-1], ends[0]] if ends else []:
        own = [(t.key, t.fidelity, t.parent, t.mean) for t in whole if t.round == whole[cut].round]
        for asked in (strategy, made(name)):  # one that saw another history last, and one that saw none
            assert [(p.key, p.fidelity, p.parent, p.mean) for p in asked.ask(whole[:cut], SMALL)] == own
    assert played(made(name), SMALL) == whole
    if name not in NOT_OVER:
        other = played(strategy, replace(SMALL, seed=1))
        assert len({trial.key for trial in other} & {trial.key for trial in whole}) < len(whole) / 2


@every
def test_a_search_that_is_cut_off_goes_on_to_the_same_end(name):
    whole = played(made(name), SMALL)
    for cut in (5, 29):  # what was under way when the search was cut off waits again
        own = [trial for trial in whole if trial.round <= whole[cut].round]
        again = [replace(t, state="waiting", accuracy=None, reports={}) if t.id >= cut - 3 else t for t in own]
        assert played(made(name), SMALL, history=again) == whole


@pytest.mark.parametrize("space", SPACES.names())
@every
def test_cells_are_of_the_space_fit_and_come_once(name, space):
    spec = replace(SMALL, space=SPACES[space](2), fits=lambda cell: "a" not in cell.key)
    history = played(made(name), spec)
    assert len(history) >= 20
    for trial in history:
        cell = spec.space.parse(trial.key)
        assert cell.key == trial.key and cell.level <= spec.space.levels and "a" not in trial.key
    first = [trial.key for trial in history if trial.parent is None or history[trial.parent].key != trial.key]
    assert len(first) == len(set(first))


@pytest.mark.parametrize("name", [name for name in STRATEGIES.names() if name not in NOT_OVER])
def test_the_budget_is_spent_and_kept(name):
    strategy = made(name)
    strategy.check(SPEC)
    history, spent = played(strategy), 0
    for trial in history:
        own = trial.parent is not None and history[trial.parent].key == trial.key
        spent += max(trial.reports) - (history[trial.parent].fidelity if own else 0)
    assert 0.9 * SPEC.budget * SPEC.iterations <= spent <= SPEC.budget * SPEC.iterations
    planned = sum(count * share for _, count, share in strategy.workload(SPEC))
    assert spent / SPEC.iterations <= planned + 1e-9


@every
def test_a_small_space_is_used_up(name):
    history = played(made(name), replace(SPEC, space=BlockSpace(1), budget=100))
    assert len({trial.key for trial in history}) == BlockSpace(1).count(1)


@every
def test_failures_are_lived_with_and_a_search_in_which_all_diverge_says_so(name):
    def one_in_three(strategy, trial, history, spec):
        return (failed if trial.id % 3 == 0 else ended)(strategy, trial, history, spec)

    history = played(made(name), SMALL, end=one_in_three)
    assert sum(trial.scored for trial in history) >= 20
    first = [failed(None, trial, [], SMALL) for trial in history if trial.round == 1]
    with pytest.raises(DivergedError, match="came through: diverged"):
        made(name).ask(first, replace(SMALL, budget=480))


def reached(name, seed):
    """The mean accuracy of the last fifth that were trained in full."""
    history = [
        t for t in played(made(name), replace(SPEC, space=BlockSpace(3), budget=64, seed=seed)) if t.state == "done"
    ]
    return np.mean([accuracy(t.key) for t in history[-(len(history) // 5) :]])


@pytest.mark.parametrize("name", [name for name in STRATEGIES.names() if name not in NO_BETTER_THAN_CHANCE])
def test_those_who_learn_beat_chance(name):
    seeds = range(2)
    assert np.mean([reached(name, s) for s in seeds]) > np.mean([reached("random", s) for s in seeds]) + 5


@every
def test_a_line_says_what_it_is(name):
    assert STRATEGIES[name]().name == name and len(STRATEGIES.about(name)) > 40
