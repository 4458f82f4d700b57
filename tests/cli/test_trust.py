"""What a result says of other classes, of yardsticks without learning and of unknown classes, wherever it is told."""

import json
import shutil

import numpy as np
import pytest

from autometa.models import confidence
from autometa.models.confidence import Answers
from autometa.runs import RunFolder
from tests.cli.driving import TRAIN, call, changed, class_folders, same_outcome
from tests.cli.test_photos import QUICK, photos


def test_a_run_tells_how_far_to_trust_it(searched, trained):
    for run, told in (searched, trained):
        _told(run, "" if told.out.startswith("{") else told.out)


def _told(run, printed):
    result = json.loads((run / "result.json").read_text())
    found, sure = result["new_classes"], result["confidence"]
    assert found["low"] <= found["mean"] <= found["high"] and not found["turned"]
    assert found["mean"] == pytest.approx(result["accuracy"]), "without turns it is the accuracy"
    assert _in_every_mode(result)
    assert result["baselines"]["chance"] == 50 and result["baselines"]["tasks"] == 2
    assert sure == json.loads((run / "confidence.json").read_text())
    assert 0.5 <= sure["min_confidence"] <= 1 and set(sure["1-shot"]["refused"]) == {"right", "wrong", "unknown"}
    answer = call("report", run)
    assert answer.code == 0, answer.err
    page, card = (run / "report.html").read_text(), (run / "MODEL_CARD.md").read_text()
    for text in filter(None, (page, card, printed)):
        for words in (
            "On other classes: about",
            "nearest class mean of pixels",
            "Unknown classes: predict refuses",
        ):
            assert words in text, words
        assert "over tasks of the same" in text
    compared = call("compare", run).out
    assert f"{found['low']:.0f} to {found['high']:.0f} ({found['classes']})" in compared
    evaluated = call("eval", "--run", run, "--tasks", "3", "--json", "-q").json
    assert evaluated["new_classes"]["classes"] == found["classes"] and evaluated["baselines"]["tasks"] == 3
    assert _in_every_mode(evaluated)
    for mode in result["scores"]:
        own = found["modes"][mode]
        for text in filter(None, (page, card, printed)):
            assert f"{own['mean']:.1f} ({own['low']:.0f} to {own['high']:.0f})" in text, mode


def _in_every_mode(result):
    """An accuracy has its interval over classes in each BN mode."""
    found, scores = result["new_classes"]["modes"], result["scores"]
    same = all(found[mode]["mean"] == pytest.approx(scores[mode]["mean"]) for mode in scores)
    inside = all(one["low"] <= one["mean"] <= one["high"] for one in found.values())
    return set(found) == set(scores) and len(found) == 3 and same and inside


def test_the_threshold_is_the_runs_own(trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained[0], run)
    support = class_folders(tmp_path / "new", names=("bar", "blob"))
    assert call("adapt", "--support", support, "--run", run).code == 0
    answer = call("predict", support / "bar", "--run", run, "--min-confidence", "calibrated")
    assert answer.code == 0 and "Unknown classes: predict refuses, below" in answer.err
    (run / "confidence.json").write_text('{"min_confidence": "high"}')
    answer = call("adapt", "--support", support, "--run", run)
    assert (answer.code, answer.err.count("\n")) == (
        2,
        1,
    ) and "confidence.json is not as autometa writes it: min_confidence must be a number" in answer.err


def test_few_classes_of_ones_own(tmp_path):
    """Two test classes: nearly everything is possible, and confidences cannot be measured."""
    mine = photos(tmp_path / "mine")
    answer = call("search", "--data", mine, *QUICK, "--out", "run")
    assert answer.code == 0, answer.err
    found = RunFolder.open("run").result
    assert (found["new_classes"]["classes"], found["new_classes"]["turned"]) == (2, True)
    assert found["new_classes"]["high"] - found["new_classes"]["low"] > 50
    assert "only 2 classes were tested, which says little" in answer.out
    assert "Unknown classes: not measured, 2 classes that training never saw are too few" in answer.out
    assert "No class was asked about 20 times" in confusions_of("run")
    assert call("adapt", "--support", mine, "--run", "run", "-q").code == 0
    answer = call("predict", mine / "class0/0.png", "--run", "run", "--min-confidence", "calibrated", "-q")
    assert answer.code == 2 and "2 classes that training never saw are too few" in answer.err


def confusions_of(run):
    assert call("report", run).code == 0
    return (RunFolder.open(run).path / "report.html").read_text()


def test_a_measurement_that_is_cut_off_goes_on(tmp_path, monkeypatch):
    words = ["train", "reptile-omniglot", *changed(TRAIN, **{"test.tasks": 4})]
    assert call(*words, "--out", "whole", "-q").code == 0
    plain, done = confidence.Asking.answers, []

    def stopping(asking, part):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(part)
        return plain(asking, part)

    with monkeypatch.context() as patch:
        patch.setattr(confidence.Asking, "answers", stopping)
        assert call(*words, "--checkpoint-every", "0.0001s", "--out", "broken", "-q").code == 130
    assert not (tmp_path / "broken/result.json").exists() and len(done) == 2
    assert call("train", "--resume", "broken", "-q").code == 0
    assert same_outcome(tmp_path / "whole", tmp_path / "broken")


def test_answers_are_counted_by_sort():
    found = Answers(np.array([0.9, 0.6, 0.8]), np.array([0.5]), np.array([0.3, 0.95]))
    assert found.accuracy == 75.0
    assert found.refused(0.85) == {"right": pytest.approx(200 / 3), "wrong": 100.0, "unknown": 50.0}
