"""Search strategies: pure in settings, seed and history, within their budget, and each finds what it looks for."""

from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from autometa.errors import DivergedError, InputError
from autometa.nas.spaces import blocks
from autometa.nas.spaces.block_space import BlockSpace
from autometa.nas.spaces.blocks import OPS, BlockCell
from autometa.nas.spaces.draws import Draws
from autometa.nas.strategies.evolution import RegularisedEvolution
from autometa.nas.strategies.halving import SuccessiveHalving
from autometa.nas.strategies.progressive import Progressive
from autometa.nas.strategies.random import RandomSearch
from autometa.nas.strategies.strategy import STRATEGIES, SearchSpec, Trial, Verdict
from autometa.nas.strategies.surrogate import SurrogateSearch

SPACE = BlockSpace(4)


def accuracy(key: str) -> float:
    """The more convolutions the better."""
    return 20.0 + 7.0 * key.count("c") + 0.01 * (sum(map(ord, key)) % 89)


@dataclass
class Counting:
    """A predictor that knows the answer once it has learned."""

    learned: list = field(default_factory=list)

    def fit(self, cells, accuracies, seed):
        self.learned = list(accuracies)

    def predict(self, cells):
        assert self.learned, "asked before it learned"
        return np.array([accuracy(cell.key) for cell in cells]), np.zeros(len(cells))


SPEC = SearchSpec(SPACE, 60, beam=15, batch=8, iterations=90, predictor=Counting)
KINDS = {
    "random": RandomSearch(),
    "evolution": RegularisedEvolution(population=16, sample=5),
    "surrogate": SurrogateSearch(pool=200),
}
EVERY = KINDS | {"progressive": Progressive(), "halving": SuccessiveHalving()}


def ended(trial: Trial, spec: SearchSpec) -> Trial:
    paused = trial.fidelity is not None and trial.fidelity < spec.iterations
    return replace(trial, state="paused" if paused else "done", accuracy=accuracy(trial.key))


def played(strategy, spec=SPEC, end=ended, history=()):
    """The history of a search to its end, from a history of before."""
    history = list(history)
    while True:
        waiting = [n for n, trial in enumerate(history) if not trial.ended]
        for n in waiting[: spec.batch]:
            history[n] = end(history[n], spec)
        proposals = strategy.ask(history, spec)
        if not proposals and not any(not trial.ended for trial in history):
            return history
        number = history[-1].round + 1 if history else 1
        history += [
            Trial(len(history) + k, number, k, p.key, "waiting", p.fidelity, p.parent, p.mean, p.std)
            for k, p in enumerate(proposals)
        ]


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


@pytest.mark.parametrize("kind", EVERY)
def test_seeds_decide_and_interruptions_do_not(kind):
    whole = played(EVERY[kind])
    for cut in (1, 9, 31, 47):  # what was under way when the search was cut off waits again
        before = [
            replace(trial, state="waiting", accuracy=None) if n >= cut - 3 else trial
            for n, trial in enumerate(t for t in whole if t.round <= whole[cut].round)
        ]
        assert played(EVERY[kind], history=before) == whole
    other = played(EVERY[kind], replace(SPEC, seed=1))
    if kind != "progressive":
        assert len({trial.key for trial in other} & {trial.key for trial in whole}) < 20


def test_those_who_learn_beat_chance():
    late = {}
    for kind, strategy in KINDS.items():
        history = played(strategy, replace(SPEC, budget=100))
        late[kind] = np.mean([trial.accuracy for trial in history[-20:]])
    assert late["evolution"] > late["random"] + 5 and late["surrogate"] > late["random"] + 5, late


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


def test_a_small_space_is_used_up_once():
    history = played(RandomSearch(), replace(SPEC, space=BlockSpace(1), budget=100))
    assert {trial.key for trial in history} == {cell.key for cell in blocks.level_one()}


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
        lengths = SuccessiveHalving().fidelities(SPEC)
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
        assert strategy.judge(trial, SPEC) is Verdict.GO
        assert strategy.judge(replace(trial, reports={5: 40.0}), SPEC) is Verdict.GO
        assert strategy.judge(replace(trial, reports={5: 40.0, 10: 50.0}), SPEC) is Verdict.PAUSE
        assert strategy.judge(replace(trial, fidelity=90, reports={90: 50.0}), SPEC) is Verdict.GO

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
    assert rows.shape == (50, 48) and (rows[:, 40:45].sum(axis=1) == 4).all()
    assert (rows[:, 46] == [cell.depth for cell in cells]).all()


def test_a_search_in_which_all_diverge_says_so():
    failing = lambda trial, spec: replace(trial, state="failed", failure="diverged")  # noqa: E731
    with pytest.raises(DivergedError, match="none of 16 candidates came through: diverged"):
        played(RegularisedEvolution(population=16), end=failing)


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="smaller than its 10 candidates"):
        RegularisedEvolution(population=10).check(replace(SPEC, budget=10))
    with pytest.raises(InputError, match="a round of 20 cells cannot be chosen among 10"):
        SurrogateSearch(pool=10).check(replace(SPEC, beam=20))


def test_every_strategy_is_registered_with_a_line_about_it():
    assert STRATEGIES.names() == ("progressive", "random", "evolution", "surrogate")
    for name in STRATEGIES:
        assert STRATEGIES[name]().name == name and len(STRATEGIES.about(name)) > 40
