"""The pictures in a folder, and what else is there."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from autometa.data.image_files import is_picture
from autometa.data.names import composed

Classes = list[tuple[str, list[Path]]]
"""Names of classes and their picture files."""
PASSED_OVER = (".", "__MACOSX")
"""How names begin of files and folders that a person did not put there."""


def folders_in(folder: Path) -> list[Path]:
    """The visible sub-folders, sorted by name."""
    inside = (entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(PASSED_OVER))
    return sorted(inside, key=lambda entry: (composed(entry.name), entry.name))


def pictures_in(folder: Path) -> list[Path]:
    """The picture files directly in a folder, sorted by name."""
    return _sorted([file for file in folder.iterdir() if is_picture(file) and file.is_file()])


def holds_picture(folder: Path) -> bool:
    """Whether a picture lies directly in a folder."""
    return any(is_picture(file) and file.is_file() for file in folder.iterdir())


def pictures_below(folder: Path) -> list[Path]:
    """The picture files in a folder and in all folders below it, sorted by path.

    Links are followed, but into no folder twice and into none that holds `folder`: a circle ends.
    """
    place = folder.resolve()
    seen, found, waiting = {place, *place.parents}, [], [folder]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                path = Path(entry.path)
                if entry.name.startswith(PASSED_OVER):
                    continue
                if entry.is_dir():
                    real = path.resolve() if entry.is_symlink() else place / path.relative_to(folder)
                    if real not in seen:
                        seen.add(real)
                        waiting.append(path)
                elif is_picture(path) and entry.is_file():
                    found.append(path)
    return _sorted(found)


def _sorted(files: list[Path]) -> list[Path]:
    """As computers of either Unicode form would sort them."""
    return sorted(files, key=lambda file: ([composed(part) for part in file.parts], file.parts))


def contents(folder: Path) -> str:
    """What lies in a folder, in words."""
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(PASSED_OVER)]
    folders = sorted(entry.name for entry in entries if entry.is_dir())
    files = [entry for entry in entries if not entry.is_dir()]
    pictures = sum(is_picture(file) for file in files)
    others = Counter(file.suffix.lower() or "no suffix" for file in files if not is_picture(file))
    counts = [f"{pictures} picture{'s' * (pictures != 1)}"] if pictures else []
    counts += [f"{count} file{'s' * (count != 1)} of {kind}" for kind, count in others.most_common(3)]
    if folders:
        more = ", ..." if len(folders) > 3 else ""
        counts.append(f"{len(folders)} folder{'s' * (len(folders) != 1)} ({', '.join(folders[:3])}{more})")
    return ", ".join(counts) or "nothing"
