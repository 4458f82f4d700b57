"""Classifiers and kept models are checked when they are read: by their checksum, and tensor by tensor; those of before
there was a checksum (made at commit f72af26, in the folder of that name) are read as ever."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from autometa.data import load_images
from autometa.errors import InputError
from autometa.models import classifier, compact
from autometa.models.classifier import Classifier
from autometa.models.compact import load_kept
from autometa.runs.tensors import digest
from autometa.slots.arena import steps_by_kind
from tests.cli.driving import class_folders

OLD = Path(__file__).with_name("f72af26")
ANSWERS = {
    "search": [[0.3810774, 0.2878843, 0.3310383], [0.3670197, 0.3006090, 0.3323713]],
    "train": [[0.0660965, 0.7160997, 0.2178038], [0.3348786, 0.3313615, 0.3337600]],
}
"""Probabilities that f72af26 gave of bar/0.png and blob/1.png."""


def read(path, key):
    """Metadata and tensors of a file."""
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()[key]), {name: file.get_tensor(name) for name in file.keys()}


def write(path, key, told, tensors):
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, {key: json.dumps(told)})


@pytest.fixture(params=["search", "train"])
def old(request, tmp_path):
    """A classifier of f72af26 that a test may change."""
    return Path(shutil.copytree(OLD / request.param, tmp_path / request.param))


@pytest.mark.parametrize("name", ANSWERS)
def test_a_classifier_of_before_is_read_and_answers_as_ever(tmp_path, name):
    taught = Classifier.load(OLD / name)
    photos = class_folders(tmp_path / "photos")
    images = load_images([photos / "bar/0.png", photos / "blob/1.png"], taught.recipe)
    torch.testing.assert_close(taught.probabilities(images), torch.tensor(ANSWERS[name]), rtol=1e-4, atol=1e-5)
    assert taught.start.learned.theta.isfinite().all()


def nan(tensors, told):
    tensors["statistics.0"] = tensors["statistics.0"] * torch.nan


def negative(tensors, told):
    tensors["statistics.0"] = -1 - tensors["statistics.0"].abs()


def fewer_names(tensors, told):
    told["names"] = told["names"][:-1]


def other_steps(tensors, told):
    tensors["lesson.steps"] = tensors["lesson.steps"].float()


def gap(tensors, told):
    tensors["phi"][0, -1] = 1.0 if tensors["phi"][0, -1] == 0 else torch.inf


DAMAGE = {
    "removed": (lambda t, told: t.pop("statistics.0"), "statistics.0 is missing"),
    "nan": (nan, "statistics.0 holds values that are not finite"),
    "negative variance": (negative, "statistics.0 holds a variance below 0"),
    "one name less": (fewer_names, "the tensor "),
    "phi narrower": (lambda t, told: t.update(phi=t["phi"][:, :-16]), r"phi is float32 \[1, \d+\], not float32"),
    "phi in double": (lambda t, told: t.update(phi=t["phi"].double()), "phi is float64"),
    "a stranger": (lambda t, told: t.update(other=t["phi"] + 0), "holds a tensor 'other'"),
    "a statistic more": (lambda t, told: told.update(statistics=told["statistics"] + 1), "statistics, not the"),
    "other steps": (other_steps, "steps is float32"),
    "no start": (lambda t, told: t.pop("lesson.theta"), "theta is missing"),
    "labels": (lambda t, told: t.update({"lesson.labels": t["lesson.labels"] + 1}), "lesson.labels does not name"),
    "pictures": (lambda t, told: t.update({"lesson.images": t["lesson.images"][:, :, :-1] + 0}), "lesson.images is"),
    "size": (lambda t, told: told["recipe"].update(size=True), "recipe.size must be a whole number"),
    "channels": (lambda t, told: told["recipe"].update(channels=2), "recipe.channels must be 1 or 3, not 2"),
    "steps": (lambda t, told: told["config"]["test"].update(steps=2.5), r"test.steps must be a whole number .*not 2.5"),
    "algorithm": (lambda t, told: told["config"].update(algorithm=None), "it is no config of a search or training run"),
    "names": (lambda t, told: told.update(names="abc"), "names must be a list"),
    "one name twice": (lambda t, told: told.update(names=["bar", "bar", "blob"]), "names hold one class twice"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_without_a_checksum_every_tensor_is_held_against_the_network(old, name):
    path = old / classifier.FILE
    told, tensors = read(path, classifier.FORMAT)
    change, says = DAMAGE[name]
    change(tensors, told)
    write(path, classifier.FORMAT, told, tensors)
    with pytest.raises(InputError, match=rf"classifier.safetensors is damaged: .*{says}.*; adapt again"):
        Classifier.load(old)


def test_a_new_file_has_a_checksum_over_all_it_holds(old):
    path = Classifier.load(old).save(old) / classifier.FILE
    told, tensors = read(path, classifier.FORMAT)
    assert told["sha256"] == digest({name: told[name] for name in told if name != "sha256"}, tensors)
    assert Classifier.load(old).names == ("bar", "blob", "cross")
    changed = {
        "one bit": (told, {**tensors, "phi": tensors["phi"].nextafter(tensors["phi"] + 1)}),
        "a name": ({**told, "names": ["bar", "blob", "crows"]}, tensors),
        "none": ({name: value for name, value in told.items() if name != "sha256"}, tensors),
    }
    for other, tensor in changed.values():
        write(path, classifier.FORMAT, other, tensor)
        with pytest.raises(InputError, match="does not match its checksum; adapt again"):
            Classifier.load(old)


@pytest.fixture
def small(tmp_path):
    """A kept model of f72af26 that a test may change."""
    return Path(shutil.copytree(OLD / "kept", tmp_path / "kept"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t, told: t.pop("steps"), "the tensor steps is missing"),
        (lambda t, told: t.update(theta=t["theta"] * torch.nan), "theta holds values that are not finite"),
        (lambda t, told: t.update(theta=t["theta"][:-16]), "theta is float32"),
        (lambda t, told: t.update(root_second=t["root_second"].float()), "root_second is float32"),
        (lambda t, told: told.update(genotype={}), "this is no genotype file"),
    ],
)
def test_a_kept_model_of_before_is_held_against_its_network(small, change, says):
    assert load_kept(small).model.network.ways == 2
    told, tensors = read(small / compact.TENSORS, compact.FORMAT)
    change(tensors, told)
    write(small / compact.TENSORS, compact.FORMAT, told, tensors)
    with pytest.raises(InputError, match=f"kept is damaged: .*{says}.*make the model again"):
        load_kept(small)


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("config.json", '"filters": 3', '"filters": 0', "filters must be at least 2, not 0"),
        ("config.json", '"filters": 3', '"filters": 2.5', "filters must be a whole number"),
        ("config.json", '"cells": 4', '"cells": 10000000', "cells must be at most 1,000, not 10,000,000"),
        ("config.json", "{", '{"algorithm": "metanas",', "unknown setting"),
        ("config.json", '"ways": 2', '"ways": 40', r"theta is float32 \[\d+\]"),
        ("data.json", '"size": 8', '"size": 9', "image_shape"),
        ("data.json", "{", "[" * 100_000, "nested deeper"),
    ],
)
def test_files_beside_a_kept_model(small, name, old, new, says):
    text = (small / name).read_text()
    assert old in text
    (small / name).write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=f"{says}.*make the model again"):
        load_kept(small)


def test_a_kept_model_has_a_checksum_over_the_files_beside_it(small, tmp_path):
    told, tensors = read(small / compact.TENSORS, compact.FORMAT)
    beside = {name: json.loads((small / f"{name}.json").read_text()) for name in ("config", "data")}
    told["version"], tensors["steps"] = compact.VERSION, steps_by_kind(tensors["steps"])
    told["sha256"] = digest({**told, **beside}, tensors)
    write(small / compact.TENSORS, compact.FORMAT, told, tensors)
    assert load_kept(small).model.config.seed == 0
    (small / "config.json").write_text(re.sub(r'"steps": 2\b', '"steps": 3', (small / "config.json").read_text()))
    with pytest.raises(InputError, match="does not match its checksum"):
        load_kept(small)
