"""Data sets by name: what `--data` understands."""

from __future__ import annotations

from pathlib import Path

from autometa.data.errors import DataError
from autometa.data.omniglot import SPLITS, omniglot_split, open_omniglot
from autometa.data.splits import Split
from autometa.data.store import ImageStore

DATASETS = tuple(f"omniglot:{split}" for split in SPLITS)


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
        name: `omniglot` (= `omniglot:background`), `omniglot:vinyals`, `omniglot:reptile`.
        size: height and width of the images.
        root: folder of the original files, before AUTOMETA_DATA.
        seed: of a split that is shuffled.
        variant: of Omniglot's conversion, `ink` or `reptile`.

    Raises:
        DataError: an unknown name, or data that are missing or damaged.
    """
    kind, _, split = str(name).partition(":")
    if kind == "omniglot":
        store = open_omniglot(size, variant, root)
        return store, omniglot_split(store, split or "background", seed)
    raise DataError(f"unknown data set {str(name)!r}; choose from {', '.join(DATASETS)}")
