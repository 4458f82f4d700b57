"""Mini-ImageNet as three pickles `mini-imagenet-cache-{train,val,test}.pkl`.

Each holds a dict with `image_data`, uint8 `[n, 84, 84, 3]`, and `class_dict`, {class: indices of its images}. They are
read by the restricted unpickler. From an archive they are unpacked first (`unpack.py`), so that images can stay in
the files.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from autometa.data.errors import DataError
from autometa.data.formats.found import PARTS, Found
from autometa.data.formats.pickled_images import (
    PixelImage,
    class_name,
    entry,
    load_dict,
    numbers,
    open_pixels,
)
from autometa.data.formats.three_pickles import in_three_pickles

FORMAT = "pickle cache"
FILES = {part: f"mini-imagenet-cache-{part}.pkl" for part in PARTS}


def look(path: Path) -> Found | None:
    """The set in a folder with at least one of the three files, or of such a file; None for anything else.

    Only class tables are read; images stay in the files.

    Raises `DataError` where a file is missing, damaged or carries code; an index is out of range, in no class or in two
    classes; a class is empty.
    """
    folder = path.parent if path.name in FILES.values() and path.is_file() else path
    if not any((folder / name).is_file() for name in FILES.values()):
        return None
    return in_three_pickles(FORMAT, path, folder, FILES, _classes)


def _classes(path: Path) -> dict[str, list[PixelImage]]:
    content = load_dict(path)
    pixels, count = open_pixels(path, "image_data", content)
    table = entry(path, content, "class_dict")
    if not isinstance(table, Mapping) or not table:
        raise DataError(f"class_dict of {path} names no class; get the file again")
    owner: dict[int, str] = {}
    classes: dict[str, list[PixelImage]] = {}
    for key, value in table.items():
        name, indices = class_name(path, key), numbers(value)
        if name in classes:
            raise DataError(f"{path} names class {name!r} twice; get the file again")
        if not indices:
            raise DataError(f"class {name!r} of {path} has no list of images; get the file again")
        for index in indices:
            if not 0 <= index < count:
                raise DataError(f"class {name!r} of {path} has image {index}, there are {count}; get the file again")
            if index in owner:
                raise DataError(f"{path} has image {index} in {owner[index]!r} and {name!r}; get the file again")
            owner[index] = name
        classes[name] = [PixelImage(pixels, index) for index in indices]
    if len(owner) != count:
        raise DataError(f"{count - len(owner)} of the {count} images of {path} are in no class; get the file again")
    return classes
