"""Predictors: they can learn by heart, rank what they have not seen, and do the same again for the same seed."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autometa.errors import InputError
from autometa.nas.predictors.ensemble import Ensemble
from autometa.nas.predictors.neural import LSTMPredictor, MLPPredictor, Training
from autometa.nas.predictors.predictor import PREDICTORS, made
from autometa.nas.predictors.ranking import kendall, ranks, spearman
from autometa.nas.spaces import blocks as space
from autometa.nas.spaces.block_space import BlockSpace
from autometa.nas.spaces.blocks import BlockCell
from autometa.nas.strategies.choosing import best, predictions

SPACE = BlockSpace()
KINDS = {"lstm": LSTMPredictor, "mlp": MLPPredictor}
WORTH = {0: 2.0, 1: 1.5, 2: 0.5, 3: -1.0, 4: 0.0}


def accuracy(cell: BlockCell) -> float:
    """A made-up accuracy: convolutions help, more so on later states, deep cells too, noise hurts."""
    worth = sum(WORTH[o.op] * (1 + 0.2 * o.state) for b in cell.blocks for o in (b.first, b.second))
    noise = int.from_bytes(cell.key.encode()[-4:], "little") % 7
    return 60.0 + 2 * worth / math.sqrt(cell.level) + cell.depth + 0.2 * noise


def level_two(step: int, start: int = 0) -> list[BlockCell]:
    return list(itertools.islice(space.expand(list(space.level_one())), start, None, step))


@pytest.mark.parametrize("kind", KINDS)
def test_overfits_a_handful(kind):
    cells = list(space.level_one())[::8] + level_two(700)
    accuracies = [accuracy(cell) for cell in cells]
    predictor = KINDS[kind](SPACE, Training(epochs=250, weight_decay=0.0))
    predictor.fit(cells, accuracies, seed=0)
    mean, std = predictor.predict(cells)
    assert np.abs(mean - accuracies).max() < 0.1 * np.std(accuracies)
    assert mean.dtype == np.float64 and not std.any()


@pytest.mark.parametrize("kind", KINDS)
def test_ranks_cells_it_has_not_seen(kind):
    train, held_out = list(space.level_one()) + level_two(80), level_two(50, 7)
    unseen = [cell for cell in held_out if cell not in set(train)]
    predictor = Ensemble(lambda: KINDS[kind](SPACE), members=2)
    predictor.fit(train, [accuracy(cell) for cell in train], seed=0)
    mean, std = predictor.predict(unseen)
    assert len(unseen) > 90 and (std > 0).all()
    assert spearman(mean, [accuracy(cell) for cell in unseen]) > 0.6


@pytest.mark.parametrize("kind", KINDS)
def test_from_one_block_to_two(kind):
    """What progression asks for: cells one block larger than all seen so far."""
    train = list(space.level_one())
    predictor = KINDS[kind](SPACE, Training(epochs=60))
    predictor.fit(train, [accuracy(cell) for cell in train], seed=0)
    unseen = level_two(60)
    assert spearman(predictor.predict(unseen)[0], [accuracy(cell) for cell in unseen]) > 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_decides_and_nothing_else(kind):
    cells = list(space.level_one())[::3]
    accuracies = [accuracy(cell) for cell in cells]

    def found(seed: int) -> np.ndarray:
        predictor = Ensemble(lambda: KINDS[kind](SPACE, Training(units=20, epochs=10)), members=3)
        predictor.fit(cells, accuracies, seed)
        return np.stack(predictor.predict(cells))

    torch.manual_seed(1)
    before, first = torch.get_rng_state(), found(0)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert (found(0) == first).all() and (found(1) != first).any()


def test_learning_anew_forgets():
    cells = list(space.level_one())[::3]
    predictor, fresh = (MLPPredictor(SPACE, Training(epochs=5)) for _ in range(2))
    predictor.fit(cells, [-accuracy(cell) for cell in cells], seed=3)
    for one in (predictor, fresh):
        one.fit(cells, [accuracy(cell) for cell in cells], seed=3)
    assert (predictor.predict(cells)[0] == fresh.predict(cells)[0]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_prediction_depends_on_no_other_cell(kind):
    """Short cells beside long ones are padded, and padding has no say."""
    cells = list(space.level_one())[:20]
    predictor = KINDS[kind](SPACE, Training(epochs=5))
    predictor.fit(cells, [accuracy(cell) for cell in cells], seed=0)
    beside, _ = predictor.predict([*cells, space.PUBLISHED])
    assert np.allclose(beside[:-1], predictor.predict(cells)[0], rtol=1e-5, atol=1e-5)


def sizes(what: str, cells) -> np.ndarray:
    """Made-up weights and MACs, and an early loss that says a lot."""
    if what == "early":
        return np.array([100 - accuracy(cell) for cell in cells])
    return np.array([(100 + 90 * c.key.count("c"), 1000 + 500 * c.key.count("f")) for c in cells])


@pytest.mark.parametrize("name", ["ridge", "gp", "trees", "curve"])
def test_from_features(name):
    """From 55 cells of one block to those of two; seeds decide; an order of cells does not; a constant is learned."""
    if name == "trees":
        pytest.importorskip("sklearn", reason="pip install '.[sklearn]'")
    kind, train, unseen = PREDICTORS[name], list(space.level_one()), level_two(60)
    predictor = made(kind, SPACE, None, sizes)
    with pytest.raises(ValueError, match="fit it first"):
        predictor.predict(unseen)
    predictor.fit(train, [accuracy(cell) for cell in train], seed=0)
    mean, std = predictor.predict(unseen)
    found = spearman(mean, [accuracy(cell) for cell in unseen])
    assert found > (0.95 if name == "curve" else 0.3 if name == "trees" else 0.7)
    assert mean.dtype == std.dtype == np.float64 and (std >= 0).all() and predictor.predict([])[0].shape == (0,)
    again = made(kind, SPACE, None, sizes)
    again.fit(train, [accuracy(cell) for cell in train], seed=0)
    assert (again.predict(unseen)[0] == mean).all()
    assert np.allclose(predictor.predict(unseen[::-1])[0][::-1], mean)
    predictor.fit(train, [50.0] * len(train), seed=0)
    assert np.abs(predictor.predict(unseen)[0] - 50.0).max() < 1e-6
    with pytest.raises(InputError, match="needs sizes"):
        made(kind, SPACE)
    with pytest.raises(ValueError, match="one finite accuracy"):
        predictor.fit(train, [math.nan] * len(train), seed=0)


def test_more_is_known_near_what_was_seen():
    """A Gaussian process follows a function that is not linear, and is less sure far away."""
    cells = list(space.level_one()) + level_two(60)
    predictor = made(PREDICTORS["gp"], SPACE, None, sizes)
    predictor.fit(cells, [60.0 + 9 * (cell.key.count("c") == 1) for cell in cells], seed=0)
    mean, near = predictor.predict(cells)
    assert spearman(mean, [cell.key.count("c") == 1 for cell in cells]) > 0.7
    assert near.mean() < predictor.predict([space.PUBLISHED])[1][0]


def test_what_cells_of_any_size_share():
    """A cell beside itself has the same ways; only counts, weights and outputs grow."""
    one, two = SPACE.encode([BlockCell.parse("0c1f"), BlockCell.parse("0c1f|0c1f")])
    assert np.allclose(two[:5], np.sqrt(2) * one[:5]) and (two[5:18] == one[5:18]).all() and two[18] == 2 * one[18] == 2
    (chained,) = SPACE.encode([BlockCell.parse("0c1f|2c2f")])
    assert chained[10] == 4 and chained[12] == 2 and chained[19] == 2, "layers of the longest and shortest way, depth"


def test_equal_cells_read_the_same():
    one, other = BlockCell.parse("0c1m|2i1a|0a0a"), BlockCell.parse("0a0a|1m0c|1a3i")
    assert one.key == other.key
    assert torch.equal(SPACE.tokens([one])[0], SPACE.tokens([other])[0])
    made, levels = SPACE.tokens([one, space.PUBLISHED])
    assert levels.tolist() == [3, 5] and not made[0, 3:].any() and bool((made[1] > 0).all())


def test_an_accuracy_that_never_changes():
    predictor = MLPPredictor(SPACE, Training(epochs=30))
    cells = list(space.level_one())
    predictor.fit(cells, [50.0] * len(cells), seed=0)
    assert np.abs(predictor.predict(cells)[0] - 50.0).max() < 1.0


class Known:
    """Predicts what it is told, and counts the cells it sees at once."""

    def __init__(self) -> None:
        self.most = 0

    def fit(self, cells, accuracies, seed) -> None: ...

    def predict(self, cells):
        self.most = max(self.most, len(cells))
        return np.array([accuracy(c) for c in cells]), np.array([float(c.depth) for c in cells])


@pytest.mark.parametrize("weight", [0.0, 5.0])
def test_the_best_of_a_stream(weight):
    cells, known = level_two(9), Known()
    found = best(predictions(known, iter(cells), weight, chunk=64), 10)
    scores = sorted((-accuracy(c) - weight * c.depth, c.key) for c in cells)
    assert [(-p.score, p.cell.key) for p in found] == [(pytest.approx(s), key) for s, key in scores[:10]]
    assert known.most == 64


def test_uncertainty_changes_the_choice():
    cells = level_two(9)
    plain, curious = (best(predictions(Known(), cells, weight), 20) for weight in (0.0, 50.0))
    assert {p.cell for p in plain} != {p.cell for p in curious}
    assert np.mean([p.std for p in curious]) > np.mean([p.std for p in plain])


def test_errors():
    cells = list(space.level_one())
    with pytest.raises(ValueError, match="one finite accuracy"):
        LSTMPredictor(SPACE).fit(cells, [1.0] * 3, 0)
    with pytest.raises(ValueError, match="one finite accuracy"):
        Ensemble(lambda: MLPPredictor(SPACE)).fit(cells[:2], [1.0, math.nan], 0)
    with pytest.raises(ValueError, match="fit it first"):
        LSTMPredictor(SPACE).predict(cells)
    with pytest.raises(ValueError, match="at least 2"):
        Ensemble(lambda: MLPPredictor(SPACE), members=1)


def test_rank_correlations_by_hand():
    assert spearman([1, 2, 3, 4], [10, 20, 30, 40]) == kendall([1, 2, 3, 4], [10, 20, 30, 40]) == 1.0
    assert spearman([1, 2, 3], [3, 2, 1]) == kendall([1, 2, 3], [3, 2, 1]) == -1.0
    # Ranks 1 2 3 4 5 and 2 1 4 3 5: sum d^2 = 4, rho = 1 - 6 * 4 / 120; 8 of 10 pairs agree.
    assert spearman([1, 2, 3, 4, 5], [2, 1, 4, 3, 5]) == pytest.approx(0.8)
    assert kendall([1, 2, 3, 4, 5], [2, 1, 4, 3, 5]) == pytest.approx(0.6)
    # One tie: (5 agree - 0) / sqrt(6 * 5).
    assert kendall([1, 2, 3, 4], [1, 2, 2, 3]) == pytest.approx(5 / math.sqrt(30))
    assert ranks([3.0, 1.0, 3.0]).tolist() == [1.5, 0.0, 1.5]
    assert math.isnan(spearman([1, 1, 1], [1, 2, 3])) and math.isnan(kendall([1], [2])) and math.isnan(spearman([], []))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=12))
@settings(max_examples=50, deadline=None)
def test_correlations_care_for_order_alone(pairs):
    a, b = zip(*pairs, strict=True)
    for correlation in (spearman, kendall):
        value = correlation(a, b)
        if math.isnan(value):
            assert len(set(a)) == 1 or len(set(b)) == 1
            continue
        assert -1 - 1e-12 <= value <= 1 + 1e-12
        assert correlation([math.exp(v) for v in a], b) == pytest.approx(value)
        assert correlation(b, a) == pytest.approx(value) and correlation([-v for v in a], b) == pytest.approx(-value)
