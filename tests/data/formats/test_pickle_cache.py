"""Mini-ImageNet as three pickles, in a folder or an archive."""

import os
import pickle
import tarfile
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autometa.data import DataError
from autometa.data.formats import mini_imagenet
from autometa.data.formats.archives import unpack
from autometa.data.formats.mini_imagenet_pickles import CACHE, detect
from tests.data.formats.parted_sets import AS_IS, PARTS, assert_same, random_parts, shared_data

FILES = CACHE.files


def cache_of(classes, seed=0):
    """`image_data` with its images shuffled, and `class_dict`."""
    counts = [len(images) for images in classes.values()]
    place = np.random.default_rng(seed).permutation(sum(counts))
    data = np.concatenate(list(classes.values()))
    shuffled = np.empty_like(data)
    shuffled[place] = data
    own = np.split(place, np.cumsum(counts)[:-1])
    return {"image_data": shuffled, "class_dict": {name: own[k].tolist() for k, name in enumerate(classes)}}


def write_set(folder, parts, protocol=4, change=lambda content: content):
    folder.mkdir(parents=True, exist_ok=True)
    for part, classes in parts.items():
        (folder / FILES[part]).write_bytes(pickle.dumps(change(cache_of(classes)), protocol))
    return folder


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_ends_in_its_classes_and_pixels(tmp_path, protocol):
    parts = random_parts()
    found = detect(write_set(tmp_path / "my cache", parts, protocol))
    assert_same(found, parts)
    assert (found.format, found.name, found.variant) == ("pickle cache", "my cache", "colour")
    assert found.split == "3 / 2 / 2 classes as in the three pickles; not Ravi & Larochelle 2017"
    assert {image.pixels.window is None for entry in found.classes for image in entry.images} == {not protocol}
    source = pickle.loads(pickle.dumps(found.classes[1].images[2]))
    assert np.array_equal(source.read(AS_IS), parts["train"]["ntrain1"][2].transpose(2, 0, 1))
    assert len(pickle.dumps(source)) < 500


def test_fortran_order_and_array_tables(tmp_path):
    def change(content):
        table = {name: np.array(own, np.int32) for name, own in content["class_dict"].items()}
        return {"image_data": np.asfortranarray(content["image_data"]), "class_dict": table}

    found = detect(write_set(tmp_path, random_parts(), change=change))
    assert_same(found, random_parts())
    assert detect(tmp_path / FILES["val"]).fingerprint == found.fingerprint


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    counts=st.tuples(*[st.integers(1, 3)] * 3),
    images=st.integers(1, 3),
    size=st.integers(1, 90),
    protocol=st.integers(0, 5),
)
def test_any_set_is_read_as_by_hand(tmp_path_factory, seed, counts, images, size, protocol):
    parts = random_parts(seed, counts, images, size)
    folder = write_set(tmp_path_factory.mktemp("any"), parts, protocol)
    assert_same(detect(folder), parts, type(AS_IS)(3, size, "box", "as-is"))


def test_the_real_split_is_named(tmp_path):
    picture = np.zeros((1, 2, 2, 3), np.uint8)
    real = {part: dict.fromkeys(sorted(names), picture) for part, names in mini_imagenet.PARTS.items()}
    found = detect(write_set(tmp_path, real))
    assert (found.name, found.split) == ("miniimagenet", "Ravi & Larochelle 2017")


def test_memory_stays_flat(tmp_path):
    parts = {part: {name: images.repeat(40, 0) for name, images in own.items()} for part, own in random_parts().items()}
    write_set(tmp_path, parts)
    assert (tmp_path / FILES["train"]).stat().st_size > 5_000_000
    tracemalloc.start()
    try:
        found = detect(tmp_path)
        for entry in found.classes:
            entry.images[-1].read(AS_IS)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_500_000
    sources = [image for entry in found.classes for image in entry.images]
    assert len(pickle.dumps(sources)) < 40 * len(sources) + 1000


def change_dict(**entries):
    return lambda content: {**content, **{key: make(content) for key, make in entries.items()}}


def without(key):
    return lambda content: {other: value for other, value in content.items() if other != key}


class Runs:
    def __reduce__(self):
        return os.system, ("touch reached",)


