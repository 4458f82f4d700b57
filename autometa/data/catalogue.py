"""Data sets by name: what `--data` understands."""

from __future__ import annotations

from pathlib import Path

from autometa.data.errors import DataError
from autometa.data.folders import folder_split
from autometa.data.formats.omniglot import root_of as omniglot_root
from autometa.data.omniglot import SPLITS, omniglot_split, open_omniglot
from autometa.data.prepare import prepare
from autometa.data.splits import Split
from autometa.data.store import META, ImageStore
from autometa.data.strokes import StrokesConfig, open_strokes, strokes_split

DATASETS = ("strokes", *(f"omniglot:{split}" for split in SPLITS))


def open_dataset(
    name: str | Path,
    *,
    size: int = 28,
    root: str | Path | None = None,
    seed: int = 0,
    variant: str = "ink",
    rotations: int | None = None,
) -> tuple[ImageStore, Split]:
    """A data set and its split, converted into the cache on first use.

    Args:
        name: `omniglot` (= `omniglot:background`), `omniglot:vinyals`, `omniglot:reptile`; `strokes`, or
            `strokes:AxCxD` for A alphabets of C characters with D drawings each; or the path of a folder of
            class folders, or of a store.
        size: height and width of the images.
        root: folder of the original files, before AUTOMETA_DATA.
        seed: of the drawn alphabets, and of a split that is shuffled.
        variant: of the conversion; Omniglot: `ink` or `reptile`; a folder: `ink`, `grey` or `colour`.
        rotations: 4 makes each quarter turn of a class a class of its own, 1 none; where None as the split has it.

    Raises:
        DataError: an unknown name, or data that are missing or damaged.
    """
    kind, _, detail = str(name).partition(":")
    if kind == "omniglot":
        if detail and detail not in SPLITS:
            raise DataError(f"unknown Omniglot split {detail!r}; choose from {', '.join(SPLITS)}")
        store = open_omniglot(size, variant, root)
        return store, _turned(omniglot_split(store, detail or "background", seed), rotations)
    if kind == "strokes":
        store = open_strokes(_strokes_config(detail, size, seed))
        return store, _turned(strokes_split(store), rotations)
    path = Path(name).expanduser()
    if path.exists():
        store = _open_path(path, size, variant)
        return store, folder_split(store, rotations)
    if kind == "miniimagenet":
        raise DataError(
            "Mini-ImageNet is not given out freely: name your copy with --data PATH (csv and images, pickles, class "
            "folders, a torchmeta root; autometa data info PATH says whether it is recognised)"
        )
    known = ", ".join(DATASETS)
    raise DataError(f"{str(name)!r} is no data set and no folder; choose from {known} or give a folder")


def _turned(split: Split, rotations: int | None) -> Split:
    return split if rotations is None else split.turned(rotations)


def _open_path(path: Path, size: int, variant: str) -> ImageStore:
    if not (path / META).is_file():
        root = omniglot_root(path) if path.is_dir() else None
        if root is not None:
            raise DataError(f"{path} is Omniglot; name a split: --data omniglot:background --data.root {root}")
        return prepare(path, size=size, variant=variant).store
    store = ImageStore.open(path)
    if store.size != size:
        raise DataError(f"{path} holds images of size {store.size}, not {size}; ask for size {store.size}")
    return store


def _strokes_config(counts: str, size: int, seed: int) -> StrokesConfig:
    if not counts:
        return StrokesConfig(size=size, seed=seed)
    numbers = counts.split("x")
    if len(numbers) != 3 or not all(number.isdecimal() for number in numbers):
        raise DataError(f"strokes:{counts} is not of the form strokes:40x20x20 (40 alphabets of 20 x 20)")
    return StrokesConfig(*map(int, numbers), size=size, seed=seed)
