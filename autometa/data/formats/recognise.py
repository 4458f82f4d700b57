"""Which layout the files under a path have; nothing but names and tables is read."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from autometa.data.errors import DataError
from autometa.data.formats import category_split, class_folders, pickle_cache, ravi_csv, table, torchmeta_root
from autometa.data.formats.found import Found
from autometa.data.formats.parted import apart
from autometa.data.formats.unpack import is_archive, unpack
from autometa.data.store import cache_root, made_once

FORMATS = (torchmeta_root, ravi_csv, pickle_cache, category_split, table, class_folders)
"""Modules with a `look(path)`, the most particular first."""
WRAPPERS = 4
LAYOUTS = "Omniglot's zips, Mini-ImageNet (csv, pickles, folders), a torchmeta root, class folders, or a table of files"


def recognise(path: str | Path, force: bool = False) -> Found:
    """The data set under `path`, a file, an archive or a folder.

    Archives are unpacked into the cache; folders that hold nothing but one other folder, or one archive, are passed
    through. force: accept what looks like a few-shot data set and is not (see `apart`).
    Raises `DataError` where there is nothing, nothing known, something damaged, or a look-alike that is not forced.
    """
    given = Path(os.path.expanduser(path))
    if not given.exists():
        broken = " (a link that leads nowhere)" if given.is_symlink() else ""
        raise DataError(f"there is no {path}{broken}; give a file or folder of images")
    place = given
    for _ in range(WRAPPERS):
        found = _look(place)
        if found is not None:
            _check_names(found)
            return apart(found, given, force)
        inner = _within(place)
        if inner is None:
            break
        place = inner
    raise DataError(f"{path} holds no data set that is known here: {LAYOUTS}; one sub-folder per class always works")


def _check_names(found: Found) -> None:
    for entry in found.classes:
        if not entry.name.isprintable():
            raise DataError(f"{found.path} has a class named {ascii(entry.name)}, which cannot be shown; rename it")


def _look(place: Path) -> Found | None:
    try:
        for layout in FORMATS:
            found = layout.look(place)
            if found is not None:
                return found
        return None
    except PermissionError as error:
        raise DataError(f"{error.filename or place} may not be read; change its permissions") from error
    except OSError as error:
        raise DataError(f"{error.filename or place} cannot be read ({error.strerror}); check the disk") from error


def _within(place: Path) -> Path | None:
    """What stands inside a wrapper: the archive's files, the only folder, or the only archive."""
    if is_archive(place):
        return _unpacked(place)
    if not place.is_dir():
        return None
    inside = [entry for entry in place.iterdir() if not entry.name.startswith((".", "__MACOSX"))]
    folders = [entry for entry in inside if entry.is_dir()]
    packed = [entry for entry in inside if is_archive(entry)]
    if len(folders) == 1 and not packed:
        return folders[0]
    return packed[0] if len(packed) == 1 and not folders else None


def _unpacked(archive: Path) -> Path:
    """The folder of the cache with an archive's files: unpacked on first use, and again when the archive changes."""
    state = archive.stat()
    key = hashlib.sha256(f"{archive.resolve()}\0{state.st_size}\0{state.st_mtime_ns}".encode(errors="surrogateescape"))

    def fill(path: Path) -> None:
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.tmp-", dir=path.parent))
        try:
            unpack(archive, temporary)
            temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    return made_once(cache_root() / "unpacked" / key.hexdigest()[:16] / archive.name.partition(".")[0], fill)
