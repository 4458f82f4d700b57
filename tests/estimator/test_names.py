"""Labels in two Unicode forms are one class: while teaching, adding, scoring, and in files of before that was seen."""

import json
import unicodedata
from dataclasses import replace

import numpy as np
import pytest

import autometa
from autometa.api.settings import settle
from autometa.errors import InputError
from autometa.estimator.base import in_nfc
from autometa.estimator.fitting import Fitted, none_label_of
from autometa.models.classifier import Classifier
from autometa.runs.folder import RunFolder
from autometa.train.run_config import config_of
from tests.algorithms.test_metanas import TINY


def nfd(text):
    return unicodedata.normalize("NFD", text)


def test_labels_are_taught_added_and_scored_in_one_form(drawn):
    images, labels, others, answers = drawn
    name = {label: f"é{label}" for label in labels.tolist()}
    y = [nfd(name[label]) if k % 2 else name[label] for k, label in enumerate(labels.tolist())]
    made = autometa.FewShotClassifier(steps=2).fit(images, np.array(y))
    assert made.classes_.tolist() == sorted(name.values()) and made.classifier_.names == tuple(sorted(name.values()))
    told = [name[label] for label in answers.tolist()]
    right = float(np.mean(made.predict(others) == np.array(told)))
    assert made.score(others, told) == made.score(others, np.array([nfd(text) for text in told])) == right
    first, second = sorted(name.values())[:2]
    made.partial_fit(images[:2], np.array([nfd(first), second]))
    assert made.classes_.tolist() == sorted(name.values())
    with pytest.raises(InputError, match="is one of the classes"):
        none_label_of(made.classes_, nfd(first))


def test_other_labels_stay_what_they_are():
    for labels in (np.array([1, 2]), np.array([True, False]), np.array(["a", "longer"]), np.array([0.5])):
        assert in_nfc(labels) is labels


def test_a_classifier_on_disk_is_read_in_one_form(taught, tmp_path):
    old = taught.classifier_
    names = tuple(nfd(f"é{k}") for k in range(len(old.names)))
    told = {"dtype": "str", "values": list(names)}
    replace(old, names=names, extra={**old.extra, "labels": told}).save(tmp_path / "old")
    loaded = Classifier.load(tmp_path / "old")
    assert loaded.names == tuple(f"é{k}" for k in range(len(names)))
    assert Fitted.of(loaded).classes.tolist() == list(loaded.names)
    both = ("é", nfd("é"), *names[2:])
    told = {"dtype": "str", "values": list(both)}
    replace(old, names=both, extra={**old.extra, "labels": told}).save(tmp_path / "both")
    twice = Classifier.load(tmp_path / "both")
    assert len(set(twice.names)) == len(both), "no answer is lost"
    assert len(set(Fitted.of(twice).classes.tolist())) == len(both) - 1, "taught again they are one class"


def test_a_run_records_how_it_reads_names(tmp_path):
    with RunFolder.create(tmp_path / "run", "search metanas", TINY, ["autometa"], seed=0):
        pass
    path = tmp_path / "run/config.json"
    config = json.loads(path.read_text())
    assert config["data"]["reading"] == 2 == config_of(RunFolder.open(tmp_path / "run")).data.reading
    del config["data"]["reading"]
    path.write_text(json.dumps(config))
    assert config_of(RunFolder.open(tmp_path / "run")).data.reading == 1, "what does not say it is older"
    with pytest.raises(InputError, match=r"data\.reading must be 1 or 2, not 3"):
        settle(TINY, None, {"data.reading": 3})
