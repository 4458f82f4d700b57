"""torchmeta's roots of CUB, tiered-ImageNet, CIFAR-FS and FC100, written here as torchmeta 1.8 writes them."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autometa.data import DataError, Recipe
from autometa.data.formats.torchmeta_root import detect
from autometa.data.images import read_image
from autometa.data.prepare import prepare
from tests.data.formats.roots import CIFAR, MINI, write_cifar, write_encoded, write_json, write_mini, write_omniglot

h5py = pytest.importorskip("h5py", reason="h5py is not installed; it comes with the extra `hdf5`")

RECIPES = (Recipe(3, 8, "box", "as-is"), Recipe(), Recipe(3, 20, "lanczos"))


@pytest.mark.parametrize("name", ["cub", "tieredimagenet"])
@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_encoded_images_are_those_of_the_files(tmp_path, name, format):
    folder, drawn = write_encoded(tmp_path, name, format=format)
    found = detect(tmp_path)
    assert found == detect(folder) and (found.name, found.variant) == (name, "colour")
    assert found.split == "3 / 1 / 2 classes as in its hdf5 files"
    assert [(c.name, c.part) for c in found.classes] == [(n, part) for part in MINI for n in MINI[part]]
    for entry in found.classes:
        assert len(entry.images) == len(drawn[entry.name])
        for source, pixels in zip(entry.images, drawn[entry.name], strict=True):
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, format)
            for recipe in RECIPES:
                assert np.array_equal(source.read(recipe), read_image(buffer, recipe))


@pytest.mark.parametrize("name", ["cifar-fs", "fc100"])
def test_lists_over_cifar_100(tmp_path, name):
    folder, stored = write_cifar(tmp_path, name)
    found = detect(folder)
    assert found.classes == detect(tmp_path).classes == detect(tmp_path / "cifar100").classes
    assert (found.name, found.variant, found.split) == (name, "colour", "3 / 1 / 2 classes as in its lists")
    wanted = [("/".join(pair), pair[0], part) for part in CIFAR for pair in sorted(CIFAR[part])]
    assert [(c.name, c.group, c.part) for c in found.classes] == wanted
    for entry in found.classes:
        pixels = np.stack([source.read(RECIPES[0]) for source in entry.images])
        assert np.array_equal(pixels, stored[entry.name].transpose(0, 3, 1, 2))


@pytest.mark.parametrize(
    "name, counts, split",
    [
        ("cifar-fs", (64, 16, 20), "Bertinetto et al. 2019 by its counts"),
        ("fc100", (60, 20, 20), "Oreshkin et al. 2018 by its counts"),
    ],
)
def test_published_lists_are_named(tmp_path, name, counts, split):
    classes = iter([f"g{k % 20}", f"c{k}"] for k in range(100))
    parts = {part: [next(classes) for _ in range(n)] for part, n in zip(("train", "val", "test"), counts, strict=True)}
    folder, _ = write_cifar(tmp_path, name, parts, size=2)
    assert detect(folder).split == split


def test_cub_is_known_by_its_counts_whatever_its_folder(tmp_path):
    parts = {"train": [f"a{k}" for k in range(100)], "val": [f"b{k}" for k in range(50)]}
    parts["test"] = [f"c{k}" for k in range(50)]
    folder, _ = write_encoded(tmp_path, "birds", parts)
    assert (detect(folder).name, detect(folder).split) == ("cub", "Chen et al. 2019 by its counts")
    other, _ = write_encoded(tmp_path, "rocks")
    assert detect(other).name == "rocks"


def test_a_root_of_everything_asks_for_one(tmp_path, monkeypatch):
    write_omniglot(tmp_path), write_mini(tmp_path), write_encoded(tmp_path), write_cifar(tmp_path)
    (tmp_path / "cifar100/fc100").mkdir()
    for part, pairs in CIFAR.items():
        write_json(tmp_path / "cifar100/fc100" / f"{part}_labels.json", pairs)
    names = ["omniglot", "miniimagenet", "cub", "cifar-fs", "fc100"]
    for root in (tmp_path, Path(".")):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(DataError, match="5 data sets; give .* instead$") as told:
            detect(root)
        offered = str(told.value).partition("give ")[2].removesuffix(" instead").replace(" or ", ", ").split(", ")
        assert [detect(Path(folder)).name for folder in offered] == names
        assert offered[0] == os.path.join(root, "omniglot")


def drop(file, name):
    with h5py.File(file, "r+") as data:
        del data[name]


def relabel(file, change):
    write_json(file, change(json.loads(file.read_text())))


CIFAR_DAMAGE = {
    "no hdf5": (lambda f: (f.parent / "data.hdf5").unlink(), "without data.hdf5"),
    "no list": (lambda f: (f / "val_labels.json").unlink(), "without val_labels.json"),
    "names": (lambda f: write_json(f / "val_labels.json", ["shark"]), r"not a list of \[superclass, class\] pairs"),
    "gone": (lambda f: drop(f.parent / "data.hdf5", "fish/shark"), "names fish/shark, which .*data.hdf5 does not hold"),
    "twice": (lambda f: relabel(f / "test_labels.json", lambda own: own + own[:1]), "names .* more than once"),
    "empty": (lambda f: write_json(f / "val_labels.json", []), "hold no class"),
    "flat": (lambda f: (drop(f.parent / "data.hdf5", "fish"), h5py_flat(f.parent / "data.hdf5")), "as a table"),
}


def h5py_flat(file):
    with h5py.File(file, "r+") as data:
        data.create_dataset("fish", data=np.zeros((2, 4, 4, 3), np.uint8))


@pytest.mark.parametrize("fault", CIFAR_DAMAGE)
def test_damaged_lists(tmp_path, fault):
    folder, _ = write_cifar(tmp_path)
    assert detect(folder) is not None
    damage, told = CIFAR_DAMAGE[fault]
    damage(folder)
    with pytest.raises(DataError, match=told) as raised:
        detect(folder)
    assert "\n" not in str(raised.value) and str(raised.value).count("; ") == 1


def test_a_damaged_encoded_image_is_named_or_left_out(tmp_path):
    folder, drawn = write_encoded(tmp_path)
    with h5py.File(folder / "val_data.hdf5", "r+") as data:
        data["datasets/n04"][1] = np.frombuffer(b"no image", np.uint8)
    with pytest.raises(DataError, match=r"val_data.hdf5: datasets/n04\[1\] cannot be read as an image"):
        prepare(folder, size=8)
    made = prepare(folder, size=8, skip_bad=True)
    assert len(made.store.images) == sum(map(len, drawn.values())) - 1 and len(made.skipped) == 1


def test_empty_and_strange_datasets_are_told(tmp_path):
    folder, _ = write_encoded(tmp_path)
    for shape, dtype in (((0,), h5py.vlen_dtype(np.uint8)), ((2,), h5py.vlen_dtype(np.float32)), ((2,), "u1")):
        with h5py.File(folder / "val_data.hdf5", "r+") as data:
            del data["datasets/n04"]
            data["datasets"].create_dataset("n04", shape, dtype=dtype)
        with pytest.raises(DataError, match="n04, not uint8"):
            detect(folder)
