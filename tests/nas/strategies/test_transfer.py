"""Regressions on shared features, and Hyperband that chooses by them what it begins with."""

from dataclasses import replace

import numpy as np
import pytest

from autometa.nas.predictors.shared_bases import SharedBases
from autometa.nas.spaces.block_space import BlockSpace
from autometa.nas.strategies.random import RandomSearch
from autometa.nas.strategies.transfer import TransferHyperband, tasks
from tests.nas.strategies.landscape import SPEC, accuracy, played

SMALL = replace(SPEC, space=BlockSpace(2))


def curved(x, scale):
    return scale * np.sin(2 * x[:, 0]) + 5


class TestSharedBases:
    x = np.random.Generator(np.random.Philox(3)).uniform(-1, 1, (60, 3))

    def test_what_one_task_shows_helps_another(self):
        """A task of 6 points is predicted better beside one of 60 that has the same shape at another scale."""
        few, errors = self.x[:6], []
        for beside in ([], [(self.x, curved(self.x, 10.0))]):
            model = SharedBases()
            model.fit([(few, curved(few, 0.1)), *beside], seed=1)
            generator = np.random.Generator(np.random.Philox(5))
            mean = np.mean([model.drawn(0, self.x, generator) for _ in range(50)], axis=0)
            errors.append(float(np.abs(mean - curved(self.x, 0.1)).mean()))
        assert errors[1] < 0.5 * errors[0], errors

    def test_functions_spread_where_nothing_was_measured(self):
        near = np.abs(self.x[:, 0]) < 0.3
        model, generator = SharedBases(), np.random.Generator(np.random.Philox(5))
        noise = 0.05 * generator.standard_normal(near.sum())
        model.fit([(self.x[near], curved(self.x[near], 1.0) + noise)], seed=1)
        drawn = np.array([model.drawn(0, self.x, generator) for _ in range(50)]).std(axis=0)
        assert drawn[np.abs(self.x[:, 0]) > 0.8].mean() > 1.5 * drawn[near].mean()

    def test_seeds_decide(self):
        made = []
        for seed in (1, 1, 2):
            model = SharedBases(steps=5)
            model.fit([(self.x, curved(self.x, 1.0))], seed)
            made.append(model.drawn(0, self.x, np.random.Generator(np.random.Philox(5))))
        assert (made[0] == made[1]).all() and (made[0] != made[2]).any()

    def test_nothing_to_learn_from(self):
        with pytest.raises(ValueError, match="need tasks with measurements"):
            SharedBases().fit([], 0)


def test_brackets_begin_with_better_cells_the_more_is_known():
    history = played(TransferHyperband(), SMALL)
    starts = {n: [t for t in history if t.round == n and t.parent is None] for n in (1, 7)}
    mean = {n: np.mean([accuracy(t.key) for t in own]) for n, own in starts.items()}
    assert starts[1][0].fidelity == starts[7][0].fidelity == 10 and mean[7] > mean[1] + 5


def test_earlier_searches_are_learned_from():
    past = played(RandomSearch(), replace(SMALL, seed=9))
    first, plain = (TransferHyperband().ask([], spec) for spec in (replace(SMALL, earlier=(past,)), SMALL))
    mean, chance = (np.mean([accuracy(p.key) for p in own]) for own in (first, plain))
    assert len(first) == len(plain) and mean > chance + 5
    assert set(tasks(past, SMALL)) == {90} and tasks(past[:3], SMALL) == {}
