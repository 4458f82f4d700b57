"""Data sets by name: what `--data` understands."""

from __future__ import annotations

from pathlib import Path

from autometa.data.errors import DataError
from autometa.data.omniglot import SPLITS, omniglot_split, open_omniglot
from autometa.data.splits import Split
from autometa.data.store import ImageStore
from autometa.data.strokes import StrokesConfig, open_strokes, strokes_split

DATASETS = ("strokes", *(f"omniglot:{split}" for split in SPLITS))


def open_dataset(
    name: str | Path,
    *,
    size: int = 28,
    root: str | Path | None = None,
    seed: int = 0,
    variant: str = "ink",
) -> tuple[ImageStore, Split]:
    """A data set and its split, converted into the cache on first use.

    Args:
        name: `omniglot` (= `omniglot:background`), `omniglot:vinyals`, `omniglot:reptile`; `strokes`, or
            `strokes:AxCxD` for A alphabets of C characters with D drawings each.
        size: height and width of the images.
        root: folder of the original files, before AUTOMETA_DATA.
        seed: of the drawn alphabets, and of a split that is shuffled.
        variant: of Omniglot's conversion, `ink` or `reptile`.

    Raises:
        DataError: an unknown name, or data that are missing or damaged.
    """
    kind, _, detail = str(name).partition(":")
    if kind == "omniglot":
        if detail and detail not in SPLITS:
            raise DataError(f"unknown Omniglot split {detail!r}; choose from {', '.join(SPLITS)}")
        store = open_omniglot(size, variant, root)
        return store, omniglot_split(store, detail or "background", seed)
    if kind == "strokes":
        store = open_strokes(_strokes_config(detail, size, seed))
        return store, strokes_split(store)
    raise DataError(f"unknown data set {str(name)!r}; choose from {', '.join(DATASETS)}")


def _strokes_config(counts: str, size: int, seed: int) -> StrokesConfig:
    if not counts:
        return StrokesConfig(size=size, seed=seed)
    numbers = counts.split("x")
    if len(numbers) != 3 or not all(number.isdecimal() for number in numbers):
        raise DataError(f"strokes:{counts} is not of the form strokes:40x20x20: alphabets, characters, drawings")
    return StrokesConfig(*map(int, numbers), size=size, seed=seed)
