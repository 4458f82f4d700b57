"""Mini-ImageNet as three pickles, one per part, whose images are read one by one from the files.

* `mini-imagenet-cache-{train,val,test}.pkl` (Ren et al. 2018): a dict with `image_data`, uint8 `[n, 84, 84, 3]`, and
  `class_dict`, {class: indices of its images}.
* `miniImageNet_category_split_{train_phase_train,val,test}.pickle` (Gidaris & Komodakis 2018): a dict with `data`,
  the same array, `labels`, n numbers, and `catname2label`, {class: number}. The files `train_phase_val` and
  `train_phase_test` hold further images of the training classes; they are no parts and are left alone.
"""

from __future__ import annotations

import functools
import math
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from autometa.data.errors import DataError
from autometa.data.formats.limits import IMAGE, MEMBERS
from autometa.data.formats.mini_imagenet import is_mini_imagenet, name_split
from autometa.data.formats.parted import fingerprint, parted_classes
from autometa.data.formats.pickles import PickledArray, Window, load, state_of, text
from autometa.data.formats.sources import PARTS, SourceDataset
from autometa.data.images import Recipe, convert


class _Damaged(Exception):
    """What is wrong with the content of a pickle."""


@dataclass(frozen=True)
class Pixels:
    """An uint8 array `[n, height, width, 3]` under a key of a pickle.

    window: where it stands in C order; None for any other array, which a process holds whole, one at a time.
    """

    path: Path
    key: str
    shape: tuple[int, ...]
    state: tuple[int, int]
    window: Window | None

    def row(self, index: int) -> np.ndarray:
        """uint8 `[height, width, 3]`. Raises `DataError` where the file is no longer what it was."""
        try:
            if state_of(self.path) != self.state:
                raise DataError(f"{self.path} changed while it was read; prepare the data again")
            if self.window is None:
                return np.ascontiguousarray(_array(self)[index])
            size = math.prod(self.shape[1:])
            return np.frombuffer(self.window.read(index * size, size), np.uint8).reshape(self.shape[1:])
        except (OSError, ValueError, _Damaged) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{self.path} cannot be read ({error}); prepare the data again") from error


@functools.lru_cache(maxsize=1)
def _array(pixels: Pixels) -> np.ndarray:
    return _pixel_array(_content(pixels.path), pixels.key).open()


@dataclass(frozen=True)
class PixelImage:
    """One image of an array."""

    pixels: Pixels
    index: int

    @property
    def name(self) -> str:
        return f"{self.pixels.path}: image {self.index}"

    def read(self, recipe: Recipe) -> np.ndarray:
        """Raises `DataError` where the file is gone or changed."""
        return convert(Image.fromarray(self.pixels.row(self.index)), recipe)


def _content(path: Path) -> dict[object, object]:
    value = load(path)
    if not isinstance(value, dict):
        raise _Damaged(f"holds a {type(value).__name__} instead of a dict")
    return {text(key): entry for key, entry in value.items()}


def _entry(content: Mapping[object, object], key: str) -> object:
    if key not in content:
        raise _Damaged(f"has no {key!r} but {', '.join(map(repr, list(content)[:5])) or 'nothing'}")
    return content[key]


def _pixel_array(content: Mapping[object, object], key: str) -> PickledArray:
    array = _entry(content, key)
    if not isinstance(array, PickledArray):
        raise _Damaged(f"has a {type(array).__name__} as {key} instead of an array")
    if array.dtype != np.uint8 or len(array.shape) != 4 or array.shape[3] != 3 or not all(array.shape):
        raise _Damaged(f"has {array.dtype} {list(array.shape)} as {key} instead of uint8 [n, height, width, 3]")
    if math.prod(array.shape[1:]) > IMAGE or array.shape[0] > MEMBERS:
        raise _Damaged(f"has {list(array.shape)} as {key}, no data set has so many or so large images")
    return array


def _numbers(value: object) -> list[int] | None:
    """Whole numbers of a list, tuple, set or one-dimensional array; None where it holds anything else."""
    if isinstance(value, PickledArray):
        value = value.open().tolist() if len(value.shape) == 1 and value.dtype.kind in "iu" else None
    if not isinstance(value, (list, tuple, set)) or not all(type(item) is int for item in value):
        return None
    return sorted(value) if isinstance(value, set) else list(value)


def _class_name(value: object) -> str:
    name = str(value) if type(value) is int else text(value)
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise _Damaged(f"names a class {reprlib.repr(value)}, which is no name")
    return name


