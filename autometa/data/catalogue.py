"""Data sets by name: what `--data` understands."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from autometa.data.errors import DataError
from autometa.data.folders import folder_split
from autometa.data.formats.omniglot import root_of as omniglot_root
from autometa.data.images import FITS
from autometa.data.names import READING, composed, twice
from autometa.data.omniglot import SPLITS
from autometa.data.prepare import prepare
from autometa.data.splits import Split
from autometa.data.store import META, ImageStore
from autometa.registry import Registry

DATASETS = ("strokes", *(f"omniglot:{split}" for split in SPLITS))
OR_FOLDERS = ("miniimagenet", "meters", "fonts", "characters")
"""Names that a folder may have too: it is meant where it exists."""
Load = Callable[..., tuple[ImageStore, Split]]
LOADERS: Registry[Load] = Registry(
    "data set",
    "autometa.datasets",
    {
        "strokes": "autometa.data.strokes:load",
        "omniglot": "autometa.data.omniglot:load",
        "meters": "autometa.data.meters:load",
        "fonts": "autometa.data.fonts:load",
        "characters": "autometa.data.characters:load",
        "miniimagenet": "autometa.data.catalogue:_miniimagenet",
    },
)


def register(name: str, load: Load, *, replace: bool = False) -> None:
    """Let `--data NAME` and `--data NAME:DETAIL` mean a data set of your own.

    Args:
        name: letters, digits, underscores and dashes.
        load: called by keyword with detail (what follows the colon, or an empty string), size, root, seed and variant,
            as `open_dataset` got them; returns the images and the split. `cached_store` keeps a conversion.
        replace: take the place of a registered set of that name, as when a notebook's cell runs again.

    Raises:
        InputError: a name that is taken or cannot be one.
    """
    LOADERS.register(name, load, replace=replace)


def dataset_names() -> tuple[str, ...]:
    """What `open_dataset` knows by name: autometa's own sets and those that plugins and packages have added."""
    return (*DATASETS, *LOADERS.added)


def listed_datasets() -> tuple[str, ...]:
    """All that can be opened by name: beside these, those that mean a folder where one of that name is there."""
    return (*dataset_names(), *(name for name in OR_FOLDERS if name != "miniimagenet"))


def about_dataset(name: str) -> str:
    """A line about a data set."""
    kind, _, detail = name.partition(":")
    return LOADERS.about(kind) + (f", split {detail}" if detail else "") or "registered by a plugin"


def open_dataset(
    name: str | Path,
    *,
    size: int = 28,
    root: str | Path | None = None,
    seed: int = 0,
    variant: str = "ink",
    rotations: int | None = None,
    reading: int = READING,
    fit: str = FITS[0],
) -> tuple[ImageStore, Split]:
    """A data set and its split, converted into the cache on first use.

    Args:
        name: `omniglot` (= `omniglot:background`), `omniglot:vinyals`, `omniglot:reptile`; `strokes`, or
            `strokes:AxCxD` for A alphabets of C characters with D drawings each; a registered name; or the path of a
            folder of class folders, or of a store.
        size: height and width of the images.
        root: folder of the original files, before AUTOMETA_DATA.
        seed: of the drawn alphabets, and of a split that is shuffled.
        variant: of the conversion; Omniglot: `ink` or `reptile`; a folder: `ink`, `grey` or `colour`.
        rotations: 4 makes each quarter turn of a class a class of its own, 1 none; where None as the split has it.
        reading: how names and folders are read (`data.names`).
        fit: of pictures of a folder, `crop`, `stretch` or `ink` (`Recipe`).

    Raises:
        DataError: an unknown name, or data that are missing or damaged.
    """
    kind, _, detail = str(name).partition(":")
    path = Path(os.path.expanduser(name))
    if kind in LOADERS and (kind not in OR_FOLDERS or not path.exists()):
        store, split = _loaded(kind, detail=detail, size=size, root=root, seed=seed, variant=variant)
        return store, split if rotations is None else split.turned(rotations)
    if path.exists():
        store = _open_path(path, size, variant, reading, fit)
        return store, folder_split(store, rotations, reading)
    known = ", ".join(dataset_names())
    raise DataError(
        f"{str(name)!r} is no data set and no folder; choose from {known}, give a folder, or load the file that "
        "registers it with --plugin"
    )


def _loaded(kind: str, **asked) -> tuple[ImageStore, Split]:
    found = LOADERS[kind](**asked)
    if not (isinstance(found, tuple) and len(found) == 2 and isinstance(found[0], ImageStore)):
        raise DataError(
            f"the loader of the data set {kind} must return (ImageStore, Split), not {type(found).__name__}"
        )
    store, split = found
    if store.size != asked["size"]:
        raise DataError(f"the data set {kind} came with images of size {store.size}, not {asked['size']} as asked")
    return store, split


def _miniimagenet(**_: object) -> tuple[ImageStore, Split]:
    raise DataError(
        "Mini-ImageNet is not given out freely: name your copy with --data PATH (csv and images, pickles, class "
        "folders, a torchmeta root; autometa data info PATH says whether it is recognised)"
    )


def _open_path(path: Path, size: int, variant: str, reading: int, fit: str) -> ImageStore:
    if not (path / META).is_file():
        root = omniglot_root(path) if path.is_dir() else None
        if root is not None:
            raise DataError(f"{path} is Omniglot; name a split: --data omniglot:background --data.root {root}")
        return prepare(path, size=size, variant=variant, reading=reading, fit=fit).store
    store = ImageStore.open(path)
    if store.size != size:
        raise DataError(f"{path} holds images of size {store.size}, not {size}; ask for size {store.size}")
    if reading == 1:
        return store
    double = twice(store.class_names)
    if double is not None:
        raise DataError(f"{path} has the class {double} in two Unicode forms; prepare the data it was made of again")
    return replace(store, class_names=tuple(composed(name) for name in store.class_names))
