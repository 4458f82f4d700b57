"""What sort of pictures these are: drawings on paper, grey pictures, or pictures in colour."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from autometa.data.errors import DataError
from autometa.data.image_files import opened
from autometa.data.images import Recipe

LOOKED_AT = 48
"""Pictures that are read to tell their kind."""
SMALL = Recipe(3, 32, "box", "as-is")
"""How they are read for that."""
COLOURED, BRIGHT = 10.0, 128.0
"""Mean distance of the colours of a pixel, and median brightness, of 255, from which pictures count as such."""


TALL = 1.25
"""Height over width, from which pictures count as tall."""


def is_tall(sources: Sequence) -> bool:
    """Whether most of these image files, those whose size can be told, are tall."""
    shapes = []
    for source in sources:
        path = getattr(source, "path", None)
        if isinstance(path, Path):
            with suppress(DataError), opened(path, str(path)) as image:
                shapes.append(image.height / image.width)
    return bool(shapes) and float(np.median(shapes)) >= TALL


def sample(pictures: Sequence) -> Sequence:
    """So many of them, evenly spread, as are looked at."""
    return pictures[:: max(1, len(pictures) // LOOKED_AT)][:LOOKED_AT]


def kind_of(pixels: np.ndarray) -> str:
    """`colour`, or `ink` where the pictures are dark on light, or `grey`.  pixels: uint8 `[n, 3, H, W]`, as `SMALL`."""
    pixels = pixels.astype(np.float64)
    spread = (pixels.max(axis=1) - pixels.min(axis=1)).mean(axis=(1, 2))
    if np.median(spread) > COLOURED:
        return "colour"
    return "ink" if np.median(np.median(pixels, axis=(1, 2, 3))) > BRIGHT else "grey"


def unlike(kind: str, recipe: Recipe) -> str | None:
    """How pictures of a kind differ from those that a model takes, in a sentence; None where they do not. What is
    stretched are signs, which photographs in colour show as well as grey ones."""
    if recipe.fit == "stretch" and recipe.channels == 1 and recipe.polarity == "as-is":
        return None
    if (kind == "colour") != (recipe.channels == 3):
        own = "pictures in colour" if recipe.channels == 3 else "grey pictures and drawings"
        seen = "in colour" if kind == "colour" else "grey"
        return f"the pictures are {seen}, the model was trained on {own}: expect lower accuracy"
    if kind == "grey" and recipe.polarity == "inverted":
        return (
            "the pictures are light on dark, the model was trained on drawings that are dark on light: "
            "expect lower accuracy"
        )
    return None
