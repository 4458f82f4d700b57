"""Algorithms by their tags: configs of this and earlier versions, what a run is asked for, what runs have in common."""

from dataclasses import replace

import pytest

from autometa.algorithms import jobs
from autometa.algorithms.algorithm import algorithm_of, algorithm_tagged, search_named, searches, training
from autometa.algorithms.auto_meta_job import knowing, outcomes_of
from autometa.algorithms.presets import PRESETS
from autometa.api.planning import plan_search
from autometa.api.settings import as_yaml, settle
from autometa.errors import InputError
from autometa.nas.spaces.blocks import level_one
from autometa.runs import RunFolder
from autometa.runs.files import plain
from autometa.runs.ledger import Batch
from autometa.runs.migrate import migrated
from autometa.train.candidates import Outcome
from autometa.train.run_config import ALGORITHMS, config_of, read_config

CONFIGS = {name: next(iter(presets.values())) for name, presets in PRESETS.items()}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_says_whose_it_is_and_is_read_back_by_that(name, tmp_path):
    config = CONFIGS[name]
    assert plain(config)["algorithm"] == name and algorithm_of(config) is ALGORITHMS[name]
    assert read_config(plain(config)) == config
    run = RunFolder.create(tmp_path / "run", "run", config, ["autometa"], notice=lambda _: None)
    assert config_of(run) == config and config.settled(run) == config


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_of_before_gets_its_tag_once(name):
    old = plain(CONFIGS[name])
    del old["algorithm"]
    assert migrated(old)["algorithm"] == name and migrated(migrated(old)) == migrated(old)
    assert read_config(old) == replace(CONFIGS[name], data=replace(CONFIGS[name].data, reading=old["data"]["reading"]))


@pytest.mark.parametrize("value", [{}, {"algorithm": 3}, {"colour": 1}])
def test_what_has_no_tag_is_no_run(value):
    with pytest.raises(InputError, match="no config of a search or training"):
        read_config(value)
    with pytest.raises(InputError, match="unknown algorithm 'metanass'; did you mean metanas"):
        read_config({"algorithm": "metanass"})


def test_searches_and_training_are_told_apart():
    assert list(searches()) == ["metanas", "auto-meta"] and training().name == "train"
    assert search_named(None).name == "metanas" and search_named("auto-meta").workers
    with pytest.raises(InputError, match="unknown search 'train'; choose from metanas, auto-meta"):
        search_named("train")
    assert algorithm_tagged(None).sections == () and algorithm_tagged("metanas") is ALGORITHMS["metanas"]


def test_a_file_of_settings_says_which_search(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(as_yaml(CONFIGS["auto-meta"]))
    assert plan_search(config=file).algorithm.name == "auto-meta"
    with pytest.raises(InputError, match="these are settings of auto-meta, not of metanas"):
        settle(CONFIGS["metanas"], file)


def test_a_number_of_iterations_keeps_the_share_of_warm_up():
    config = CONFIGS["metanas"].with_iterations(50)
    assert (config.meta.iterations, config.warmup) == (50, 20)
    assert CONFIGS["auto-meta"].with_iterations(7).outer.iterations == 7
    fewer = CONFIGS["metanas"].with_steps(3)
    assert (fewer.test.steps, fewer.test_weight_steps, fewer.adaptation_steps) == (3, 3, 6)


def test_a_result_names_its_limits_where_it_has_some():
    config = CONFIGS["train"]
    assert jobs.limits_of(config) == {}
    assert jobs.limits_of(replace(config, max_macs=7)) == {"limits": {"max_macs": 7}}


def batch(*keys):
    return Batch(1, 1, 1, tuple(keys), "here", 1)


def test_a_batch_that_breaks_is_tried_cell_by_cell():
    keys = [cell.key for cell in list(level_one())[:3]]

    def train(asked):
        if keys[1] in asked:
            raise RuntimeError("broken")
        return [Outcome(key, 1.0, 0.0, 1, 1, 0.0, None) for key in asked]

    found = outcomes_of(batch(*keys), train, {})
    assert [outcome.failure for outcome in found] == [None, "RuntimeError: broken", None]


def test_outcomes_that_are_known_are_not_worked_for():
    asked = []
    work = knowing({"a": {"key": "a", "n": 1}}, lambda b: asked.extend(b.keys) or [{"key": k, "n": 2} for k in b.keys])
    assert [row["n"] for row in work(batch("a", "b"))] == [1, 2] and asked == ["b"]


def test_an_algorithm_without_a_warm_start_says_so(tmp_path):
    with pytest.raises(InputError, match="leave --init out"):
        training().earlier.open(tmp_path, training())
