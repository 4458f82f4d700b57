"""The driver's choice: the same by any number of processes, and that of a plain look at all expansions."""

import pytest

from autometa.nas.predictors.ensemble import Ensemble
from autometa.nas.predictors.neural import LSTMPredictor, Training
from autometa.nas.spaces.block_space import BlockSpace
from autometa.nas.spaces.draws import Draws
from autometa.nas.strategies import choosing
from tests.nas.test_predictors import accuracy

SPACE = BlockSpace(5)
BEAM = [SPACE.sample(Draws(5, n), 2) for n in range(7)]


@pytest.fixture(scope="module")
def predictor():
    made = Ensemble(lambda: LSTMPredictor(SPACE, Training(units=16, embedding=8, epochs=20)), 2)
    made.fit(BEAM, [accuracy(cell) for cell in BEAM], 0)
    return made


def test_the_choice_is_that_among_all_expansions(predictor):
    cells = list(SPACE.expand(BEAM))
    means, stds = predictor.predict(cells)
    scores = {cell.key: mean + 0.5 * std for cell, mean, std in zip(cells, means, stds, strict=True)}
    found = choosing.choose(predictor, SPACE, BEAM, 25, 0.5)
    assert len({p.cell.key for p in found}) == 25 and len(cells) > 1000
    worst = min(scores[p.cell.key] for p in found)
    left = [score for key, score in scores.items() if key not in {p.cell.key for p in found}]
    assert max(left) <= worst + 1e-6 * (1 + abs(worst))
    for p in found:
        assert p.score == pytest.approx(scores[p.cell.key], rel=1e-5)


def test_it_does_not_depend_on_the_processes_nor_on_the_order_of_the_beam(predictor, monkeypatch):
    alone = choosing.choose(predictor, SPACE, BEAM, 25, 0.5)
    assert choosing.choose(predictor, SPACE, BEAM[::-1], 25, 0.5, 4) == alone, "too few for further processes"
    monkeypatch.setattr(choosing, "WORTHWHILE", 0)
    assert choosing.choose(predictor, SPACE, BEAM, 25, 0.5, 3) == alone
    assert choosing.choose(predictor, SPACE, BEAM, 25, 0.5, 2) == alone
