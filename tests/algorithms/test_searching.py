"""Searches of a table: strategies see what it holds and nothing else, and confine themselves to what is there."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from autometa.algorithms.table import packed
from autometa.algorithms.table.searching import BLOCKS, TabledSpace, check_choices, search_table
from autometa.algorithms.table.spec import OMNIGLOT, all_cells
from autometa.api.settings import settle
from autometa.errors import InputError
from autometa.nas.spaces.block_space import BlockSpace
from autometa.nas.spaces.draws import Draws
from autometa.nas.spaces.finite import FiniteSpace
from autometa.nas.strategies.evolution import RegularisedEvolution
from autometa.nas.strategies.halving import SuccessiveHalving
from autometa.nas.strategies.progressive import Progressive
from autometa.nas.strategies.random import RandomSearch
from autometa.nas.strategies.strategy import DONE, PAUSED
from autometa.search.simulated import simulate, steps
from tests.algorithms.made_table import made_table
from tests.cli.driving import call

LIGHT = {"surrogate.kind": "mlp", "surrogate.members": 1, "surrogate.epochs": 5}


@pytest.fixture(scope="module")
def whole() -> TabledSpace:
    return TabledSpace(made_table())


@pytest.fixture(scope="module")
def part() -> TabledSpace:
    return TabledSpace(made_table(cells=400))


def test_a_whole_finite_space_is_the_space():
    whole, finite = BlockSpace(BLOCKS), FiniteSpace(BlockSpace(BLOCKS), all_cells())
    keys = [whole.sample(Draws(1, n)).key for n in range(40)]
    assert [finite.sample(Draws(1, n)).key for n in range(40)] == keys
    cells = [whole.parse(key) for key in keys]
    assert [finite.mutate(c, Draws(2, n)).key for n, c in enumerate(cells)] == [
        whole.mutate(c, Draws(2, n)).key for n, c in enumerate(cells)
    ]
    assert [c.key for c in finite.neighbours(cells[0])] == [c.key for c in whole.neighbours(cells[0])]
    beam = list(whole.first())[:6]
    assert sorted(c.key for c in finite.expand(beam)) == sorted(c.key for c in whole.expand(beam))
    own = [c.key for parent in beam for c in finite.expand(beam, [parent.key])]
    assert sorted(own) == sorted(c.key for c in finite.expand(beam)), "each parent's own, each once"
    assert np.array_equal(finite.encode(cells), whole.encode(cells))
    assert [finite.count(n) for n in (1, 2)] == [55, 5115] and finite.count(2) == whole.count(2)


def test_a_part_gives_cells_of_the_part_alone(part):
    space, keys = part.space, set(part.keys)
    drawn = [space.sample(Draws(0, n)) for n in range(200)]
    assert {c.key for c in drawn} <= keys and len({c.key for c in drawn}) > 100
    assert {c.level for c in drawn} == {2} and all(
        space.mutate(c, Draws(1, n)).key in keys for n, c in enumerate(drawn)
    )
    assert {c.key for c in space.expand(list(BlockSpace(1).first()))} == {k for k in keys if all_cells()[k].level == 2}
    few = FiniteSpace(BlockSpace(BLOCKS), all_cells(), ["0c0m|2i1a"])
    assert few.sample(Draws(0, 0)).key == few.mutate(few.parse("0c0m|2i1a"), Draws(0, 1)).key == "0c0m|2i1a"
    assert list(few.first()) == [] and few.neighbours(few.parse("0c0m|2i1a")) == []


@pytest.mark.parametrize("strategy", [RandomSearch(), RegularisedEvolution(10, 5), Progressive()], ids=lambda s: s.name)
def test_strategies_see_the_table_and_nothing_else(part, strategy):
    config = settle(part.config(), None, {**LIGHT, "beam": 30, "seed": 3})
    spec = part.spec(config)
    history = part.run(strategy, spec)
    assert 0 < len(history) <= spec.budget and len({t.key for t in history}) == len(history)
    for trial in history:
        cell = part.cells[trial.key]
        assert trial.state == DONE and trial.accuracy == cell.accuracy and trial.parameters == cell.parameters
        assert trial.seconds == pytest.approx(cell.seconds[-1]) and trial.reports == {spec.iterations: cell.accuracy}
    assert history == part.run(strategy, spec), "pure"
    way = steps(history, spec.iterations)
    assert way[-1].trainings == len(history) and way[-1].seconds == pytest.approx(sum(t.seconds for t in history))
    assert part.cells[way[-1].key].accuracy == max(t.accuracy for t in history)


def test_fidelities_are_points_of_the_curve(whole):
    """A rung goes on from the last one: its seconds and meta-iterations are what it adds."""
    spec = whole.spec(settle(whole.config(), None, {**LIGHT, "beam": 1}))
    strategy = SuccessiveHalving(eta=2, rungs=3)
    history = simulate(strategy, spec, whole.curve)
    rungs = [[t for t in history if t.round == r] for r in (1, 2, 3)]
    assert [set(t.reports) for t in (rungs[0][0], rungs[2][0])] == [
        {spec.iterations // 4},
        {spec.iterations // n for n in (4, 2, 1)},
    ]
    assert {t.state for t in rungs[0]} == {PAUSED} and {t.state for t in rungs[2]} == {DONE}
    trial = rungs[1][0]
    curve = whole.curve(trial.key)
    assert trial.accuracy == whole.cells[trial.key].validation[2]
    assert trial.seconds == pytest.approx(curve.training[2] - curve.training[1] + curve.scoring[2])
    way = steps(history, spec.iterations)
    assert way[-1].trainings <= spec.budget and way[len(rungs[0]) - 1].trainings == len(rungs[0]) / 4
    assert way[-1].key == max(rungs[2], key=lambda t: t.accuracy).key
    between = simulate(SuccessiveHalving(eta=3, rungs=2), spec, whole.curve)
    assert set(between[0].reports) == {spec.iterations // 2}, "66 meta-iterations: up to the next point"


def test_limits_and_choices(whole):
    config = settle(whole.config(), None, {**LIGHT, "strategy": "random", "beam": 20, "max_params": 5000})
    assert {t.parameters <= 5000 for t in whole.run(config.strategy, whole.spec(config))} == {True}
    with pytest.raises(InputError, match="--inner.lr cannot be chosen"):
        check_choices(["seed", "surrogate.kind", "inner.lr"])


def test_a_table_without_seconds_or_small_cells(part):
    bare = TabledSpace(replace(part.table, kept=replace(part.table.kept, costs=None)))
    config = settle(bare.config(), None, {**LIGHT, "strategy": "random", "beam": 5})
    assert math.isnan(search_table(bare, config)["seconds"])
    large = TabledSpace(part.table, [key for key in part.keys if all_cells()[key].level == 2])
    with pytest.raises(InputError, match="progressive finds nothing to begin with among the 39[0-9] cells"):
        search_table(large, settle(large.config(), None, LIGHT))


def test_the_command(part, tmp_path):
    path = tmp_path / "part.safetensors"
    packed.write(path, OMNIGLOT, [(row, {}) for row in part.table.kept.rows], part.table.kept.costs)
    words = ("search", "auto-meta", "--table", str(path), "--strategy", "random", "--beam", "30")
    answer = call(*words)
    assert answer.code == 0, answer.err
    assert "400 of 5,170 cells" in answer.out and "confined to the cells that are there" in answer.out
    found = call(*words, "--json").json
    best = max(cell.accuracy for cell in part.scored)
    assert found["trials"] == 85 and found["regret"] == pytest.approx(best - found["cell"]["validation"])
    assert found["rank"] == 1 + sum(c.accuracy > found["cell"]["validation"] for c in part.scored)
    assert found["history"][0]["key"] in part.keys and not list(tmp_path.glob("runs"))
    for more, said in ((["--workers", "2"], "--workers is for"), (["--inner.lr", "1"], "--inner.lr cannot be chosen")):
        answer = call(*words, *more)
        assert answer.code == 2 and said in answer.err
