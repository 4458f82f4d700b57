"""Representations fit five lines of a terminal, whatever an object holds; results show themselves in notebooks."""

import html
import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

import autometa
from autometa.algorithms.presets import PRESETS
from autometa.api import data_info, open_run, predict
from autometa.api.outcome import Outcome
from autometa.api.predicting import Prediction, Predictions
from autometa.brief import LIMIT, cut
from autometa.data import TaskSpec, open_dataset
from autometa.models.find import find_start
from autometa.models.model import Model
from autometa.report.listing import RunRow, list_runs
from autometa.runs import RunFolder, load_latest
from tests.cli.driving import class_folders
from tests.estimator.drawings import saved, shots, strokes

TINY = {"data.name": "strokes:6x6x12", "data.image_size": 8, "channels": 2, "cells": 1, "reductions": "0", "nodes": 1}
TINY |= {"inner.ways": 3, "inner.steps": 1, "meta.batch": 2, "meta.iterations": 2, "warmup": 1, "compare": "[]"}
TINY |= {"test.tasks": 2, "test.queries": 1, "test.steps": 1, "test_weight_steps": 1}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A result, and the objects that a person meets on the way to it."""
    root = tmp_path_factory.mktemp("brief")
    patch = pytest.MonkeyPatch()
    patch.setenv("AUTOMETA_CACHE", str(root / "cache"))
    result = autometa.search(preset="quick", settings=TINY, out=root / "run", quiet=True)
    images, labels, *_ = shots(*strokes())
    estimator = autometa.FewShotClassifier(steps=1).fit(images, np.array([f"class {n} {'x' * 90}" for n in labels]))
    place = root / "taught"
    estimator.save(place)
    files, store, run = saved(images, root / "new"), open_dataset("strokes:6x6x12", size=8), open_run(root / "run")
    model, start = Model.of(run), find_start(None)
    objects = [result, estimator, estimator.classifier_, estimator.classifier_.lesson, *predict(files, run=place)[:1]]
    objects += [predict(files, run=place)[:1], run, model, model.learned, model.network, model.network.layout, store]
    objects += [start.model, load_latest(run.checkpoints / "search"), list_runs(root), RunFolder(root / ("n" * 90))]
    objects += [data_info(class_folders(root / "photos")), TaskSpec(3, 1, 1), RunRow]
    objects += [config for kind in PRESETS.values() for config in kind.values()]
    objects += [json.loads((root / "run/genotypes/most_frequent.json").read_text())]
    patch.undo()
    return result, objects


def test_five_lines_without_the_numbers_inside(found):
    for thing in found[1]:
        text = repr(thing)
        assert len(text.splitlines()) <= 5 and len(text) <= 1.3 * LIMIT, (type(thing), text)
        assert "tensor(" not in text and "array(" not in text and not re.search(r"0x[0-9a-f]{8}", text), text


def test_a_result_is_a_mapping_and_a_table_in_notebooks(found):
    result = found[0]
    assert isinstance(result, dict) and dict(result) == result and json.loads(json.dumps(result))["run"]
    assert pickle.loads(pickle.dumps(result)) == result and {**result}["accuracy"] == result["accuracy"]
    mean = f"{result['scores']['support_statistics']['mean']:.2f}"
    for text in (repr(result), result._repr_html_(), result._repr_markdown_()):
        assert mean in text and "2 of 2 meta-iterations" in text and "on 2 new tasks of 3 classes" in text
    assert result._repr_html_().count("<tr>") == 4


def test_answers_hold_no_escapes():
    name = "a\x1b[31m\u202e"
    one = Prediction(Path(f"{name}.png"), name, 0.5, {name: 0.5, "b": 0.5})
    for text in (repr(one), repr(Predictions([one], Path("out"))), cut(name * 50, 90)):
        assert "\x1b" not in text and "\u202e" not in text and "\\x1b[31m" in text


def test_what_a_result_holds_is_no_markup():
    odd = Outcome({"run": "<script>|\x1b[31m", "kind": "search <b>", "seconds": {"search": 1.0}})
    assert "<script>" not in odd._repr_html_() and html.escape("<script>") in odd._repr_html_()
    assert "<script>" not in odd._repr_markdown_() and "\x1b" not in repr(odd) + odd._repr_markdown_()
    assert "| run | &lt;script&gt;\\|" in odd._repr_markdown_()