BAD = {
    "a list": (lambda content: [content], "holds a list instead of a dict"),
    "no images": (without("image_data"), "has no 'image_data' but 'class_dict'; get the file again"),
    "no classes": (without("class_dict"), "has no 'class_dict' but 'image_data'"),
    "floats": (
        change_dict(image_data=lambda c: c["image_data"].astype("f4")),
        r"float32 \[.*instead of uint8 \[n, hei",
    ),
    "grey": (
        change_dict(image_data=lambda c: c["image_data"][..., :1]),
        r"uint8 \[\d+, 84, 84, 1\] as image_",
    ),
    "flat": (change_dict(image_data=lambda c: c["image_data"].reshape(-1, 3)), "instead of uint8"),
    "none": (change_dict(image_data=lambda c: c["image_data"][:0]), r"uint8 \[0, 84, 84, 3\] as image_data instead"),
    "list of images": (change_dict(image_data=lambda c: [1, 2]), "has a list as image_data instead of an array"),
    "objects": (change_dict(image_data=lambda c: np.array([c], object)), "'O8' are not read"),
    "code": (change_dict(class_dict=lambda c: {"a": Runs()}), r"asks for (posix|nt)\.system"),
    "table is a list": (change_dict(class_dict=lambda c: [1]), "names no class in class_dict"),
    "empty table": (change_dict(class_dict=lambda c: {}), "names no class in class_dict"),
    "empty class": (
        change_dict(class_dict=lambda c: {**c["class_dict"], "x": []}),
        "no list of images of class 'x'",
    ),
    "text indices": (change_dict(class_dict=lambda c: {"x": ["a"]}), "no list of images of class 'x'"),
    "truth values": (change_dict(class_dict=lambda c: {"x": [True]}), "no list of images of class 'x'"),
    "too large": (
        change_dict(class_dict=lambda c: {**c["class_dict"], "x": [999]}),
        r"image 999 .*'x', there are \d+",
    ),
    "negative": (
        change_dict(class_dict=lambda c: {**c["class_dict"], "x": [-1]}),
        "image -1 .*'x', there are",
    ),
    "shared image": (change_dict(class_dict=lambda c: {**c["class_dict"], "x": [0]}), "has image 0 in 'n.*' and 'x'"),
    "twice": (change_dict(class_dict=lambda c: {"x": [0, 0]}), "has image 0 in 'x' and 'x'"),
    "unowned": (change_dict(class_dict=lambda c: {"x": [0]}), r"has \d+ of its \d+ images in no class"),
    "nameless": (change_dict(class_dict=lambda c: {"": [0]}), "names a class '', which is no name"),
    "control name": (change_dict(class_dict=lambda c: {"a\nb": [0]}), r"names a class 'a\\nb', which is no name"),
    "surrogate": (change_dict(class_dict=lambda c: {"a\ud800": [0]}), "no name|no pickle"),
    "same name twice": (change_dict(class_dict=lambda c: {b"x": [0], "x": [1]}), "names class 'x' twice"),
}


@pytest.mark.parametrize("kind", BAD)
def test_damaged_files_are_told(tmp_path, kind):
    change, message = BAD[kind]
    parts = random_parts()
    write_set(tmp_path, parts)
    write_set(tmp_path, {"val": parts["val"]}, change=change)
    with pytest.raises(DataError, match=message) as told:
        detect(tmp_path)
    assert FILES["val"] in str(told.value) and "\n" not in str(told.value) and not os.path.exists("reached")


def test_missing_and_mixed_files_are_told(tmp_path):
    parts = random_parts(images=1)
    assert detect(tmp_path) is None and detect(tmp_path / "none") is None
    write_set(tmp_path, {"train": parts["train"]})
    with pytest.raises(DataError, match=r"mini-imagenet-cache-val.pkl is missing; put .* into one folder"):
        detect(tmp_path)
    write_set(tmp_path, parts)
    (tmp_path / FILES["test"]).write_bytes(b"")
    with pytest.raises(DataError, match="cache-test.pkl is no pickle that can be read"):
        detect(tmp_path)


@pytest.mark.parametrize("protocol", (2, 4))
def test_a_file_that_changes_under_a_reader_is_told(tmp_path, protocol):
    parts = random_parts()
    source = detect(write_set(tmp_path, parts, protocol)).classes[-1].images[-1]
    path = tmp_path / FILES["test"]
    content = path.read_bytes()
    path.write_bytes(content[:1000])
    with pytest.raises(DataError, match="became shorter|changed while it was read"):
        source.read(AS_IS)
    path.write_bytes(content + b"more")
    if protocol == 2:
        with pytest.raises(DataError, match="changed while it was read"):
            source.read(AS_IS)
    path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        source.read(AS_IS)


def test_the_archive_of_torchmeta_holds_the_same(tmp_path):
    archive = shared_data("torchmeta/mini-imagenet-cache.tar.gz")
    assert detect(archive) is None
    with tarfile.open(archive) as packed:
        by_hand = {part: pickle.load(packed.extractfile(name)) for part, name in FILES.items()}
    parts = {
        part: {name: content["image_data"][own] for name, own in content["class_dict"].items()}
        for part, content in by_hand.items()
    }
    assert [len(parts[part]) for part in PARTS] == [8, 4, 4]
    unpack(archive, tmp_path)
    (folder,) = [file.parent for file in tmp_path.rglob(FILES["train"])]
    found = detect(folder)
    assert_same(found, parts)
    assert found.classes[0].images[0].pixels.window is not None
