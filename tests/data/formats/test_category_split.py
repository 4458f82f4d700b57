"""Mini-ImageNet as pickles of Gidaris & Komodakis."""

import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autometa.data import DataError, Recipe
from autometa.data.formats import mini_imagenet
from autometa.data.formats.mini_imagenet_pickles import CATEGORY_SPLIT, detect
from tests.data.formats.parted_sets import PARTS, assert_same, random_parts

FILES = CATEGORY_SPLIT.files


def split_of(classes, first=0, seed=0):
    """`data` with its classes mixed, `labels`, `catname2label`; images of a class keep their order."""
    numbers = {name: first + 3 * k for k, name in enumerate(classes)}
    order = np.random.default_rng(seed).permutation(
        [n for name, own in classes.items() for n in [numbers[name]] * len(own)]
    )
    left = {numbers[name]: list(images) for name, images in classes.items()}
    data = np.stack([left[label].pop(0) for label in order])
    return {"data": data, "labels": order.tolist(), "catname2label": numbers}


def write_set(folder, parts, protocol=2, change=lambda content: content):
    folder.mkdir(parents=True, exist_ok=True)
    for part, classes in parts.items():
        content = change(split_of(classes, 100 * PARTS.index(part)))
        (folder / FILES[part]).write_bytes(pickle.dumps(content, protocol))
    return folder


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_ends_in_its_classes_and_pixels(tmp_path, protocol):
    parts = random_parts()
    found = detect(write_set(tmp_path / "split", parts, protocol))
    assert_same(found, parts)
    assert (found.format, found.name, found.variant) == ("category split", "split", "colour")
    assert found.split == "3 / 2 / 2 classes as in the three pickles; not Ravi & Larochelle 2017"
    assert detect(tmp_path / "split" / FILES["test"]).fingerprint == found.fingerprint


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    counts=st.tuples(*[st.integers(1, 3)] * 3),
    images=st.integers(1, 3),
    size=st.integers(1, 90),
    scalars=st.booleans(),
)
def test_any_set_is_read_as_by_hand(tmp_path_factory, seed, counts, images, size, scalars):
    def change(content):
        if not scalars:
            return {**content, "labels": np.array(content["labels"])}
        names = {name: np.int64(label) for name, label in content["catname2label"].items()}
        return {**content, "labels": [np.int32(label) for label in content["labels"]], "catname2label": names}

    parts = random_parts(seed, counts, images, size)
    folder = write_set(tmp_path_factory.mktemp("any"), parts, 4, change)
    assert_same(detect(folder), parts, Recipe(3, size, "box", "as-is"))


def test_further_images_of_training_classes_are_no_parts(tmp_path):
    parts = random_parts(images=1, size=4)
    write_set(tmp_path, parts)
    before = detect(tmp_path)
    for phase in ("val", "test"):
        extra = tmp_path / f"miniImageNet_category_split_train_phase_{phase}.pickle"
        extra.write_bytes(pickle.dumps(split_of(parts["train"], seed=1)))
    assert_same(detect(tmp_path), parts, Recipe(3, 4, "box", "as-is"))
    assert detect(tmp_path).fingerprint == before.fingerprint
    (tmp_path / FILES["train"]).unlink()
    with pytest.raises(DataError, match="train_phase_train.pickle is missing; put .* into one folder"):
        detect(tmp_path)


def test_the_real_split_is_named(tmp_path):
    picture = np.zeros((1, 2, 2, 3), np.uint8)
    real = {part: dict.fromkeys(sorted(names), picture) for part, names in mini_imagenet.PARTS.items()}
    found = detect(write_set(tmp_path, real))
    assert (found.name, found.split) == ("miniimagenet", "Ravi & Larochelle 2017")


def test_a_table_of_all_hundred_names_is_no_error(tmp_path):
    parts = random_parts(images=1, size=4)
    everything = {name: k for k, name in enumerate(name for part in PARTS for name in parts[part])}

    def change(content):
        back = {label: everything[name] for name, label in content["catname2label"].items()}
        return {**content, "labels": [back[label] for label in content["labels"]], "catname2label": everything}

    assert_same(detect(write_set(tmp_path, parts, change=change)), parts, Recipe(3, 4, "box", "as-is"))


def changed(**entries):
    return lambda content: {**content, **{key: make(content[key]) for key, make in entries.items()}}


def without(key):
    return lambda content: {other: value for other, value in content.items() if other != key}


class Runs:
    def __reduce__(self):
        return eval, ("1 + 1",)


BAD = {
    "a tuple": (lambda content: (content,), "holds a tuple instead of a dict"),
    "no data": (without("data"), "has no 'data' but 'labels', 'catname2label'"),
    "no labels": (without("labels"), "has no 'labels'"),
    "no names": (without("catname2label"), "has no 'catname2label'"),
    "too few labels": (changed(labels=lambda labels: labels[1:]), r"has labels that are \d+ for \d+ images"),
    "text labels": (changed(labels=lambda labels: ["a"] * len(labels)), "has labels that are no list of whole numbers"),
    "float labels": (changed(labels=lambda labels: np.array(labels, float)), "no list of whole numbers"),
    "square labels": (changed(labels=lambda labels: np.array([labels])), "no list of whole numbers"),
    "unnamed": (
        changed(labels=lambda labels: [7777, *labels[1:]]),
        "has label 7777 at image 0, which catname2label",
    ),
    "names are a list": (changed(catname2label=lambda names: list(names)), "has a catname2label that is no dict"),
    "label is text": (
        changed(catname2label=lambda names: {**names, "x": "1"}),
        "gives class 'x' the label '1', no number",
    ),
    "label twice": (changed(catname2label=lambda names: {**names, "x": 100}), "has label 100 for 'nval0' and 'x'"),
    "name twice": (changed(catname2label=lambda names: {**names, b"nval0": 8888}), "names a class under two labels"),
    "number as data": (changed(data=lambda data: 7), "has a int as data instead of an array"),
    "floats": (changed(data=lambda data: data / 255), "float64 .* instead of uint8"),
    "channels first": (changed(data=lambda data: data.transpose(0, 3, 1, 2)), "instead of uint8"),
    "code": (changed(labels=lambda labels: Runs()), r"asks for (__builtin__|builtins)\.eval"),
}


@pytest.mark.parametrize("kind", BAD)
def test_damaged_files_are_told(tmp_path, kind):
    change, message = BAD[kind]
    parts = random_parts(images=2, size=5)
    write_set(tmp_path, parts)
    write_set(tmp_path, {"val": parts["val"]}, change=change)
    with pytest.raises(DataError, match=message) as told:
        detect(tmp_path)
    assert FILES["val"] in str(told.value) and "\n" not in str(told.value)


def test_missing_and_mixed_files_are_told(tmp_path):
    parts = random_parts(images=1, size=4)
    assert detect(tmp_path) is None and detect(tmp_path / "none") is None
    (tmp_path / "other.pickle").write_bytes(b"")
    assert detect(tmp_path / "other.pickle") is None
    write_set(tmp_path, {"train": parts["train"], "test": parts["test"]})
    with pytest.raises(DataError, match="category_split_val.pickle is missing"):
        detect(tmp_path)
