"""Auto-Meta's progression: decided by the ledger alone, so that it ends alike however often it is cut off."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from autometa.algorithms import auto_meta, auto_meta_job
from autometa.algorithms.auto_meta import AutoMetaConfig, SurrogateConfig
from autometa.algorithms.presets import AUTO_META
from autometa.errors import DivergedError, InputError
from autometa.nas.predictors.ranking import spearman
from autometa.nas.spaces import blocks
from autometa.nas.spaces.blocks import BlockCell
from autometa.nas.strategies.evolution import RegularisedEvolution
from autometa.nas.strategies.random import RandomSearch
from autometa.nas.strategies.strategy import STRATEGIES
from autometa.nas.strategies.surrogate import SurrogateSearch
from autometa.nas.strategies.transfer import TransferHyperband
from autometa.runs.files import read_json
from autometa.runs.folder import RunFolder
from autometa.runs.ledger import LEDGER, Candidate, Ledger
from autometa.search import summary
from autometa.search.driver import trials
from autometa.train.candidates import Outcome
from autometa.train.phases import Terms
from tests.nas.test_predictors import accuracy

SMALL = AutoMetaConfig(
    blocks=3, beam=12, batch=10, surrogate=SurrogateConfig(kind="mlp", members=2, units=20, epochs=40)
)


def outcome(cell: BlockCell) -> Outcome:
    return Outcome(cell.key, accuracy(cell), 0.5, 1000 + 10 * cell.level, 2000, 0.25, None)


class Trainer:
    """Stands for training: a made-up accuracy, and an accident at some batch."""

    def __init__(self, accident: BaseException | None = None, at: int = -1):
        self.accident, self.at, self.seen = accident, at, []

    def __call__(self, cells: Sequence[BlockCell]) -> list[Outcome]:
        self.seen.append([cell.key for cell in cells])
        if len(self.seen) - 1 == self.at:
            raise self.accident
        return [outcome(cell) for cell in cells]


def begin(path: Path, config: AutoMetaConfig = SMALL) -> RunFolder:
    return RunFolder.create(path, "search auto-meta", config, ["test"], notice=lambda text: None)


def search(folder: RunFolder, work, config: AutoMetaConfig = SMALL, **terms) -> auto_meta_job.Kept:
    kept = auto_meta_job.Kept(folder, config.cells)

    def train(keys: Sequence[str]) -> list[Outcome]:
        return work([BlockCell.parse(key) for key in keys])

    unit = lambda device: auto_meta_job.work_of(train, config.seed)  # noqa: E731
    auto_meta_job.progress(config, folder, Terms(quiet=True, **terms), kept, unit)
    return kept


def rows(folder: RunFolder) -> list[dict]:
    """The ledger without who did what when."""
    found = auto_meta_job.Kept(folder, SMALL.cells).rows()
    return [{k: v for k, v in dataclasses.asdict(row).items() if k not in ("worker", "attempts")} for row in found]


def outcome_of(folder: RunFolder) -> tuple:
    return rows(folder), read_json(folder.path / auto_meta_job.FOUND)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> RunFolder:
    with begin(tmp_path_factory.mktemp("auto") / "run") as folder:
        search(folder, Trainer())
    return folder


def test_levels_grow_block_by_block(whole):
    found, kept = rows(whole), auto_meta_job.Kept(whole, SMALL.cells)
    of_level = {level: [row for row in found if row["level"] == level] for level in (1, 2, 3)}
    assert [len(of_level[level]) for level in (1, 2, 3)] == list(SMALL.rounds) == [55, 12, 12]
    for level, own in of_level.items():
        cells = [BlockCell.parse(row["key"]) for row in own]
        assert {cell.level for cell in cells} == {level}
        if level > 1:
            before = {row["key"] for row in of_level[level - 1]}
            assert all(before & {parent.key for parent in cell.parents()} for cell in cells)
    best = max(found, key=lambda row: row["accuracy"])
    assert kept.winner["key"] == best["key"] and kept.winner["validation_accuracy"] == best["accuracy"]
    assert (whole.genotypes / "best.json").exists()


def test_the_best_by_prediction_are_proposed(whole):
    """Every cell of level 2 against what the predictor of level 1 says of it."""
    with Ledger.open(whole.path / LEDGER) as ledger:
        predictor = SMALL.strategy.predictor_after(trials(ledger.outcomes()), SMALL.spec(), 1)
        chosen = ledger.outcomes(2)
    cells = list(blocks.expand(list(blocks.level_one())))
    mean, _ = predictor.predict(cells)
    ordered = sorted(zip((-mean).tolist(), (cell.key for cell in cells), strict=True))
    assert {row.key for row in chosen} == {key for _, key in ordered[:12]}
    predicted = [row.predicted_mean for row in chosen]
    assert predicted == sorted(predicted, reverse=True)


def test_reports_of_the_levels(whole):
    levels = auto_meta_job.Kept(whole, SMALL.cells).levels
    assert [level["level"] for level in levels] == [1, 2, 3]
    assert levels[0]["before"] is None and levels[1]["before"]["cells"] == levels[2]["before"]["cells"] == 12
    assert levels[0]["own"]["spearman"] > 0.8 and levels[0]["own"]["kendall"] > 0.6
    for level in levels:
        assert level["failed"] == 0 and level["candidates"] == len(level["cells"])
        assert sum(level["depths"].values()) == level["candidates"]
        assert set(level["depths"]) <= {str(depth) for depth in range(1, level["level"] + 1)}
        best = max(cell["accuracy"] for cell in level["cells"])
        assert level["accuracy"]["best"] == best
    assert levels[0]["depths"] == {"1": 55}
    second = levels[1]["cells"]
    assert levels[1]["before"]["spearman"] == pytest.approx(
        spearman([c["predicted"] for c in second], [c["accuracy"] for c in second])
    )
    assert all(cell["depth"] == BlockCell.parse(cell["key"]).depth for cell in second)


def test_metrics_tell_of_every_batch(whole):
    lines = [line for line in whole.phase_metrics("search").read_text().splitlines() if line]
    assert len(lines) == SMALL.batches == 6 + 2 + 2


@pytest.mark.parametrize("at", [0, 3, 6, 9])
def test_cut_off_and_resumed_is_as_uninterrupted(whole, tmp_path, at):
    with begin(tmp_path / "run") as folder:
        broken = Trainer(KeyboardInterrupt(), at)
        with pytest.raises(KeyboardInterrupt):
            search(folder, broken)
    with RunFolder.resume(tmp_path / "run", ["test"], notice=lambda text: None) as folder:
        going_on = Trainer()
        search(folder, going_on)
        assert outcome_of(folder) == outcome_of(whole)
    seen = [key for batch in broken.seen[:at] + going_on.seen for key in batch]
    assert len(seen) == len(set(seen)) == sum(SMALL.rounds)


KILLED = """
import os, sys
from tests.algorithms import test_auto_meta as t
class Killed(t.Trainer):
    def __call__(self, cells):
        if len(self.seen) == {at}:
            os._exit(9)
        return super().__call__(cells)
