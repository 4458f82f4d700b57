"""A data set of your own in one file: polygons and stars, drawn when they are first needed.

    autometa search metanas --preset quick --plugin examples/new_dataset.py --data polygons --out runs/polygons
    autometa train reptile-omniglot --plugin examples/new_dataset.py --data polygons:30 --data.image_size 14

or, here, a short training from Python:

    python examples/new_dataset.py
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw

import autometa
from autometa.data import ClassEntry, Recipe, cached_store, folder_split, register, write_store

DRAWINGS = 20


def corners(number: int, star: float, turn: float, size: float) -> list[tuple[float, float]]:
    """Corners of a polygon, every second one pulled inwards by `star`, in a unit square."""
    angles = turn + 2 * np.pi * np.arange(2 * number) / (2 * number)
    radius = size * np.where(np.arange(2 * number) % 2, 1.0 - star, 1.0)
    return [(0.5 + r * np.cos(a), 0.5 + r * np.sin(a)) for r, a in zip(radius, angles, strict=True)]


def drawings(classes: int, size: int, seed: int) -> Iterator[np.ndarray]:
    """uint8 `[1, size, size]`, class by class: a class is a number of corners, a depth and whether it is filled."""
    for k in range(classes):
        number, star, filled = 3 + k % 5, 0.15 * (k // 5 % 5), k // 25 % 2
        for n in range(DRAWINGS):
            random = np.random.default_rng([seed, k, n])
            image = Image.new("L", (4 * size, 4 * size))
            points = corners(number, star, random.uniform(-0.3, 0.3), random.uniform(0.35, 0.48))
            outline = [(4 * size * x, 4 * size * y) for x, y in points]
            ImageDraw.Draw(image).polygon(outline, fill=255 if filled else None, outline=255, width=size // 5)
            yield np.asarray(image.resize((size, size), Image.Resampling.BOX), dtype=np.uint8)[None]


def load(detail: str, size: int, seed: int, **_: object):
    """`polygons` or `polygons:CLASSES`: the images, converted into the cache once, and the split of their classes."""
    classes = int(detail or 50)
    entries = [ClassEntry(f"polygon{k:02d}", "polygons", "", DRAWINGS) for k in range(classes)]
    recipe = Recipe(channels=1, size=size, filter="box", polarity="as-is")

    def convert(path) -> None:
        write_store(path, "polygons", recipe, entries, drawings(classes, size, seed))

    store = cached_store("polygons", f"{classes}-{size}-seed{seed}", convert)
    return store, folder_split(store)


register("polygons", load)


def main() -> None:
    """Meta-train a small four-layer net on the polygons; says how well it learns classes it never saw."""
    settings = {
        "data.name": "polygons",
        "data.image_size": 14,
        "data.variant": "ink",
        "filters": 16,
        "inner.lr": 5e-3,
        "meta.iterations": 100,
        "test.tasks": 50,
        "test.queries": 5,
    }
    with tempfile.TemporaryDirectory() as folder:
        found = autometa.train("reptile-omniglot", settings=settings, out=f"{folder}/run", quiet=True)
    score = found["scores"]["support_statistics"]
    print(f"5 unseen classes from one picture each: {score['mean']:.0f} ± {score['ci95']:.0f}% right, chance is 20%")


if __name__ == "__main__":
    main()
