"""`data`: recognise, convert, check and describe a person's images."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autometa.api.photos import chosen
from autometa.brief import brief
from autometa.data.folders import class_split, folder_split
from autometa.data.formats.omniglot import root_of as omniglot_root
from autometa.data.formats.recognise import forget, recognise
from autometa.data.formats.sources import ImageFile, SourceDataset
from autometa.data.image_files import UNREAD
from autometa.data.omniglot import DRAWINGS, PARTS, SPLITS, open_omniglot
from autometa.data.prepare import Progress, bad_images, prepare, processors, recipe_of, silent
from autometa.data.splits import Split
from autometa.data.store import META, ImageStore
from autometa.errors import InputError

PathLike = str | os.PathLike


@brief
@dataclass(frozen=True)
class Described:
    """A data set for a person: what it is, its split, classes of each part, images per class, store and next step.

    skipped: why images were left out. notice: what else to know of a set that was forced.
    option: what names this set to `autometa search`; a set that was forced or has gaps is named by its store.
    """

    format: str
    name: str
    split: str
    classes: dict[str, int]
    images: int
    images_per_class: tuple[int, int]
    store: str | None
    data_hash: str | None
    skipped: tuple[str, ...]
    option: str
    notice: str = ""


def prepare_data(
    path: PathLike,
    *,
    size: int | None = None,
    variant: str | None = None,
    skip_bad: bool = False,
    force: bool = False,
    progress: Progress = silent,
) -> Described:
    """Convert the images under `path` into a store of the cache, unless that has been done.

    Raises `InputError` where nothing there can be used, `DiskError` where the store cannot be written.
    """
    path = _place(path)
    if _is_store(path):
        return _of_store(ImageStore.open(path))
    root = omniglot_root(path) if path.is_dir() else None
    if root is not None:
        return _of_omniglot(open_omniglot(28 if size is None else size, variant or "ink", root), root)
    found = recognise(path, force)
    try:
        size, variant = chosen(found, path, size, variant)
    except InputError:
        forget(found.archives)
        raise
    made = prepare(path, size=size, variant=variant, skip_bad=skip_bad, force=force, progress=progress)
    only_as_store = skip_bad or made.store.notice
    option = _store_option(made.store) if only_as_store else _option(path, variant)
    return _of_store(made.store, made.dataset.format, option)


def data_info(path: PathLike, *, force: bool = False) -> Described:
    """What stands under `path`; a few images are read, to say how a search would take them.

    Raises `InputError` where nothing there is known.
    """
    path = _place(path)
    if _is_store(path):
        return _of_store(ImageStore.open(path))
    if path.is_dir() and (root := omniglot_root(path)) is not None:
        each, images = (DRAWINGS, DRAWINGS), DRAWINGS * sum(PARTS.values())
        about = None, None, (), _omniglot(root)
        return Described("Omniglot", "omniglot", _splits(), dict(PARTS), images, each, *about)
    found = recognise(path, force)
    counts = [len(c.images) for c in found.classes]
    split = class_split([c.name for c in found.classes], [c.part for c in found.classes], found.split)
    size, variant = chosen(found, path)
    option = f"{_option(path, variant)} --data.image_size {size}"
    about = None, None, _unread(found), option, found.notice
    return Described(found.format, found.name, split.name, _sizes(split), sum(counts), _range(counts), *about)


def verify_data(path: PathLike, *, force: bool = False, progress: Progress = silent) -> dict[str, Any]:
    """Read every image under `path`, or every pixel of a store, and compare with its hash.

    Returns `{"checked": number, "bad": sentences}`. Raises `InputError` where a store differs from its hash.
    """
    path = _place(path)
    if _is_store(path):
        store = ImageStore.open(path)
        store.verify()
        return {"checked": len(store.images), "bad": []}
    if path.is_dir() and (root := omniglot_root(path)) is not None:
        store = open_omniglot(root=root)
        store.verify()
        return {"checked": len(store.images), "bad": []}
    found = recognise(path, force)
    sources = [source for c in found.classes for source in c.images]
    verdicts = progress(bad_images(sources, recipe_of(found), processors()), len(sources), f"checking {found.name}")
    return {"checked": len(sources), "bad": [told for told in verdicts if told is not None]}


def _unread(found: SourceDataset) -> tuple[str, ...]:
    """A sentence where files are pictures that cannot be read, by their names."""
    paths = [s.path for c in found.classes for s in c.images if isinstance(s, ImageFile)]
    unread = [path for path in paths if path.suffix.lower() in UNREAD]
    if not unread:
        return ()
    many = f"{len(unread)} of {len(paths)} files cannot be read" if len(unread) > 1 else "1 file cannot be read"
    return (f"{many}: {unread[0]} is {UNREAD[unread[0].suffix.lower()].rstrip(',')}; save such as JPEG or PNG",)


def _place(path: PathLike) -> Path:
    if not str(path):
        raise InputError("the path is empty; name a folder, an archive or a table of images")
    return Path(os.path.expanduser(path))


def _is_store(path: Path) -> bool:
    return (path / META).is_file()


def _of_store(store: ImageStore, form: str = "image store", option: str | None = None) -> Described:
    split, counts = folder_split(store), np.diff(store.class_start)
    return Described(
        format=form,
        name=store.name,
        split=split.name,
        classes=_sizes(split),
        images=len(store.images),
        images_per_class=_range(counts),
        store=str(store.path),
        data_hash=store.data_hash,
        skipped=store.left_out,
        option=f"{option or _store_option(store)} --data.image_size {store.size}",
        notice=store.notice,
    )


def _of_omniglot(store: ImageStore, root: Path) -> Described:
    return Described(
        format="Omniglot",
        name=store.name,
        split=_splits(),
        classes={part: store.parts.count(part) for part in PARTS},
        images=len(store.images),
        images_per_class=_range(np.diff(store.class_start)),
        store=str(store.path),
        data_hash=store.data_hash,
        skipped=(),
        option=_omniglot(root),
    )


def _splits() -> str:
    return ", ".join(f"omniglot:{name}" for name in SPLITS)


def _omniglot(root: Path) -> str:
    return f"--data omniglot:background --data.root {shlex.quote(str(root))}"


def _option(path: Path, variant: str) -> str:
    named = f"./{path}" if str(path).partition(":")[0] in ("omniglot", "strokes") else str(path)
    return f"--data {shlex.quote(named)}" + ("" if variant == "ink" else f" --data.variant {variant}")


def _store_option(store: ImageStore) -> str:
    return f"--data {shlex.quote(str(store.path))}"


def _sizes(split: Split) -> dict[str, int]:
    return {"train": len(split.train), "val": len(split.val), "test": len(split.test)}


def _range(counts) -> tuple[int, int]:
    if not len(counts):
        raise InputError("the data set has no classes")
    return int(min(counts)), int(max(counts))