with t.begin(t.Path(sys.argv[1])) as folder:
    t.search(folder, Killed())
"""


def test_killed_and_resumed_is_as_uninterrupted(whole, tmp_path):
    path, root = tmp_path / "run", Path(__file__).parents[2]
    roots = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(root)])
    done = subprocess.run(
        [sys.executable, "-c", KILLED.format(at=7), str(path)], env={**os.environ, "PYTHONPATH": roots}, timeout=120
    )
    assert done.returncode == 9
    with RunFolder.resume(path, ["test"], notice=lambda text: None) as folder:
        going_on = Trainer()
        search(folder, going_on)
        assert len(going_on.seen) == SMALL.batches - 7
        assert outcome_of(folder) == outcome_of(whole)


def test_a_search_that_is_over_trains_nothing(whole):
    with RunFolder.resume(whole.path, ["test"], notice=lambda text: None) as folder:
        again, before = Trainer(), outcome_of(folder)
        search(folder, again)
        assert again.seen == [] and outcome_of(folder) == before


def test_failing_candidates_are_passed_over(tmp_path):
    """Two come back with a reason, one breaks its whole batch and is found by training its cells alone."""
    keys = [cell.key for cell in blocks.level_one()]
    diverged, breaking = set(keys[3:5]), keys[17]

    def work(cells):
        if breaking in {cell.key for cell in cells}:
            raise RuntimeError("this cell breaks the kernel")
        return [
            replace(outcome(cell), accuracy=math.nan, failure="left the finite numbers")
            if cell.key in diverged
            else outcome(cell)
            for cell in cells
        ]

    with begin(tmp_path / "run") as folder:
        kept = search(folder, work)
        found = {row["key"]: row for row in rows(folder)}
    assert {key for key, row in found.items() if row["state"] == "failed"} == diverged | {breaking}
    assert found[breaking]["failure"] == "RuntimeError: this cell breaks the kernel"
    assert found[keys[3]]["failure"] == "left the finite numbers" and found[keys[3]]["accuracy"] is None
    assert kept.levels[0]["failed"] == 3 and kept.levels[0]["own"]["cells"] == 52
    parents = {
        parent.key for key, row in found.items() if row["level"] == 2 for parent in BlockCell.parse(key).parents()
    }
    assert len(found) == sum(SMALL.rounds) and parents - diverged - {breaking}


def test_a_level_without_survivors_ends_the_search(tmp_path):
    def work(cells):
        return [replace(outcome(cell), accuracy=math.nan, failure="left the finite numbers") for cell in cells]

    with (
        begin(tmp_path / "run") as folder,
        pytest.raises(DivergedError, match="none of 55 candidates came through: left the finite numbers"),
    ):
        search(folder, work)


def test_a_defect_is_no_failure_of_a_cell(tmp_path):
    with begin(tmp_path / "run") as folder:
        with pytest.raises(TypeError):
            search(folder, Trainer(TypeError("defect"), 2))
        assert [row["state"] for row in rows(folder)].count("failed") == 0


def test_time_is_up_within_a_level(tmp_path):
    """What was measured until then decides."""

    class Slow(Trainer):
        def __call__(self, cells):
            time.sleep(2.0 if len(self.seen) == 6 else 0.0)
            return super().__call__(cells)

    with begin(tmp_path / "run") as folder:
        slow = Slow()
        kept = search(folder, slow, time_budget=1.9)
        trained = len(slow.seen)
        assert 1 <= trained <= 7
        best = max((accuracy(BlockCell.parse(key)), key) for batch in slow.seen for key in batch)
        assert kept.winner["key"] == best[1]
    with RunFolder.resume(tmp_path / "run", ["test"], notice=lambda text: None) as folder:
        search(folder, slow)
        assert len(slow.seen) == trained


def test_no_time_at_all(tmp_path):
    with begin(tmp_path / "run") as folder:
        with pytest.raises(InputError, match="longer --time-budget"):
            search(folder, Trainer(), time_budget=1e-9)
        assert search(folder, Trainer(), time_budget=600.0).winner is not None


def test_uncertainty_changes_what_is_proposed(whole, tmp_path):
    curious = replace(SMALL, uncertainty_weight=20.0, blocks=2)
    with begin(tmp_path / "run", curious) as folder:
        search(folder, Trainer(), curious)
        chosen = [row for row in rows(folder) if row["level"] == 2]
    plain = [row for row in rows(whole) if row["level"] == 2]
    assert {row["key"] for row in chosen} != {row["key"] for row in plain}
    assert sum(row["predicted_std"] for row in chosen) > sum(row["predicted_std"] for row in plain)


def candidate(key: str, accuracy: float | None, parameters: int, state: str = "done") -> Candidate:
    return Candidate(key, 1, 0, 1, state, None, None, accuracy, 1.0, parameters, 1, 1.0, "w", 1, None, {})


def test_the_winner_by_accuracy_then_size_then_key():
    best = candidate("0c0m", 80.0, 100)
    others = [candidate("0c1m", 80.0, 100), candidate("0c0c", 80.0, 200), candidate("0a0a", 79.0, 1)]
    assert summary.winner([*others, best, candidate("1i1i", None, 0, "failed")]) == best
    with pytest.raises(DivergedError, match="every candidate"):
        summary.winner([candidate("1i1i", None, 0, "failed")])


RIVALS = {
    "random": replace(SMALL, strategy=RandomSearch()),
    "evolution": replace(SMALL, strategy=RegularisedEvolution(population=20, sample=5)),
    "surrogate": replace(SMALL, strategy=SurrogateSearch(pool=200)),
}


@pytest.mark.parametrize("strategy", RIVALS)
def test_rivals_train_as_many_cells_of_full_size(tmp_path, strategy):
    config = RIVALS[strategy]
    config.check()
    with begin(tmp_path / "run", config) as folder:
        kept = search(folder, Trainer(), config)
        found = rows(folder)
    assert len(found) == SMALL.candidates == sum(config.rounds)
    assert {BlockCell.parse(row["key"]).level for row in found} == {SMALL.blocks}
    assert [level["candidates"] for level in kept.levels] == list(config.rounds)
    assert len(folder.phase_metrics("search").read_text().splitlines()) == config.batches
    ahead = [level["before"] is not None for level in kept.levels]
    assert ahead == [False] + [strategy == "surrogate"] * (len(ahead) - 1)
    assert kept.winner["validation_accuracy"] == max(row["accuracy"] for row in found)


def test_a_rival_cut_off_and_resumed_is_as_uninterrupted(tmp_path):
    config, outcomes = RIVALS["evolution"], []
    for name, accident in (("whole", None), ("broken", KeyboardInterrupt())):
        with begin(tmp_path / name, config) as folder:
            if accident:
                with pytest.raises(KeyboardInterrupt):
                    search(folder, Trainer(accident, 4), config)
            search(folder, Trainer(), config)
            outcomes.append(outcome_of(folder))
    assert outcomes[0] == outcomes[1]


def test_a_strategy_is_given_earlier_searches_as_they_were_when_it_began(whole, tmp_path):
    shutil.copytree(whole.path, tmp_path / "past")
    strategy = TransferHyperband(earlier=(str(tmp_path / "past"),))
    config = replace(SMALL, strategy=strategy)
    with begin(tmp_path / "run", config) as folder:
        (history,) = auto_meta_job.earlier_searches(config, folder)
        known = {row["key"]: row["accuracy"] for row in rows(whole)}
        assert {trial.key: trial.accuracy for trial in history} == known
        assert {max(trial.reports) for trial in history} == {SMALL.meta.iterations}
        shutil.rmtree(tmp_path / "past")
        assert auto_meta_job.earlier_searches(config, folder) == (history,)
        assert auto_meta_job.earlier_searches(SMALL, folder) == ()
    with begin(tmp_path / "other", config) as folder, pytest.raises(InputError, match="past"):
        auto_meta_job.earlier_searches(config, folder)


WRONG = {
    "smaller than its 79 candidates": {"strategy": RegularisedEvolution(population=79)},
    "a round of 12 cells cannot be chosen among 5": {"strategy": SurrogateSearch(pool=5)},
    "blocks must be at least 1": {"blocks": 0},
    "beam must be at least 1": {"beam": 0},
    "batch must be at least 1": {"batch": 0},
    "surrogate.kind must be lstm or mlp": {"surrogate": SurrogateConfig(kind="forest")},
    "needs an ensemble": {"uncertainty_weight": 1.0, "surrogate": SurrogateConfig(members=1)},
    "macro.filters must be at least 2": {"macro": auto_meta.MacroConfig(filters=1)},
    "final.scale_rate must be at least 1": {"final": auto_meta.MacroConfig(scale_rate=0)},
    "test classes stay unseen": {"validation": replace(SMALL.validation, part="test")},
    "validation.tasks must be at least 1": {"validation": replace(SMALL.validation, tasks=0)},
    "final_inner.ways": {"final_inner": replace(SMALL.inner, ways=7)},
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_settings(message):
    with pytest.raises(InputError, match=message):
        replace(SMALL, **WRONG[message]).check()


@pytest.mark.parametrize("name", AUTO_META)
def test_presets(name):
    config = AUTO_META[name]
    for strategy in STRATEGIES:
        replace(config, strategy=STRATEGIES[strategy]()).check()
    config.candidate().check()
    assert config.final_inner.ways == config.inner.ways and config.validation.part == "val"


@pytest.mark.parametrize(
    ("name", "shape", "parameters"),
    [("omniglot", (1, 28, 28), 24_625), ("miniimagenet-small", (3, 84, 84), 24_805)]
    + [("miniimagenet-large", (3, 84, 84), 106_185)],
)
def test_the_published_cell_has_about_the_papers_size(name, shape, parameters):
    """25,900, 28,000 and 94,000 to 99,000 in the paper."""
    assert AUTO_META[name].build(shape).layout.count() == parameters


def test_counts_of_the_paper():
    paper = AutoMetaConfig()
    paper.check()
    assert paper.rounds == (55, 100, 100, 100, 100) and paper.candidates == 455
    assert paper.batches == 3 + 4 * 5 and paper.inner.steps == 8 and paper.inner.batch == 10
    assert paper.meta.iterations == 1000 and paper.meta.batch == 5
