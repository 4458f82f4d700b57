"""Rivals: deterministic, resumable, within their budget, and each finds what it looks for."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pytest

from autometa.errors import DivergedError, InputError
from autometa.nas.spaces import blocks
from autometa.nas.spaces.blocks import OPS, BlockCell
from autometa.runs.ledger import Ledger
from autometa.search.rivals import Draws, Evolution, RandomSearch, SurrogateSearch, mutated, random_cell
from autometa.search.workers import Alone


def accuracy(key: str) -> float:
    """The more convolutions the better."""
    return 20.0 + 7.0 * key.count("c") + 0.01 * (sum(map(ord, key)) % 89)


@dataclass
class Counting:
    """A surrogate that has seen the light once it has learned."""

    learned: list = field(default_factory=list)

    def fit(self, cells, accuracies, seed):
        self.learned = list(accuracies)

    def predict(self, cells):
        assert self.learned, "asked before it learned"
        return np.array([accuracy(cell.key) for cell in cells]), np.zeros(len(cells))


def unit(device):
    return lambda keys: [{"key": key, "accuracy": accuracy(key)} for key in keys]


def failing(device):
    return lambda keys: [{"key": key, "failure": "diverged"} for key in keys]


def rival(kind, ledger, seed=0, candidates=60):
    common = (ledger, 4, candidates, 8, seed)
    if kind == "random":
        return RandomSearch(*common)
    if kind == "evolution":
        return Evolution(*common, population=16, sample=5)
    return SurrogateSearch(*common, surrogate=Counting, per_round=15, pool=200)


KINDS = ("random", "evolution", "surrogate")


def played(path, kind, stops=10**9, work=unit, **options):
    """Rows after a search, cut off and begun anew after every `stops` batches."""
    while True:
        with Ledger.open(path) as ledger, Alone(ledger, work) as alone:
            search, batches = rival(kind, ledger, **options), 0
            while search.advance():
                alone.turn()
                batches += 1
                if batches == stops:
                    break
            else:
                return ledger.outcomes()


@pytest.mark.parametrize("kind", KINDS)
def test_as_many_different_cells_as_asked_for(tmp_path, kind):
    rows = played(tmp_path / "ledger", kind)
    assert len(rows) == 60 and {row.state for row in rows} == {"done"}
    cells = [BlockCell.parse(row.key) for row in rows]
    assert all(cell.level == 4 and cell.key == row.key for cell, row in zip(cells, rows, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_seeds_decide_and_interruptions_do_not(tmp_path, kind):
    def keys(name, **options):
        return [(row.level, row.key, row.predicted_mean) for row in played(tmp_path / name, kind, **options)]

    whole = keys("whole")
    assert keys("cut", stops=1) == whole
    assert keys("cut in threes", stops=3) == whole
    other = keys("other", seed=1)
    assert len({key for _, key, _ in other} & {key for _, key, _ in whole}) < 10


def test_those_who_learn_beat_chance(tmp_path):
    late = {}
    for kind in KINDS:
        rows = played(tmp_path / kind, kind, candidates=100)
        late[kind] = np.mean([row.accuracy for row in rows[-20:]])
    assert late["evolution"] > late["random"] + 5 and late["surrogate"] > late["random"] + 5, late


def test_a_round_of_evolution_comes_from_the_youngest(tmp_path):
    with Ledger.open(tmp_path / "ledger") as ledger, Alone(ledger, unit) as alone:
        search = Evolution(ledger, 4, 60, 8, 0, population=16, sample=64)
        while search.advance():
            alone.turn()
        rows = ledger.outcomes()
    assert [level.candidates for level in ledger_levels(tmp_path / "ledger")] == [16, 8, 8, 8, 8, 8, 4]
    for level in range(2, 8):
        before = [row for row in rows if row.level < level][-16:]
        best = max(before, key=lambda row: row.accuracy)
        own = [row for row in rows if row.level == level]
        # 64 draws of 16 all but surely hold the best one; most children are one mutation from it
        near = sum(shared(best.key, row.key) for row in own)
        assert near >= len(own) / 2, (level, best.key, [row.key for row in own])


def shared(parent, child):
    """Whether all but one of the ops are the same, or the ops are (a state was changed)."""
    ops = [Counter(letter for letter in key if letter in blocks.LETTERS) for key in (parent, child)]
    return sum((ops[0] - ops[1]).values()) <= 1


def ledger_levels(path):
    with Ledger.open(path) as ledger:
        return ledger.levels()


def test_a_small_space_is_used_up_once(tmp_path):
    with Ledger.open(tmp_path / "ledger") as ledger, Alone(ledger, unit) as alone:
        search = RandomSearch(ledger, 1, 100, 8, 0)
        while search.advance():
            alone.turn()
        assert {row.key for row in ledger.outcomes()} == {cell.key for cell in blocks.level_one()}


def test_random_cells_use_every_op_and_state():
    cells = [random_cell(3, Draws(7, n)) for n in range(400)]
    operands = Counter((o.op, o.state) for c in cells for b in c.blocks for o in (b.first, b.second))
    assert set(operands) == {(op, state) for op in range(len(OPS)) for state in range(4)}
    ops = Counter(op for op, _ in operands.elements())
    assert max(ops.values()) < 1.3 * min(ops.values())
    assert len({c.key for c in cells}) > 390


def test_a_mutation_changes_one_operand():
    parent, kinds = random_cell(5, Draws(1, 0)), Counter()
    for n in range(200):
        child = mutated(parent, Draws(2, n))
        ops = [Counter(o.op for b in c.blocks for o in (b.first, b.second)) for c in (parent, child)]
        changed = sum((ops[0] - ops[1]).values())
        assert changed in (0, 1) and child.level == 5
        kinds[changed] += 1
    assert min(kinds.values()) > 60


def test_a_search_in_which_all_diverge_says_so(tmp_path):
    with pytest.raises(DivergedError, match="none of 16 candidates came through: diverged"):
        played(tmp_path / "ledger", "evolution", work=failing)


def test_settings_that_cannot_be_are_refused(tmp_path):
    with Ledger.open(tmp_path / "ledger") as ledger:
        with pytest.raises(InputError, match="smaller than its 10 candidates"):
            Evolution(ledger, 4, 10, 8, 0, population=10)
        with pytest.raises(InputError, match="a round of 20 cells cannot be chosen among 10"):
            SurrogateSearch(ledger, 4, 60, 8, 0, surrogate=Counting, per_round=20, pool=10)
