"""Mini-ImageNet as `miniImageNet_category_split_{train_phase_train,val,test}.pickle` (Gidaris & Komodakis 2018).

Each holds a dict with `data`, uint8 `[n, 84, 84, 3]`, `labels`, n numbers, and `catname2label`, {class: number}. The
files `train_phase_val` and `train_phase_test` hold further images of the training classes, beyond the 600 of the data
set; they are no parts and are left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from autometa.data.errors import DataError
from autometa.data.formats.found import Found
from autometa.data.formats.pickled_images import (
    PixelImage,
    class_name,
    entry,
    load_dict,
    numbers,
    open_pixels,
)
from autometa.data.formats.three_pickles import in_three_pickles

FORMAT = "category split"
_PREFIX = "miniImageNet_category_split_"
_PHASES = {"train": "train_phase_train", "val": "val", "test": "test"}
FILES = {part: f"{_PREFIX}{phase}.pickle" for part, phase in _PHASES.items()}


def look(path: Path) -> Found | None:
    """The set in a folder with any `miniImageNet_category_split_*.pickle`, or of such a file; None for anything else.

    Only class tables are read; images stay in the files.

    Raises `DataError` where a file is missing, damaged or carries code; labels are not as many as the images, not
    named, or named twice.
    """
    folder = path.parent if path.is_file() and _is_part(path) else path
    if not folder.is_dir() or not any(_is_part(file) for file in folder.glob(f"{_PREFIX}*.pickle")):
        return None
    return in_three_pickles(FORMAT, path, folder, FILES, _classes)


def _is_part(path: Path) -> bool:
    return path.name.startswith(_PREFIX) and path.suffix == ".pickle"


def _classes(path: Path) -> dict[str, list[PixelImage]]:
    content = load_dict(path)
    pixels, count = open_pixels(path, "data", content)
    labels = numbers(entry(path, content, "labels"))
    if labels is None or len(labels) != count:
        found = "no list of whole numbers" if labels is None else f"{len(labels)} for {count} images"
        raise DataError(f"the labels of {path} are {found}; get the file again")
    names = _names(path, entry(path, content, "catname2label"))
    classes: dict[str, list[PixelImage]] = {}
    for index, label in enumerate(labels):
        if label not in names:
            raise DataError(
                f"image {index} of {path} has label {label}, which catname2label does not name; get it again"
            )
        classes.setdefault(names[label], []).append(PixelImage(pixels, index))
    return classes


def _names(path: Path, table: object) -> dict[int, str]:
    """{label: class}; a name without images is no error, the table may cover all three files."""
    if not isinstance(table, Mapping):
        raise DataError(f"catname2label of {path} is no dict; get the file again")
    names: dict[int, str] = {}
    for key, label in table.items():
        name = class_name(path, key)
        if type(label) is not int:
            raise DataError(
                f"class {name!r} of {path} has the label {ascii(label)[:80]}, no number; get the file again"
            )
        if names.setdefault(label, name) != name:
            raise DataError(f"{path} has label {label} for {names[label]!r} and {name!r}; get the file again")
    if len(set(names.values())) != len(names):
        raise DataError(f"{path} names a class under two labels; get the file again")
    return names
