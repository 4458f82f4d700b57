"""Names of classes and files, which come in two Unicode forms: `é` as one character (NFC) or as two (NFD)."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

READING = 2
"""How folders and names are read today. 1, in runs that do not say it: names as they are stored, of a class folder only
the pictures that lie directly in it. 2: names in NFC, pictures at any depth."""
READINGS = (1, 2)


def composed(name: str) -> str:
    """A name in NFC, the form in which names are compared, shown and hashed."""
    return unicodedata.normalize("NFC", name)


def twice(names: Iterable[str]) -> str | None:
    """The first name that was there before in either form, None where all differ."""
    seen: set[str] = set()
    for name in map(composed, names):
        if name in seen:
            return name
        seen.add(name)
    return None


class NormalisedPaths:
    """The files below a folder, found by names in either form."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._listed: dict[Path, dict[str, Path]] = {}

    def find(self, name: str) -> Path:
        """The file of a relative name with slashes; where there is none in any form, the path it would have.

        Raises `OSError` or `ValueError` where a folder cannot be listed or a name cannot be one.
        """
        exact = self.folder / name
        if name.isascii() or exact.exists():
            return exact
        place = self.folder
        for piece in PurePosixPath(name).parts:
            if place not in self._listed:
                self._listed[place] = {composed(entry.name): entry for entry in place.iterdir()}
            found = place / piece
            place = found if found.exists() else self._listed[place].get(composed(piece), found)
            if not place.exists():
                return exact
        return place
