"""Small data roots as torchmeta 1.8 writes them."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

OMNIGLOT = {
    "images_background": {"Alphabet of äü": ["character01", "character02"], "Greek": ["character01"]},
    "images_evaluation": {"Tengwar": ["character01", "character02"]},
}
MINI = {"train": ["n01", "n02", "n03"], "val": ["n04"], "test": ["n05", "n06"]}


def triples(top):
    return [[top, alphabet, name] for alphabet, names in sorted(OMNIGLOT[top].items()) for name in names]


def write_json(path: Path, content):
    path.write_text(json.dumps(content), encoding="utf-8")


def write_omniglot(root: Path, seed=0, size=21):
    """`omniglot/` under `root`; returns the folder and {class name: stored uint8 `[n, size, size]`}."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed; it comes with the extra `hdf5`")
    rng, folder, stored = np.random.default_rng(seed), root / "omniglot", {}
    folder.mkdir(parents=True)
    with h5py.File(folder / "data.hdf5", "w") as file:
        for top in OMNIGLOT:
            for _, alphabet, name in triples(top):
                images = rng.integers(0, 2, (2 + len(stored), size, size), dtype=np.uint8) * 255
                file.create_dataset(f"{top}/{alphabet}/{name}", data=images)
                stored[f"{alphabet}/{name}"] = images
    write_json(folder / "train_labels.json", triples("images_background"))
    write_json(folder / "test_labels.json", triples("images_evaluation"))
    absent = [["images_background", "Latin", "character01"]]
    write_json(folder / "vinyals_train_labels.json", triples("images_background")[:2] + absent)
    write_json(folder / "vinyals_val_labels.json", triples("images_background")[2:])
    write_json(folder / "vinyals_test_labels.json", triples("images_evaluation"))
    return folder, stored


def write_mini(root: Path, seed=0, size=12, parts=MINI):
    """`miniimagenet/` under `root`; returns the folder and {class name: stored uint8 `[n, size, size, 3]`}."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed; it comes with the extra `hdf5`")
    rng, folder, stored = np.random.default_rng(seed), root / "miniimagenet", {}
    folder.mkdir(parents=True)
    for part, names in parts.items():
        with h5py.File(folder / f"{part}_data.hdf5", "w") as file:
            group = file.create_group("datasets")
            for name in names:
                images = rng.integers(0, 256, (3 + len(stored), size, size, 3), dtype=np.uint8)
                group.create_dataset(name, data=images)
                stored[name] = images
        write_json(folder / f"{part}_labels.json", sorted(names))
    return folder, stored


CIFAR = {
    "train": [["fish", "ray"], ["fish", "trout"], ["trees", "oak_tree"]],
    "val": [["fish", "shark"]],
    "test": [["trees", "maple_tree"], ["trees", "palm_tree"]],
}


def write_encoded(root: Path, name="cub", parts=MINI, format="PNG"):
    """`cub/` or `tieredimagenet/` under `root`, image files of unequal sizes; the folder and {class: pixels}."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed; it comes with the extra `hdf5`")
    rng, folder, drawn = np.random.default_rng(4), root / name, {}
    folder.mkdir(parents=True)
    for part, names in parts.items():
        with h5py.File(folder / f"{part}_data.hdf5", "w") as file:
            group = file.create_group("datasets")
            for called in names:
                sides = rng.integers(8, 14, (2 + len(drawn) % 3, 2))
                drawn[called] = [rng.integers(0, 256, (*side, 3), dtype=np.uint8) for side in sides]
                dataset = group.create_dataset(called, (len(sides),), dtype=h5py.vlen_dtype(np.uint8))
                dataset.attrs["label_general"] = "bird"
                for index, pixels in enumerate(drawn[called]):
                    buffer = io.BytesIO()
                    Image.fromarray(pixels).save(buffer, format)
                    dataset[index] = np.frombuffer(buffer.getvalue(), np.uint8)
        write_json(folder / f"{part}_labels.json", sorted(names))
    return folder, drawn


def write_cifar(root: Path, name="cifar-fs", parts=CIFAR, size=8):
    """`cifar100/data.hdf5` and `cifar100/<name>/`; returns the latter and {class name: stored uint8}."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed; it comes with the extra `hdf5`")
    rng, folder, stored = np.random.default_rng(6), root / "cifar100" / name, {}
    folder.mkdir(parents=True)
    with h5py.File(folder.parent / "data.hdf5", "w") as file:
        for coarse, fine in [*(pair for pairs in parts.values() for pair in pairs), ["people", "baby"]]:
            stored[f"{coarse}/{fine}"] = rng.integers(0, 256, (2 + len(stored), size, size, 3), dtype=np.uint8)
            file.create_dataset(f"{coarse}/{fine}", data=stored[f"{coarse}/{fine}"])
    write_json(folder.parent / "fine_names.json", {"people": ["baby"]})
    for part, pairs in parts.items():
        write_json(folder / f"{part}_labels.json", pairs)
    return folder, stored
