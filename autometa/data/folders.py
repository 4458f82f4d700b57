"""A user's own images: a folder with one sub-folder per class, or `train`, `val`, `test` folders of such."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from autometa.data.errors import DataError
from autometa.data.images import Recipe, class_folders, read_image
from autometa.data.splits import Split, by_hash
from autometa.data.store import ClassEntry, ImageStore, cached_store, write_store

PARTS = ("train", "val", "test")
VARIANTS = {
    "ink": {"channels": 1, "polarity": "inverted"},
    "grey": {"channels": 1, "polarity": "as-is"},
    "colour": {"channels": 3, "polarity": "as-is"},
}


def recipe(size: int, variant: str = "ink") -> Recipe:
    """`ink` (grey, dark ink becomes 255), `grey` (as it is) or `colour`; box filter."""
    if variant not in VARIANTS:
        raise DataError(f"unknown variant {variant!r} of image folders; choose from {', '.join(VARIANTS)}")
    return Recipe(size=size, filter="box", **VARIANTS[variant])


def open_folder(path: str | Path, how: Recipe) -> ImageStore:
    """The store of a folder of images, converted on first use and again when its files change."""
    path = Path(path).expanduser().resolve()
    listed = _listing(path)
    key = hashlib.sha256()
    for _, files in listed:
        for file in files:
            state = file.stat()
            key.update(f"{file}\0{state.st_size}\0{state.st_mtime_ns}\0".encode(errors="surrogateescape"))
    classes = [entry for entry, _ in listed]
    images = (read_image(file, how) for _, files in listed for file in files)
    label = f"{how.label}-{key.hexdigest()[:16]}"
    return cached_store("folder", label, lambda store: write_store(store, path.name, how, classes, images))


def _listing(path: Path) -> list[tuple[ClassEntry, list[Path]]]:
    if not all((path / part).is_dir() for part in ("train", "test")):
        return [(ClassEntry(name, "", "", len(files)), files) for name, files in class_folders(path)]
    return [
        (ClassEntry(f"{part}/{name}", "", part, len(files)), files)
        for part in PARTS
        if (path / part).is_dir()
        for name, files in class_folders(path / part)
    ]


def folder_split(store: ImageStore) -> Split:
    """The parts of the store where it has `train` and `test`; else 20% test and 15% val by hash of the names.

    Where there are no val classes they are chosen from train, by hash. No rotations.
    """
    parts = np.array(store.parts)
    everything = np.arange(len(parts), dtype=np.int64)
    train, val, test = (everything[parts == part] for part in PARTS)
    if not len(train) or not len(test):
        test = by_hash(store.class_names, everything, round(0.2 * len(parts)))
        train = np.setdiff1d(everything, test)
        val = train[:0]
    if not len(val):
        val = by_hash(store.class_names, train, round(0.15 * len(parts)))
        train = np.setdiff1d(train, val)
    return Split("folder", train, val, test)
