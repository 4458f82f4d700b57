"""Small sets with one image table per part, written in whatever layout a test asks for."""

import os
from pathlib import Path

import numpy as np
import pytest

from autometa.data import Recipe
from autometa.data.formats.sources import PARTS

SIZE = 84
AS_IS = Recipe(channels=3, size=SIZE, filter="box", polarity="as-is")


def random_parts(seed=0, classes=(3, 2, 2), images=3, size=SIZE):
    """{part: {class: uint8 [images, size, size, 3]}}, class c with `images + c % 2` images, no two alike."""
    rng = np.random.default_rng(seed)
    parts = {}
    for part, count in zip(PARTS, classes, strict=True):
        shapes = {f"n{part}{c}": (images + c % 2, size, size, 3) for c in range(count)}
        parts[part] = {name: rng.integers(0, 256, shape, dtype=np.uint8) for name, shape in shapes.items()}
    return parts


def assert_same(found, parts, recipe=AS_IS):
    """`found` holds exactly these classes, in this order within their parts, with these pixels."""
    assert [(entry.part, entry.name) for entry in found.classes] == [
        (part, name) for part in PARTS for name in sorted(parts.get(part, {}))
    ]
    for entry in found.classes:
        wanted = parts[entry.part][entry.name]
        assert len(entry.images) == len(wanted)
        for source, pixels in zip(entry.images, wanted, strict=True):
            assert np.array_equal(source.read(recipe), pixels.transpose(2, 0, 1)), source.name


def shared_data(name):
    """A file of AUTOMETA_DATA, or skip."""
    root = os.environ.get("AUTOMETA_DATA")
    if not root or not (Path(root) / name).exists():
        pytest.skip(f"{name} is not here: set AUTOMETA_DATA to its folder")
    return Path(root) / name
