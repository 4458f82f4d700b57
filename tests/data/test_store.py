"""A store is whole or absent, and is what was written."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from autometa.data import ClassEntry, DataError, ImageStore, Recipe, write_store
from autometa.data.store import IMAGES, META, cached_store
from autometa.errors import DiskError

CONVERT = """
import sys, time, pathlib
import numpy as np
from autometa.data import ClassEntry, Recipe, write_store
from autometa.data.store import cached_store

def images(pause):
    for value in range(20):
        yield np.full((1, 4, 4), value, np.uint8)
        time.sleep(pause)

def convert(path):
    print("converting", flush=True)
    classes = [ClassEntry("a/b", "a", "train", 20)]
    write_store(path, "slow", Recipe(size=4), classes, images(float(sys.argv[1])))

print(cached_store("slow", "4", convert).data_hash, flush=True)
"""


def start_conversion(pause, cache):
    command = [sys.executable, "-c", CONVERT, str(pause)]
    env = {
        **os.environ,
        "AUTOMETA_CACHE": str(cache),
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
    }
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)


def test_round_trip(make_store):
    store, images = make_store([3, 1, 4], channels=3, size=7)
    assert np.array_equal(store.images, images)
    assert store.class_names == ("Group0/class0", "Group0/class1", "Group1/class2")
    assert store.class_start.tolist() == [0, 3, 4, 8]
    assert store.groups == ("Group0", "Group0", "Group1")
    assert store.recipe == Recipe(3, 7, "box", "as-is")
    assert store.class_ids(["Group1/class2", "Group0/class0"]).tolist() == [2, 0]
    assert isinstance(store.images, np.memmap) and not store.images.flags.writeable
    store.verify()


def test_tensor_shares_the_mapped_file(make_store, recwarn):
    store, images = make_store([2, 2])
    tensor = store.tensor()
    assert torch.equal(tensor, torch.from_numpy(images))
    assert tensor.data_ptr() == store.images.ctypes.data
    assert not recwarn.list


def test_hash_covers_pixels_names_sizes_and_recipe(tmp_path):
    def digest(name, value=0, classes=(("a", 1), ("b", 2)), recipe=None):
        recipe = recipe or Recipe(size=2)
        entries = [ClassEntry(name, "", "", count) for name, count in classes]
        write_store(tmp_path / name, "x", recipe, entries, [np.full((1, 2, 2), value, np.uint8)] * 3)
        return ImageStore.open(tmp_path / name).data_hash

    first = digest("first")
    assert digest("again") == first
    others = {
        digest("pixels", value=1),
        digest("names", classes=(("a", 1), ("c", 2))),
        digest("sizes", classes=(("a", 2), ("b", 1))),
        digest("filter", recipe=Recipe(size=2, filter="nearest")),
        digest("polarity", recipe=Recipe(size=2, polarity="as-is")),
    }
    assert len(others | {first}) == 6


@pytest.mark.parametrize("images", [[np.zeros((1, 2, 2), np.uint8)], [np.zeros((1, 3, 2), np.uint8)] * 2])
def test_wrong_images_leave_nothing(tmp_path, images):
    with pytest.raises(ValueError, match="image"):
        write_store(tmp_path / "s", "x", Recipe(size=2), [ClassEntry("a", "", "", 2)], images)
    assert list(tmp_path.iterdir()) == []


def test_error_while_reading_leaves_nothing(tmp_path):
    def images():
        yield np.zeros((1, 2, 2), np.uint8)
        raise DataError("the second image is damaged")

    with pytest.raises(DataError, match="second"):
        write_store(tmp_path / "s", "x", Recipe(size=2), [ClassEntry("a", "", "", 2)], images())
    assert list(tmp_path.iterdir()) == []


def test_finished_store_stays_when_another_process_was_faster(tmp_path):
    for value in (1, 2):
        images = [np.full((1, 2, 2), value, np.uint8)]
        write_store(tmp_path / "s", "x", Recipe(size=2), [ClassEntry("a", "", "", 1)], images)
    assert ImageStore.open(tmp_path / "s").images[0, 0, 0, 0] == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["s"]


def test_killed_conversion_leaves_no_store_and_the_next_cleans_up(tmp_path):
    process = start_conversion(0.2, tmp_path)
    assert process.stdout.readline() == "converting\n"
    deadline = time.monotonic() + 10
    while not list(tmp_path.glob(".*.tmp-*/images.npy")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert list(tmp_path.glob(".*.tmp-*")), "the kill came too late to test anything"
    assert not list(tmp_path.glob("slow*"))

    with start_conversion(0, tmp_path) as process:
        assert process.stdout.read().startswith("converting\n")
    assert process.returncode == 0
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_dir()] == ["slow-4-v1"]
    ImageStore.open(tmp_path / "slow-4-v1").verify()


def test_two_processes_at_once_convert_once(tmp_path):
    processes = [start_conversion(0.02, tmp_path) for _ in range(2)]
    answers = [process.communicate()[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert answers[0][-1] == answers[1][-1]
    assert sum("converting" in answer for answer in answers) == 1


def test_cache_is_not_written_twice(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOMETA_CACHE", str(tmp_path / "deep" / "cache"))
    calls = []

    def convert(path):
        calls.append(path)
        write_store(path, "x", Recipe(size=2), [ClassEntry("a", "", "", 1)], [np.zeros((1, 2, 2), np.uint8)])

    first, second = cached_store("x", "2", convert), cached_store("x", "2", convert)
    assert first.data_hash == second.data_hash and len(calls) == 1
    assert first.path.parent == tmp_path / "deep" / "cache"


def test_cache_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AUTOMETA_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(DiskError, match="AUTOMETA_CACHE"):
        cached_store("x", "2", lambda path: None)


def edit_meta(store, **changes):
    meta = json.loads((store.path / META).read_text())
    (store.path / META).write_text(json.dumps({**meta, **changes}))


BREAKAGES = {
    "store.json is missing": lambda store: (store.path / META).unlink(),
    "images.npy is missing": lambda store: (store.path / IMAGES).unlink(),
    "damaged": lambda store: (store.path / META).write_text("{"),
    "format 99": lambda store: edit_meta(store, format=99),
    "class tables": lambda store: edit_meta(store, groups=["a"]),
    "instead of uint8": lambda store: edit_meta(store, class_start=[0, 2, 5]),
    "cannot be opened": lambda store: os.truncate(store.path / IMAGES, 150),
    "lacks or garbles": lambda store: edit_meta(store, recipe={"sice": 3}),
    "no image store": lambda store: shutil.rmtree(store.path),
}


@pytest.mark.parametrize("message", BREAKAGES)
def test_open_says_what_is_wrong_and_what_to_do(make_store, message):
    store, _ = make_store([2, 2])
    BREAKAGES[message](store)
    with pytest.raises(DataError, match=message) as caught:
        ImageStore.open(store.path)
    assert str(store.path) in str(caught.value) and "convert the data again" in str(caught.value)


def test_verify_sees_one_changed_pixel(make_store):
    store, _ = make_store([2, 2])
    with open(store.path / IMAGES, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    with pytest.raises(DataError, match="data hash"):
        ImageStore.open(store.path).verify()


def test_unknown_class_name(make_store):
    store, _ = make_store([2])
    with pytest.raises(DataError, match="nobody"):
        store.class_ids(["nobody"])
