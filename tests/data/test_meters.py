"""Meters by name: folds without a picture in two of them, a digit of all training meters together, stretched."""

import hashlib
import os
from itertools import chain

import numpy as np
import pytest

from autometa.data import DataError
from autometa.data.catalogue import open_dataset
from autometa.data.formats.recognise import recognise
from autometa.data.meters import FOLDS, METERS, find_meters, load

needs_data = pytest.mark.skipif(
    not os.path.exists(os.path.join(os.environ.get("AUTOMETA_DATA", ""), "meters", "meters.zip")),
    reason="meters/meters.zip is not in AUTOMETA_DATA",
)


def test_every_meter_is_left_out_once():
    assert len(set(chain(*FOLDS))) == len(METERS) == 16 and {len(fold) for fold in FOLDS} == {4}


@needs_data
def test_no_picture_stands_in_two_folds():
    fold_of = {meter: number for number, fold in enumerate(FOLDS) for meter in fold}
    seen, shared = {}, set()
    for c in recognise(find_meters()).classes:
        for image in c.images:
            content = hashlib.sha256(image.path.read_bytes()).digest()
            other = seen.setdefault(content, c.group)
            assert fold_of[other] == fold_of[c.group], image.name
            shared |= {(other, c.group)} if other != c.group else set()
    assert shared == {("lcd-first", "water-metrona")}


@needs_data
@pytest.mark.parametrize("fold", range(4))
def test_a_fold_is_tested_on_and_nowhere_trained_on(fold):
    store, split = open_dataset(f"meters:{fold}", size=28, variant="grey")
    groups = np.array(store.groups)
    assert set(groups[split.test]) == set(FOLDS[fold])
    own = set(groups[split.train])
    assert own - set(METERS) and not own & set(FOLDS[fold]) and len(own & set(METERS)) == 12
    held = {image.tobytes() for c in split.test for image in pixels(store, c)}
    trained = {image.tobytes() for c in split.train for image in pixels(store, c)}
    assert not held & trained
    assert store.recipe.fit == "stretch"


@needs_data
def test_digits_of_all_training_meters_are_classes_too():
    store, split = load("1", 28, None, "grey")
    groups, names = np.array(store.groups), np.array(store.class_names)
    together = [c for c in split.train if groups[c] == "all-meters-0"]
    assert [names[c] for c in together] == [f"all-meters-0/{digit}" for digit in range(10)]
    for c in together:
        digit = names[c][-1]
        single = [k for k in split.train if groups[k] in METERS and names[k].endswith(f"/{digit}")]
        assert sorted(p.tobytes() for p in pixels(store, c)) == sorted(
            p.tobytes() for k in single for p in pixels(store, k)
        )


@needs_data
def test_all_sixteen():
    store, split = open_dataset("meters", size=28, variant="grey")
    assert set(np.array(store.groups)[split.test]) == set(METERS) and set(split.test) < set(split.train)
    assert "the same" in split.name


@needs_data
def test_unknown_folds_and_missing_data(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="unknown fold '4' of the meters; choose from 0 to 3"):
        open_dataset("meters:4")
    with pytest.raises(DataError, match=r"holds meters\.zip"):
        open_dataset("meters", root=tmp_path)
    monkeypatch.delenv("AUTOMETA_DATA")
    with pytest.raises(DataError, match="set AUTOMETA_DATA"):
        open_dataset("meters")


def pixels(store, c):
    return store.images[store.class_start[c] : store.class_start[c + 1]]
