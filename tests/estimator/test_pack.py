"""A run made small: half precision, read back as a start, its confidences measured."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import autometa
from autometa.errors import InputError
from autometa.estimator import pack
from autometa.models.compact import keep, load_kept
from autometa.models.model import Model
from autometa.runs.folder import RunFolder
from autometa.train.tasks import Source
from tests.cli.driving import DATA, INNER, LENGTH, SEARCH, TEST, changed
from tests.estimator.drawings import shots, strokes

TRAIN = [*changed(DATA, data="strokes:6x10x12"), *INNER, *TEST, *LENGTH, "--data.variant", "ink", "--filters", "3"]


def settings(words):
    pairs = dict(zip((word[2:] for word in words[::2]), words[1::2], strict=True))
    return {{"data": "data.name"}.get(name, name): value for name, value in pairs.items()}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A tiny search, a tiny training, and a training of the cell that the search found."""
    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOMETA_CACHE", str(root / "cache"))
        autometa.search("metanas", settings=settings(SEARCH), out=root / "search", quiet=True)
        autometa.train("reptile-omniglot", settings=settings(TRAIN), out=root / "train", quiet=True)
        autometa.train(root / "search", settings={"meta.iterations": 2}, out=root / "cell", quiet=True)
        yield root


@pytest.mark.parametrize("name", ["search", "train", "cell"])
def test_a_kept_model_adapts_as_its_run_does(runs, name, tmp_path):
    run = RunFolder.open(runs / name)
    keep(run, tmp_path / "kept")
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {"config.json", "data.json", "model.safetensors"}
    first, second = Model.of(run), load_kept(tmp_path / "kept").model
    assert (second.recipe, second.data_hash, second.network) == (first.recipe, first.data_hash, first.network)
    assert torch.equal(second.learned.theta, first.learned.theta.half().float())
    torch.testing.assert_close(second.learned.second, first.learned.second, rtol=2e-3, atol=1e-13)
    support, labels, queries, _ = shots(*strokes(characters=2, size=8))
    made = [autometa.FewShotClassifier(place).fit(support, labels) for place in (runs / name, tmp_path / "kept")]
    rows = [each.predict_proba(queries) for each in made]
    np.testing.assert_allclose(rows[0], rows[1], atol=0.05)


def test_the_command_measures_how_sure_it_is(runs, tmp_path):
    pack.main([str(runs / "train"), str(tmp_path / "kept"), "--tasks", "2"])
    kept = load_kept(tmp_path / "kept")
    assert kept.model.recipe.polarity == "auto"
    assert kept.confidence == json.loads((tmp_path / "kept/confidence.json").read_text())
    assert 0.5 <= kept.confidence["min_confidence"] <= 1 and kept.confidence["ways"] == 2
    assert set(kept.confidence["1-shot"]["refused"]) == {"right", "wrong", "unknown"}
    support, labels, queries, _ = shots(*strokes(characters=2, size=8))
    made = autometa.FewShotClassifier(tmp_path / "kept", min_confidence="calibrated").fit(support, labels)
    assert set(made.predict(queries).tolist()) <= {-1, 0, 1}


def test_answers_are_counted():
    found = pack.Answers(np.array([0.9, 0.6, 0.8]), np.array([0.5]), np.array([0.3, 0.95]))
    assert found.accuracy == 75.0
    assert found.refused(0.85) == {"right": pytest.approx(200 / 3), "wrong": 100.0, "unknown": 50.0}


def test_calibration_error_by_hand():
    found = pack.Answers(np.array([0.95, 0.91, 1.0]), np.array([0.55, 0.93]), np.array([0.3]))
    high = abs((0.95 + 0.91 + 1.0 + 0.93) / 4 - 3 / 4) * 4 / 5
    assert pack.calibration_error(found) == pytest.approx(100 * (high + 0.55 * 1 / 5))
    assert pack.calibration_error(pack.Answers(np.ones(5), np.array([]), np.array([]))) == 0


def test_classes_are_taken_from_one_group_where_tasks_are(runs):
    model = Model.of(RunFolder.open(runs / "train"))
    source = Source.open(model.config.data)
    grouped = replace(model, config=replace(model.config, data=replace(model.config.data, tasks="within-group")))
    classes = source.split.test
    groups, ways = pack.taught_together(grouped, source.store, classes, 6)
    names = np.array(source.store.groups)
    assert ways == 2 and sorted(np.concatenate(groups)) == sorted(classes)
    assert all(len(set(names[own])) == 1 for own in groups) and len(groups) == len(set(names[classes]))
    assert pack.taught_together(model, source.store, classes, 6)[0][0] is classes
    with pytest.raises(InputError, match="classes of 99 images are needed"):
        pack.ask(grouped, source.store, classes, shots=94, tasks=1)


def test_other_runs_measure_it(runs, tmp_path):
    both = [str(runs / "train"), str(runs / "train")]
    pack.main([str(runs / "train"), str(tmp_path / "kept"), "--tasks", "2", "--by", *both])
    found = load_kept(tmp_path / "kept").confidence
    assert found["ways"] == 2 and 0 <= found["5-shot"]["calibration_error"] <= 100


def test_a_damaged_model_is_told(runs, tmp_path):
    kept = keep(RunFolder.open(runs / "train"), tmp_path / "kept")
    (kept / "model.safetensors").write_bytes(b"short")
    with pytest.raises(InputError, match="make the model again"):
        autometa.FewShotClassifier(kept).fit(np.zeros((2, 8, 8)), [0, 1])
