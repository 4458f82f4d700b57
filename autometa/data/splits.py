"""Which classes train, select and judge a network."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from autometa.brief import brief
from autometa.ops.philox import bounded, philox_uint32

STREAM_SPLIT, STREAM_STROKES = 256, 257  # Philox streams of the data room, away from those of the ops


SAME = "the same to test on"
"""In the name of a split that trains on all there is, and so has no other classes to test on."""


@brief
@dataclass(frozen=True, eq=False)
class Split:
    """Class ids (int64, sorted unless a protocol gives an order) of the three parts, and their rotations.

    rotations: 4 makes each quarter turn of a class a class of its own, 1 leaves the images as they are.
    `val` may lie within `train`, where the protocol trains on everything that is not test;
    `without_val` takes it out.
    """

    name: str
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    train_rotations: int = 1
    val_rotations: int = 1
    test_rotations: int = 1

    def without_val(self) -> Split:
        """The same split with val taken out of train: for whoever selects by validation accuracy."""
        return replace(self, train=self.train[~np.isin(self.train, self.val)])

    def turned(self, rotations: int) -> Split:
        """The same classes with 1 or 4 rotations in every part."""
        name = f"{self.name}, {'quarter turns as classes' if rotations > 1 else 'no rotations'}"
        return replace(self, name=name, train_rotations=rotations, val_rotations=rotations, test_rotations=rotations)


def held_out(class_names: Sequence[str], ids: np.ndarray, fraction: float = 0.15, at_least: int = 20) -> np.ndarray:
    """The validation classes among `ids`: a fraction by hash, `at_least` as many as a task has ways.

    Never more than half of `ids`. int64, sorted.
    """
    return by_hash(class_names, ids, min(max(round(fraction * len(ids)), at_least), len(ids) // 2))


def by_hash(class_names: Sequence[str], ids: np.ndarray, count: int) -> np.ndarray:
    """The `count` of `ids` whose class names have the smallest sha256, int64 sorted."""
    ordered = sorted(ids, key=lambda index: hashlib.sha256(_bytes(class_names[index])).digest())
    return np.sort(np.array(ordered[:count], dtype=np.int64))


def _bytes(name: str) -> bytes:
    """Of a name as it stands on the disk, be it UTF-8 or not."""
    return name.encode(errors="surrogateescape")


def shuffled(count: int, seed: int) -> np.ndarray:
    """0 .. count - 1 in random order, int64: Fisher-Yates from the last place, Philox draw j for place j."""
    numbers = philox_uint32(seed, STREAM_SPLIT, 0, np.arange(count))
    order = np.arange(count, dtype=np.int64)
    for place in range(count - 1, 0, -1):
        other = int(bounded(numbers[place], place + 1))
        order[[place, other]] = order[[other, place]]
    return order
