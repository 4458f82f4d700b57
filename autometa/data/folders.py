"""How a person's own images are converted and split into classes to train, select and judge by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autometa.data.errors import DataError
from autometa.data.formats.found import PARTS
from autometa.data.images import Recipe
from autometa.data.splits import Split, by_hash
from autometa.data.store import ImageStore

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


def folder_split(store: ImageStore) -> Split:
    """As `class_split` divides the classes of the store."""
    return class_split(store.class_names, store.parts, store.split)


def class_split(names: Sequence[str], parts: Sequence[str], called: str = "") -> Split:
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
