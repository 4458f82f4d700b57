"""Which layout the files under a path have; nothing but names and tables is read."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from autometa.data.errors import DataError
from autometa.data.formats import class_folders, mini_imagenet_pickles, ravi_csv, table, torchmeta_root
from autometa.data.formats.archives import is_archive, unpack
from autometa.data.formats.limits import TRUSTED, allowance
from autometa.data.formats.parted import in_nfc, with_disjoint_parts
from autometa.data.formats.pictures import contents, folders_in, pictures_in
from autometa.data.formats.sources import SourceDataset
from autometa.data.names import READING
from autometa.data.store import cache_root, made_once

FORMATS = (torchmeta_root, ravi_csv, mini_imagenet_pickles, table)
"""Modules with a `detect(path)`, the most particular first; class folders are looked for after them."""
WRAPPERS = 4
LAYOUTS = "Omniglot's zips, Mini-ImageNet (csv, pickles, folders), a torchmeta root, class folders, or a table of files"


def recognise(path: str | Path, force: bool = False, reading: int = READING) -> SourceDataset:
    """The data set under `path`, a file, an archive or a folder.

    Archives are unpacked into the cache; folders that hold nothing but one other folder, or one archive, are passed
    through. force: accept what looks like a few-shot data set and is not (see `with_disjoint_parts`).
    Raises `DataError` where there is nothing, nothing known, something damaged, or a look-alike that is not forced.
    reading: how names and folders are read (`data.names`).
    """
    given = Path(os.path.expanduser(path))
    if not str(path):
        raise DataError("the path is empty; name a folder, an archive or a table of images")
    if not given.exists():
        broken = " (a link that leads nowhere)" if given.is_symlink() else ""
        raise DataError(f"there is no {path}{broken}; give a file or folder of images")
    opened: list[Path] = []
    try:
        return _recognised(given, force, reading, opened)
    except Exception:
        forget(opened)
        raise


def _recognised(given: Path, force: bool, reading: int, opened: list[Path]) -> SourceDataset:
    """`recognise`; `opened` gets the archives that it unpacked into the cache, all within what the first may become."""
    place, allowed = given, None
    for _ in range(WRAPPERS):
        dataset = _look(place, reading)
        if dataset is not None:
            _check_names(dataset)
            return replace(with_disjoint_parts(dataset, given, force), archives=tuple(opened))
        inner = _within(place)
        if inner is not None and is_archive(inner):
            allowed = allowance(inner.stat().st_size) if allowed is None else allowed
            opened.append(inner)
            inner = _unpacked(inner, allowed)
        if inner is None:
            break
        place = inner
    if place.is_dir() and not folders_in(place) and pictures_in(place):
        raise DataError(
            f"{given} has no sub-folders but {contents(place)}, no data set that is known here; put the pictures of "
            "each class into one of its name"
        )
    there = _there(given) if given.is_dir() else ""
    raise DataError(
        f"{given} holds no data set that is known here{there}: {LAYOUTS}; one sub-folder per class always works"
    )


def _there(folder: Path) -> str:
    """What is in a folder of no known layout: its content, and a sub-folder that could be a class's."""
    folders = folders_in(folder)
    return f" but {contents(folder)}" + (f" ({folders[0].name} has no image)" if folders else "")


def _check_names(dataset: SourceDataset) -> None:
    for entry in dataset.classes:
        if not entry.name.isprintable():
            raise DataError(f"{dataset.path} has a class named {ascii(entry.name)}, which cannot be shown; rename it")


def _look(place: Path, reading: int) -> SourceDataset | None:
    try:
        inner = place
        for _ in range(WRAPPERS if reading > 1 else 1):
            for layout in FORMATS:
                dataset = layout.detect(inner)
                if dataset is not None:
                    return in_nfc(dataset) if reading > 1 else dataset
            within = _within(inner)
            if within is None or not within.is_dir():
                break
            inner = within
        return class_folders.detect(place, reading)
    except MemoryError as error:
        raise DataError(f"{place} asks for more memory than there is; {TRUSTED}") from error
    except PermissionError as error:
        raise DataError(f"{error.filename or place} may not be read; change its permissions") from error
    except OSError as error:
        raise DataError(f"{error.filename or place} cannot be read ({error.strerror}); check the disk") from error


def _within(place: Path) -> Path | None:
    """What stands inside a wrapper: the archive itself, the only folder, or the only archive."""
    if is_archive(place):
        return place
    if not place.is_dir():
        return None
    inside = [entry for entry in place.iterdir() if not entry.name.startswith((".", "__MACOSX"))]
    folders = [entry for entry in inside if entry.is_dir()]
    packed = [entry for entry in inside if is_archive(entry)]
    if len(folders) == 1 and not packed:
        return folders[0]
    return packed[0] if len(packed) == 1 and not folders else None


def _place_of(archive: Path) -> Path:
    """The folder of the cache for an archive's files; another one when the archive changes."""
    state = archive.stat()
    key = hashlib.sha256(f"{archive.resolve()}\0{state.st_size}\0{state.st_mtime_ns}".encode(errors="surrogateescape"))
    return cache_root() / "unpacked" / key.hexdigest()[:16] / archive.name.partition(".")[0]


def _unpacked(archive: Path, allowed: int) -> Path:
    """The folder with an archive's files, unpacked on first use. allowed: bytes that they may take."""

    def fill(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.tmp-", dir=path.parent))
        try:
            unpack(archive, temporary, allowed)
            temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    return made_once(_place_of(archive), fill)


def forget(archives: Sequence[Path]) -> None:
    """Remove the files of archives, each within the one before, from the cache: what was refused takes no room."""
    for archive in reversed(archives):
        with contextlib.suppress(OSError):
            shutil.rmtree(_place_of(archive).parent, ignore_errors=True)
