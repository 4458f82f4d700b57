"""Pictures of your own: meta-train on folders of them, teach new classes from one picture each, classify others.

    python examples/own_images.py

It first draws the folders that you would have: `collection/NAME/*.png`, one folder per class, to train on, and
`new/NAME/1.png`, one picture of each class to learn. The same on the command line:

    autometa train reptile-omniglot --data collection/ --data.image_size 14 --out runs/own
    autometa adapt --support new/ --run runs/own
    autometa predict later/*.png --run runs/own
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from PIL import Image

import autometa
from autometa.data import open_dataset

SETTINGS = {
    "data.image_size": 14,
    "data.variant": "ink",
    "filters": 16,
    "inner.lr": 5e-3,
    "inner.shots": 5,
    "meta.iterations": 150,
    "test.tasks": 30,
    "test.queries": 2,
}


def draw_folders(root: Path) -> None:
    """collection/, new/ and later/: dark ink on white paper, as a scanner gives it."""
    store, split = open_dataset("strokes:12x8x10", size=28)
    for part, ids in (("collection", split.train), ("new", split.test[:5])):
        for number, k in enumerate(ids):
            first, last = store.class_start[k : k + 2]
            for n, image in enumerate(255 - store.images[first:last, 0]):
                place, name = (part, n) if part == "collection" or n == 0 else ("later", f"{number}-{n}")
                folder = root / place / ("" if place == "later" else f"character{number:02d}")
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(folder / f"{name}.png")


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        draw_folders(root)
        told = autometa.data_info(root / "collection")
        print(f"{told.format}: {told.images} pictures, classes {told.classes}, split {told.split}")

        settings = {**SETTINGS, "data.name": str(root / "collection")}
        autometa.train("reptile-omniglot", settings=settings, out=root / "own", quiet=True)
        autometa.adapt(root / "new", run=root / "own", quiet=True)

        answers = autometa.predict(root / "later", run=root / "own")
        right = sum(name == f"character{path.name[0].zfill(2)}" for path, name, _, _ in answers)
        print(f"{right} of {len(answers)} pictures of 5 new classes right, from one picture each; chance: 1 in 5")


if __name__ == "__main__":
    main()
