"""The tournament: settings chosen on cells that do not judge, the same outcome whoever computes it, honest numbers."""

from __future__ import annotations

import numpy as np
import pytest

from autometa.algorithms.table import packed
from autometa.algorithms.table.spec import OMNIGLOT, all_cells
from autometa.algorithms.tournament import entries as taking_part
from autometa.algorithms.tournament.entries import Entry, Variant, entries
from autometa.algorithms.tournament.holding import CHOOSING, OTHER, WHOLE, Rules, halves, hold
from autometa.algorithms.tournament.playing import Game, play
from autometa.algorithms.tournament.ranks import ceiling, ranks
from autometa.errors import InputError
from autometa.nas.predictors.predictor import PREDICTORS
from tests.algorithms.made_table import NOISE, made_table
from tests.cli.driving import call
from tests.registries import restored

NAMES = ("random", "local", "most weights")


@pytest.fixture(scope="module")
def parts():
    return halves(made_table())


@pytest.fixture(scope="module", autouse=True)
def ranked_elsewhere():
    """Ranks of predictors, which take longest, have a test of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("autometa.algorithms.tournament.holding.ranks", lambda _: None)
        yield


@pytest.fixture(scope="module")
def found():
    return hold(made_table(cells=800), Rules(seeds=4, choosing=2, names=NAMES))


def test_halves_share_small_cells_alone(parts):
    one, other = set(parts[CHOOSING].keys), set(parts[OTHER].keys)
    assert {all_cells()[key].level for key in one & other} == {1} and len(one & other) == 55
    assert one | other == set(all_cells()) == set(parts[WHOLE].keys) and abs(len(one) - len(other)) <= 1
    assert halves(made_table())[OTHER].keys == parts[OTHER].keys


def test_the_outcome(found):
    assert [row["name"] for row in found["strategies"]] != [] and found["refused"] == {}
    assert found["cells"] == 800 and found["budget"] == round(175 * 800 / 5170)
    for row in found["strategies"]:
        regrets = row["candidates"]["regret"]
        means = [r["mean"] for r in regrets]
        assert means == sorted(means, reverse=True), "regret never rises"
        assert all(0 <= r["low"] <= r["median"] <= r["high"] for r in regrets) and row["end"]["regret"] == regrets[-1]
        assert row["trainings"] <= found["budget"] and row["searches"] == (1 if row["name"] == "most weights" else 4)
        assert row["time"]["at"][0] > 0 and row["end"]["test_regret"]["mean"] >= 0
    assert found["spent"] == {"searches": 6, "trainings": 6 * found["budget"]}, (
        "three variants of local search, 2 seeds"
    )


def test_a_rival_is_what_its_order_says(parts):
    tabled = parts[OTHER]
    (entry,) = entries(["most weights"])
    played = play(Game(entry, Variant(), 0, OTHER, 30), parts)
    largest = sorted(tabled.cells.values(), key=lambda cell: (-cell.parameters, cell.key))[:30]
    assert tabled.cells[played.way[-1].key].accuracy == max(cell.accuracy for cell in largest)
    assert played.way[-1].trainings == 30


def test_settings_are_chosen_where_they_do_not_judge(parts, monkeypatch):
    """A variant that wins on the choosing half is taken, and its searches there have other seeds."""
    seen = []

    def watched(games, parts, workers):
        for game in games:
            seen.append((game.part, game.seed, str(game.variant)))
            yield play(game, parts)

    monkeypatch.setattr("autometa.algorithms.tournament.holding.play_all", watched)
    monkeypatch.setitem(taking_part.VARIANTS, "random", [Variant({}), Variant({}, weight=0.5)])
    hold(made_table(cells=600), Rules(seeds=3, choosing=2, names=["random"]))
    chosen, judged = seen[:4], seen[4:]
    assert {part for part, *_ in chosen} == {CHOOSING} and {part for part, *_ in judged} == {OTHER}
    assert not {seed for _, seed, _ in chosen} & {seed for _, seed, _ in judged} and len(judged) == 3


def test_processes_change_nothing(found):
    again = hold(made_table(cells=800), Rules(seeds=4, choosing=2, names=NAMES, workers=2))
    assert again == found


def test_what_cannot_be_run_is_told(parts):
    refused = play(Game(Entry("evolution", ()), Variant({"population": 900}), 0, OTHER, 30), parts).refused
    assert "smaller than its 30 candidates" in refused
    inherits = play(Game(Entry("large-scale-evolution", ()), Variant({"population": 5}), 0, OTHER, 30), parts).refused
    assert "hands weights on" in inherits
    with pytest.raises(InputError, match="unknown search strategy 'randon'"):
        entries(["randon"])
    with pytest.raises(InputError, match="too few for a tournament"):
        hold(made_table(cells=30), Rules(2, 2))
    with pytest.raises(InputError, match="2 seeds or more"):
        hold(made_table(cells=300), Rules(1, 1))


class Oracle:
    """Predicts the accuracy that the table holds."""

    table = made_table()

    def __init__(self, space, how=None):
        self.rows = []

    def fit(self, architectures, accuracies, seed):
        self.rows = [a.key for a in architectures]

    def predict(self, architectures):
        assert not {a.key for a in architectures} & set(self.rows)
        return np.array([self.table.query(a.key).accuracy for a in architectures]), np.zeros(len(architectures))


def test_ranks_are_those_of_random_cells(parts, monkeypatch):
    monkeypatch.setattr(PREDICTORS, "names", lambda: ("ridge", "curve", "oracle"))
    with restored():
        PREDICTORS._registered["oracle"] = Oracle
        rows = ranks(parts[WHOLE], draws=2)
    assert (rows["fitted_on"], rows["next_level"], rows["drawn"]) == (55, 5115, 1023) and rows["refused"] == {}
    found = rows["rows"]
    assert found["oracle"]["plain"]["spearman"]["mean"] == pytest.approx(1) and "early" not in found["oracle"]
    assert found["curve"].keys() == {"early"} and found["ridge"].keys() == {"plain", "early"}
    plain, early = (found["ridge"][c]["spearman"]["mean"] for c in ("plain", "early"))
    assert 0.5 < found["weights alone"]["plain"]["spearman"]["mean"] < 1 and 0.5 < plain < 1 and 0.5 < early < 1


def test_the_ceiling_is_the_noise_that_was_put_in(parts):
    found = ceiling(parts[WHOLE])
    assert found["cells"] == 300 and found["seeds"] == 3 and found["noise"] == pytest.approx(NOISE, rel=0.1)
    assert found["between"]["spearman"] < found["most"] < 1 and found["regret"] >= 0
    assert ceiling(halves(made_table(cells=5))[WHOLE]) is None


def test_the_command(tmp_path):
    table = made_table(cells=400)
    path, picture = tmp_path / "part.safetensors", tmp_path / "regret.svg"
    packed.write(path, OMNIGLOT, [(row, {}) for row in table.kept.rows], None)
    words = [
        "tournament",
        "--table",
        str(path),
        "--seeds",
        "2",
        "--strategies",
        "random,most weights",
        "--workers",
        "1",
    ]
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        drawing = []
    else:
        drawing = ["--plot", str(picture)]
    answer = call(*words, *drawing)
    assert answer.code == 0, answer.err
    assert "400 of 5,170 cells are there" in answer.out and "random" in answer.out and picture.exists() == bool(drawing)
    found = call(*words, "--json", "--whole").json
    assert found["judged_on"] == 400 and "time" not in found["strategies"][0], "no seconds without a cost model"
    assert call(*words, "--seeds", "1").code == 2
