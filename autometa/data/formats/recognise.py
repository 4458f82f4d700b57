"""Which layout the files under a path have; nothing but names and tables is read."""

from __future__ import annotations

from pathlib import Path

from autometa.data import archives
from autometa.data.errors import DataError
from autometa.data.formats import class_folders
from autometa.data.formats.found import Found

FORMATS = ()
"""Modules with a `look(path)`, the most particular first; class folders come after all of them."""
WRAPPERS = 4
LAYOUTS = "Omniglot's zips, Mini-ImageNet (csv, pickles, folders), a torchmeta root, class folders, or a table of files"


def recognise(path: str | Path, force: bool = False) -> Found:
    """The data set under `path`, a file, an archive or a folder.

    Archives are unpacked into the cache; folders that hold nothing but one other folder, or one archive, are passed
    through. force: accept what looks like a few-shot data set and is not.
    Raises `DataError` where there is nothing, nothing known, or something damaged.
    """
    given = Path(path).expanduser()
    if not given.exists():
        broken = " (a link that leads nowhere)" if given.is_symlink() else ""
        raise DataError(f"there is no {path}{broken}; give a file or folder of images")
    place = given
    for _ in range(WRAPPERS):
        found = _look(place, force)
        if found is not None:
            return found
        inner = _within(place)
        if inner is None:
            break
        place = inner
    raise DataError(f"{path} holds no data set that is known here: {LAYOUTS}; one sub-folder per class always works")


def _look(place: Path, force: bool) -> Found | None:
    try:
        for layout in FORMATS:
            found = layout.look(place)
            if found is not None:
                return found
        return class_folders.look(place, force)
    except PermissionError as error:
        raise DataError(f"{error.filename or place} may not be read; change its permissions") from error
    except OSError as error:
        raise DataError(f"{error.filename or place} cannot be read ({error.strerror}); check the disk") from error


def _within(place: Path) -> Path | None:
    """What stands inside a wrapper: the archive's files, the only folder, or the only archive."""
    if archives.is_archive(place):
        return archives.unpack(place)
    if not place.is_dir():
        return None
    inside = [entry for entry in place.iterdir() if not entry.name.startswith((".", "__MACOSX"))]
    folders = [entry for entry in inside if entry.is_dir()]
    packed = [entry for entry in inside if archives.is_archive(entry)]
    if len(folders) == 1 and not packed:
        return folders[0]
    return packed[0] if len(packed) == 1 and not folders else None
