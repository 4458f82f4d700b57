"""How a person's own images are converted and split into classes to train, select and judge by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from autometa.data.errors import DataError
from autometa.data.formats.recognise import forget, recognise
from autometa.data.formats.sources import PARTS, SourceDataset
from autometa.data.images import FITS, Recipe
from autometa.data.names import READING, composed
from autometa.data.splits import Split, by_hash
from autometa.data.store import ImageStore

VARIANTS = {
    "ink": {"channels": 1, "polarity": "inverted"},
    "grey": {"channels": 1, "polarity": "as-is"},
    "colour": {"channels": 3, "polarity": "as-is"},
}


def recipe(size: int, variant: str = "ink", fit: str = FITS[0]) -> Recipe:
    """`ink` (grey, dark ink becomes 255), `grey` (as it is) or `colour`; box filter; fit: see `Recipe`."""
    if variant not in VARIANTS:
        raise DataError(f"unknown variant {variant!r} of image folders; choose from {', '.join(VARIANTS)}")
    return Recipe(size=size, filter="box", fit=fit, **VARIANTS[variant])


FEW = 34
"""Classes below which 15% of them make no task of five."""
WAYS = 5
"""Classes of a task where there are enough."""


def support_set(path: str | Path) -> SourceDataset:
    """What stands in a folder of pictures to learn from, none of them read. Raises `DataError` where nothing does."""
    if str(path) and not Path(path).exists():
        raise DataError(f"there is no folder {path}; give a folder with one sub-folder of images per class")
    return recognise(path)


def load_class_folder(path: str | Path, recipe: Recipe | None = None) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Pictures in class folders, or in any layout that a search reads: images uint8 `[n, C, size, size]`, labels int64
    `[n]`, class names. Classes and files are sorted by name; images are class-major.

    Raises `DataError` where there is nothing to read, or an image cannot be read.
    """
    dataset = support_set(path)
    how = recipe or Recipe()
    try:
        images = np.stack([image.read(how) for c in dataset.classes for image in c.images])
    except DataError:
        forget(dataset.archives)
        raise
    except MemoryError as error:
        forget(dataset.archives)
        raise DataError(f"{path} holds more pictures than memory; one to five of each class will do") from error
    labels = np.repeat(np.arange(len(dataset.classes), dtype=np.int64), [len(c.images) for c in dataset.classes])
    return images, labels, tuple(c.name for c in dataset.classes)


def folder_split(store: ImageStore, rotations: int | None = None, reading: int = READING) -> Split:
    """As `class_split` divides the classes of the store."""
    return class_split(store.class_names, store.parts, store.split, rotations, reading)


def class_split(
    names: Sequence[str], parts: Sequence[str], called: str = "", rotations: int | None = None, reading: int = READING
) -> Split:
    """The parts of the classes, or a division by hash of their names.

    rotations: 4 makes each quarter turn of a class a class of its own, of the same part as the class. Where it is given
    (1 or 4) and the classes are few, `few_split` divides them; where it is None there are no rotations.
    reading: whether names are hashed composed or, as in earlier runs, as they came (`data.names`).
    """
    names = [composed(name) for name in names] if reading > 1 else names
    if rotations is None:
        return _by_parts(names, parts, called)
    if len(names) < FEW and not {"train", "test"} <= set(parts):
        return few_split(names, rotations)
    return _by_parts(names, parts, called).turned(rotations)


def few_split(names: Sequence[str], rotations: int) -> Split:
    """Fewer than `FEW` classes: as many for testing as a task of `WAYS` needs with their rotations, at least 2 and 15%
    and at most half; the others train. Validation classes, as many, lie within train (`Split.without_val`)."""
    everything = np.arange(len(names), dtype=np.int64)
    count = min(max(2, round(0.15 * len(names)), -(-WAYS // rotations)), len(names) // 2)
    test = by_hash(names, everything, count)
    train = np.setdiff1d(everything, test)
    val = by_hash(names, train, min(count, len(train) // 2))
    name = f"{len(train)} and {len(test)} classes by hash of their names"
    return Split(name, train, val, test).turned(rotations)


def _by_parts(names: Sequence[str], parts: Sequence[str], called: str) -> Split:
    """The parts of the classes where there are `train` and `test`; else 70/15/15 by hash of the class names.

    Where only val classes are missing, 15% of all are taken from train, by hash. No rotations. called: the parts' name.
    """
    parts = np.array(parts)
    everything = np.arange(len(parts), dtype=np.int64)
    train, val, test = (everything[parts == part] for part in PARTS)
    name = called or "folders of the parts"
    if not len(train) or not len(test):
        name = "70/15/15 by hash of the class name"
        test = by_hash(names, everything, round(0.15 * len(parts)))
        train = np.setdiff1d(everything, test)
        val = train[:0]
    elif not len(val):
        name = f"{name}; val is 15% of all, by hash of the class name out of train"
    if not len(val):
        val = by_hash(names, train, round(0.15 * len(parts)))
        train = np.setdiff1d(train, val)
    return Split(name, train, val, test)
