"""What a recognised data set looks like to everything behind it, whatever layout its files have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from autometa.brief import brief
from autometa.data.images import Recipe, read_image

PARTS = ("train", "val", "test")


class ImageSource(Protocol):
    """One image, not read yet; small and picklable, so that worker processes can read it.

    name: how messages call it, such as `photos/cat/1.png` or `train.csv: n0153282900000005.jpg`.
    """

    @property
    def name(self) -> str: ...

    def read(self, recipe: Recipe) -> np.ndarray:
        """uint8 `[channels, size, size]` as `recipe` says. Raises `DataError` naming the image."""


@dataclass(frozen=True)
class ImageFile:
    """An image file on the disk."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path)

    def read(self, recipe: Recipe) -> np.ndarray:
        """Raises `DataError` where it is no readable image."""
        return read_image(self.path, recipe)


@brief
@dataclass(frozen=True)
class SourceClass:
    """One class: its full name, group (alphabet, super-category), part (`train`, `val`, `test`, or "" where the set
    does not say), images in a fixed order. `recognise` gives out no name twice (`with_disjoint_parts`)."""

    name: str
    group: str
    part: str
    images: Sequence[ImageSource]


@brief
@dataclass(frozen=True)
class SourceDataset:
    """A data set as it was recognised; only tables and names were read.

    Args:
        format: what the layout is called, such as `Ravi & Larochelle csv`.
        name: of the data set, such as `miniimagenet`, `omniglot`, or the folder's name.
        path: what the user named.
        classes: in the order of the store.
        split: the split's name, told to the user, such as `Ravi & Larochelle 2017`; "" where classes have no part.
        variant: how its images are converted unless told otherwise: `ink`, `grey` or `colour`.
        fingerprint: sha256 over everything that decides the outcome without reading pixels (names, sizes, times).
        notice: what a person has to know of a set that was forced; else "".
        archives: that were unpacked into the cache for it, each within the one before.
    """

    format: str
    name: str
    path: Path
    classes: tuple[SourceClass, ...]
    split: str
    variant: str
    fingerprint: str
    notice: str = ""
    archives: tuple[Path, ...] = ()
