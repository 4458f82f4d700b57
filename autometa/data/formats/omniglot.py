"""Omniglot as its authors give it out: two zips, or the folders in them."""

from __future__ import annotations

from pathlib import Path

from autometa.data import omniglot
from autometa.data.errors import DataError

STEMS = tuple(f"images_{part}" for part in omniglot.PARTS)


def root_of(path: Path) -> Path | None:
    """The folder with both parts that `path` means, itself or one of its parts; None where it is not Omniglot.

    Raises `DataError` where one part is there and the other is not.
    """
    for folder in (path, path / "omniglot", path.parent):
        there = [stem for stem in STEMS if (folder / stem).is_dir() or (folder / f"{stem}.zip").is_file()]
        named = folder != path.parent or path.name.removesuffix(".zip") in STEMS
        if there and named:
            if len(there) < len(STEMS):
                (missing,) = set(STEMS) - set(there)
                raise DataError(f"{folder} holds {there[0]} of Omniglot but not {missing}; put {missing}.zip there")
            return folder
    return None
