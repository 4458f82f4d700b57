"""Data sets registered by name."""

from __future__ import annotations

import numpy as np
import pytest

from autometa.data import (
    ClassEntry,
    DataError,
    Recipe,
    cached_store,
    dataset_names,
    folder_split,
    open_dataset,
    register,
    write_store,
)
from autometa.errors import InputError
from tests.registries import restored


@pytest.fixture(autouse=True)
def registries():
    with restored():
        yield


def made(detail: str, size: int, seed: int, **others):
    """As many classes as `detail` says, each of one grey value."""
    assert set(others) == {"root", "variant"}
    count = int(detail or 4)
    entries = [ClassEntry(f"class{k}", "grey", ("train", "val", "test")[k % 3], 2) for k in range(count)]
    images = (np.full((1, size, size), 10 * k + seed, np.uint8) for k in range(count) for _ in range(2))

    def convert(path):
        write_store(path, "grey", Recipe(size=size), entries, images)

    store = cached_store("grey", f"{count}-{size}-{seed}", convert)
    return store, folder_split(store)


def test_a_registered_name_opens(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOMETA_CACHE", str(tmp_path))
    register("grey", made)
    assert "grey" in dataset_names()
    store, split = open_dataset("grey:6", size=5, seed=3)
    assert store.images[:, 0, 0, 0].tolist() == [3, 3, 13, 13, 23, 23, 33, 33, 43, 43, 53, 53]
    assert (split.train.tolist(), split.val.tolist(), split.test.tolist()) == ([0, 3], [1, 4], [2, 5])
    assert len(open_dataset("grey", size=5)[0].class_names) == 4


def test_what_a_loader_must_not_return(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOMETA_CACHE", str(tmp_path))
    register("wrong", lambda **_: [1, 2])
    with pytest.raises(DataError, match="must return .ImageStore, Split., not list"):
        open_dataset("wrong")
    register("small", lambda detail, size, seed, **others: made(detail, size - 1, seed, **others))
    with pytest.raises(DataError, match="size 27, not 28"):
        open_dataset("small")


def test_names_that_are_taken_or_none():
    register("mine", made)
    for name, says in {"mine": "mine exists already", "omniglot": "omniglot exists already", "a:b": "letters"}.items():
        with pytest.raises(InputError, match=says):
            register(name, made)
    register("mine", lambda **_: None, replace=True)
    with pytest.raises(DataError, match="not NoneType"):
        open_dataset("mine")
    with pytest.raises(DataError, match="mine, give a folder, or load the file"):
        open_dataset("other")