def _of_class_dict(content: Mapping[object, object], count: int) -> dict[str, list[int]]:
    """{class: its images} of the first layout."""
    table = _entry(content, "class_dict")
    if not isinstance(table, Mapping) or not table:
        raise _Damaged("names no class in class_dict")
    owner: dict[int, str] = {}
    classes: dict[str, list[int]] = {}
    for key, value in table.items():
        name, indices = _class_name(key), _numbers(value)
        if name in classes:
            raise _Damaged(f"names class {name!r} twice")
        if not indices:
            raise _Damaged(f"has no list of images of class {name!r}")
        for index in indices:
            if not 0 <= index < count:
                raise _Damaged(f"names image {index} of class {name!r}, there are {count}")
            if index in owner:
                raise _Damaged(f"has image {index} in {owner[index]!r} and {name!r}")
            owner[index] = name
        classes[name] = indices
    if len(owner) != count:
        raise _Damaged(f"has {count - len(owner)} of its {count} images in no class")
    return classes


def _of_labels(content: Mapping[object, object], count: int) -> dict[str, list[int]]:
    """{class: its images} of the second layout; a name without images is no error, a table may cover all files."""
    labels, table = _numbers(_entry(content, "labels")), _entry(content, "catname2label")
    if labels is None or len(labels) != count:
        there = "no list of whole numbers" if labels is None else f"{len(labels)} for {count} images"
        raise _Damaged(f"has labels that are {there}")
    if not isinstance(table, Mapping):
        raise _Damaged("has a catname2label that is no dict")
    names: dict[int, str] = {}
    for key, label in table.items():
        name = _class_name(key)
        if type(label) is not int:
            raise _Damaged(f"gives class {name!r} the label {reprlib.repr(label)}, no number")
        if names.setdefault(label, name) != name:
            raise _Damaged(f"has label {label} for {names[label]!r} and {name!r}")
    if len(set(names.values())) != len(names):
        raise _Damaged("names a class under two labels")
    classes: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        if label not in names:
            raise _Damaged(f"has label {label} at image {index}, which catname2label does not name")
        classes.setdefault(names[label], []).append(index)
    return classes


@dataclass(frozen=True)
class Layout:
    """A layout of three pickles: their names by part, the key of the images, and what reads the classes."""

    format: str
    pattern: str
    files: Mapping[str, str]
    key: str
    classes: Callable[[Mapping[object, object], int], dict[str, list[int]]]

    def read(self, path: Path) -> dict[str, list[PixelImage]]:
        """The classes of a part. Raises `DataError` where its file is damaged."""
        try:
            content = _content(path)
            array = _pixel_array(content, self.key)
            pixels = Pixels(path, self.key, array.shape, state_of(path), array.window)
            classes = self.classes(content, array.shape[0])
        except _Damaged as error:
            raise DataError(f"{path} {error}; get the file again, it is of another kind or damaged") from None
        return {name: [PixelImage(pixels, index) for index in indices] for name, indices in classes.items()}


CACHE = Layout(
    "pickle cache",
    "mini-imagenet-cache-*.pkl",
    {part: f"mini-imagenet-cache-{part}.pkl" for part in PARTS},
    "image_data",
    _of_class_dict,
)
CATEGORY_SPLIT = Layout(
    "category split",
    "miniImageNet_category_split_*.pickle",
    {
        part: f"miniImageNet_category_split_{phase}.pickle"
        for part, phase in zip(PARTS, ("train_phase_train", "val", "test"), strict=True)
    },
    "data",
    _of_labels,
)


def detect(path: Path) -> SourceDataset | None:
    """The set in a folder with at least one file of either layout, or of such a file; None for anything else.

    Raises `DataError` where a file is missing, damaged or carries code, or its classes contradict its images.
    """
    for layout in (CACHE, CATEGORY_SPLIT):
        folder = path.parent if path.is_file() and path.match(layout.pattern) else path
        if folder.is_dir() and any(folder.glob(layout.pattern)):
            return _found(layout, path, folder)
    return None


def _found(layout: Layout, path: Path, folder: Path) -> SourceDataset:
    files = {part: folder / name for part, name in layout.files.items()}
    for file in files.values():
        if not file.is_file():
            raise DataError(f"{file} is missing; put {', '.join(layout.files.values())} into one folder")
    parts = {part: layout.read(file) for part, file in files.items()}
    names = {part: frozenset(classes) for part, classes in parts.items()}
    tables = [(part, name, [image.index for image in parts[part][name]]) for part in PARTS for name in parts[part]]
    states = [(file.name, *state_of(file)) for file in files.values()]
    return SourceDataset(
        format=layout.format,
        name="miniimagenet" if is_mini_imagenet(names) else folder.absolute().name,
        path=path,
        classes=parted_classes(parts),
        split=name_split(names, "the three pickles"),
        variant="colour",
        fingerprint=fingerprint([layout.format, *states, *tables]),
    )
