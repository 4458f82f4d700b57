"""A user's own folder of images as a data set."""

import numpy as np
import pytest
from PIL import Image

from autometa.data import DataError, Episodes, TaskSpec, open_dataset
from tests.data.conftest import build_store


def fill(folder, classes, images=2, size=8):
    for value, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(images):
            Image.fromarray(np.full((size, size), 10 * value + number, np.uint8)).save(folder / name / f"{number}.png")


def test_classes_are_parted_by_the_hash_of_their_names(tmp_path):
    fill(tmp_path / "mine", [f"thing{k}" for k in range(20)])
    store, split = open_dataset(tmp_path / "mine", size=4, variant="grey")
    assert store.images.shape == (40, 1, 4, 4)
    assert store.images[2:4, 0, 0, 0].tolist() == [10, 11]
    assert (len(split.train), len(split.val), len(split.test)) == (14, 3, 3)
    assert np.array_equal(np.sort(np.concatenate([split.train, split.val, split.test])), np.arange(20))
    assert (split.train_rotations, split.test_rotations) == (1, 1)


def test_given_parts_are_kept(tmp_path):
    fill(tmp_path / "train", [f"a{k}" for k in range(10)])
    fill(tmp_path / "test", ["b0", "b1"])
    store, split = open_dataset(tmp_path, size=4)
    assert [store.class_names[index] for index in split.test] == ["b0", "b1"]
    assert (len(split.train), len(split.val)) == (8, 2)
    assert split.name == "folders of the parts; val is 15% of all, by hash of the class name out of train"


def test_classes_called_train_and_test_are_no_parts(tmp_path):
    fill(tmp_path, ["test", "train", "tram"])
    store, split = open_dataset(tmp_path, size=4)
    assert store.class_names == ("test", "train", "tram") and set(store.parts) == {""} and "70/15/15" in split.name


def test_conversion_follows_the_files(tmp_path):
    fill(tmp_path, ["a", "b", "c", "d", "e"])
    first, _ = open_dataset(tmp_path, size=4)
    again, _ = open_dataset(tmp_path, size=4)
    assert again.path == first.path
    colour, _ = open_dataset(tmp_path, size=4, variant="colour")
    assert colour.channels == 3
    Image.fromarray(np.full((9, 9), 77, np.uint8)).save(tmp_path / "a" / "9.png")
    more, _ = open_dataset(tmp_path, size=4)
    assert len(more.images) == 11 and more.path != first.path


def test_a_store_opens_by_its_path(tmp_path):
    built, images = build_store(tmp_path, [3] * 10, size=6)
    store, split = open_dataset(built.path, size=6)
    assert np.array_equal(store.images, images) and len(split.test) == 2
    with pytest.raises(DataError, match="size 6"):
        open_dataset(built.path, size=7)


def test_messages(tmp_path):
    fill(tmp_path / "mine", ["a", "b"])
    with pytest.raises(DataError, match="odd.*choose from"):
        open_dataset(tmp_path / "mine", variant="odd")
    with pytest.raises(DataError, match="nothing-like-this.*strokes"):
        open_dataset("nothing-like-this")
    (tmp_path / "mine" / "a" / "0.png").write_text("no image")
    with pytest.raises(DataError, match="0.png cannot be read"):
        open_dataset(tmp_path / "mine")


@pytest.mark.parametrize("count", [4, 5, 12, 33])
def test_of_few_classes_enough_are_kept_back_and_no_turn_of_a_class_leaks(tmp_path, count):
    built, _ = build_store(tmp_path, [3] * count, size=6)
    store, split = open_dataset(built.path, size=6, rotations=4)
    assert sorted([*split.train, *split.test]) == list(range(count)) and set(split.val) <= set(split.train)
    assert len(split.test) == (5 if count == 33 else 2) and len(split.without_val().train) * 4 >= 4
    assert "quarter turns as classes" in split.name
    assert (split.train_rotations, split.val_rotations, split.test_rotations) == (4, 4, 4)
    seen = []
    for part in (split.train, split.test):
        tasks = Episodes(store, part, TaskSpec(5, 1, 1, 4), 0).tasks(range(40))
        seen.append(set(np.searchsorted(store.class_start, tasks.image.flatten().numpy(), side="right") - 1))
        assert set(tasks.rotation.flatten().tolist()) == {0, 1, 2, 3}
    assert seen[0] == set(split.train.tolist()) and seen[1] == set(split.test.tolist())


def test_without_turns_a_whole_task_of_few_classes_is_kept_back(tmp_path):
    built, _ = build_store(tmp_path, [3] * 12, size=6)
    _, split = open_dataset(built.path, size=6, rotations=1)
    assert (len(split.train), len(split.test), split.test_rotations) == (7, 5, 1)
    again, plain = (open_dataset(built.path, size=6, rotations=r)[1] for r in (1, None))
    assert np.array_equal(again.test, split.test) and "70/15/15" in plain.name


def test_turns_of_given_parts_and_of_known_sets(tmp_path):
    fill(tmp_path / "train", [f"a{k}" for k in range(10)])
    fill(tmp_path / "test", ["b0", "b1"])
    store, split = open_dataset(tmp_path, size=4, rotations=4)
    assert [store.class_names[index] for index in split.test] == ["b0", "b1"] and split.test_rotations == 4
    _, drawn = open_dataset("strokes:6x6x6", size=8, rotations=4)
    assert (drawn.train_rotations, drawn.test_rotations) == (4, 4)
