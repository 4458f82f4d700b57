"""Class folders as they were read before names were composed: for runs of that time, which keep their classes.

Of a class folder only the pictures that lie directly in it; a folder that holds class folders is a group, however many.
"""

from __future__ import annotations

from pathlib import Path

from autometa.data.errors import DataError
from autometa.data.formats.pictures import Classes, contents, holds_picture
from autometa.data.image_files import is_image


def class_folders(path: Path) -> Classes:
    """The classes of a folder of class folders. Raises `DataError` where it has none, or one has no image."""
    folders = _folders(path)
    if not folders:
        raise DataError(f"{path} has no sub-folders; put the images of each class into one of its name")
    classes = []
    for folder in folders:
        files = sorted(file for file in folder.iterdir() if is_image(file) and file.is_file())
        if not files:
            raise DataError(f"class folder {folder} has no image but {contents(folder)}; put its images there")
        classes.append((folder.name, files))
    return classes


def classes(path: Path) -> Classes | None:
    """Those of class folders, or `group/class` of folders of such; None where there are neither."""
    if any(holds_picture(folder) for folder in _folders(path)):
        return class_folders(path)
    inside = {}
    for group in _folders(path):
        if any(holds_picture(folder) for folder in _folders(group)):
            inside[group.name] = class_folders(group)
    if len(inside) < 2:
        return next(iter(inside.values()), None)
    return [(f"{group}/{name}", files) for group, listed in inside.items() for name, files in listed]


def _folders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
