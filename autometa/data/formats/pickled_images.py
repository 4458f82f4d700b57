"""Images in the large arrays of pickles, read one by one."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from autometa.data.errors import DataError
from autometa.data.formats.in_file import LatinText, Window, state_of
from autometa.data.formats.limits import IMAGE, MEMBERS
from autometa.data.formats.pickled_array import PickledArray
from autometa.data.formats.restricted_pickle import load, text
from autometa.data.images import Recipe, convert


@dataclass(frozen=True)
class PixelFile:
    """An uint8 array `[n, height, width, 3]` that stays in its file."""

    data: Window | LatinText
    shape: tuple[int, ...]

    @property
    def path(self) -> Path:
        return self.data.path

    def row(self, index: int) -> np.ndarray:
        """uint8 `[height, width, 3]`; no more than a few images are read. Raises `DataError` where the file changed."""
        size = math.prod(self.shape[1:])
        try:
            data = self.data.read(index * size, size)
        except OSError as error:
            raise DataError(f"{self.path} cannot be read ({error}); check the path and its permissions") from error
        except ValueError as error:
            raise DataError(f"{self.path} cannot be read ({error}); prepare the data again") from error
        return np.frombuffer(data, np.uint8).reshape(self.shape[1:])


@dataclass(frozen=True)
class PixelPickle:
    """An uint8 array `[n, height, width, 3]` under a key of a pickle with it in another order or as a line of text.

    Each process that reads images holds the array of one such file.
    """

    path: Path
    key: str
    state: tuple[int, int]

    def row(self, index: int) -> np.ndarray:
        """uint8 `[height, width, 3]`. Raises `DataError` where the file is no longer what it was."""
        return np.ascontiguousarray(_array(self)[index])


@functools.lru_cache(maxsize=1)
def _array(pixels: PixelPickle) -> np.ndarray:
    array = pixel_array(pixels.path, pixels.key, load_dict(pixels.path))
    if state_of(pixels.path) != pixels.state:
        raise DataError(f"{pixels.path} changed while it was read; prepare the data again")
    return array.open()


@dataclass(frozen=True)
class PixelImage:
    """One image of an array."""

    pixels: PixelFile | PixelPickle
    index: int

    @property
    def name(self) -> str:
        return f"{self.pixels.path}: image {self.index}"

    def read(self, recipe: Recipe) -> np.ndarray:
        """Raises `DataError` where the file is gone or changed."""
        return convert(Image.fromarray(self.pixels.row(self.index)), recipe)


def load_dict(path: Path) -> dict[object, object]:
    """The dict that a pickle holds, keys as str. Raises `DataError` where it holds something else."""
    value = load(path)
    if not isinstance(value, dict):
        raise DataError(f"{path} holds a {type(value).__name__} instead of a dict; get the file again")
    return {text(key): entry for key, entry in value.items()}


def entry(path: Path, content: Mapping[object, object], key: str) -> object:
    """`content[key]`; raises `DataError` where it is absent."""
    if key not in content:
        known = ", ".join(map(repr, list(content)[:5])) or "nothing"
        raise DataError(f"{path} has no {key!r} but {known}; get the file again, it is of another kind or damaged")
    return content[key]


def pixel_array(path: Path, key: str, content: Mapping[object, object]) -> PickledArray:
    """The array of images under `key`. Raises `DataError` where it is not uint8 `[n, height, width, 3]`."""
    array = entry(path, content, key)
    if not isinstance(array, PickledArray):
        raise DataError(f"{key} of {path} is a {type(array).__name__} instead of an array; get the file again")
    if array.dtype != np.uint8 or len(array.shape) != 4 or array.shape[3] != 3 or not all(array.shape):
        found = f"{array.dtype} {list(array.shape)}"
        raise DataError(f"{key} of {path} is {found} instead of uint8 [n, height, width, 3]; get the file again")
    if math.prod(array.shape[1:]) > IMAGE or array.shape[0] > MEMBERS:
        raise DataError(f"{key} of {path} is {list(array.shape)}, no data set has so many or so large images")
    return array


def open_pixels(path: Path, key: str, content: Mapping[object, object]) -> tuple[PixelFile | PixelPickle, int]:
    """The images under `key`, and how many they are. Raises `DataError` as `pixel_array` does."""
    array = pixel_array(path, key, content)
    if array.window is not None:
        return PixelFile(array.window, array.shape), array.shape[0]
    return PixelPickle(path, key, state_of(path)), array.shape[0]


def numbers(value: object) -> list[int] | None:
    """Whole numbers of a list, tuple, set or one-dimensional array; None where it holds anything else."""
    if isinstance(value, PickledArray):
        value = value.open().tolist() if len(value.shape) == 1 and value.dtype.kind in "iu" else None
    elif isinstance(value, (set, frozenset)):
        value = sorted(value) if all(type(item) is int for item in value) else None
    if not isinstance(value, (list, tuple)) or not all(type(item) is int for item in value):
        return None
    return list(value)


def class_name(path: Path, value: object) -> str:
    """A class's name as str. Raises `DataError` where it is no text or whole number, or empty."""
    name = text(value)
    if type(name) is int:
        name = str(name)
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise DataError(f"{path} names a class {ascii(value)[:80]}, which is no name; get the file again")
    return name


def file_state(paths: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Name, size and time of files, for the fingerprint."""
    return [(path.name, *state_of(path)) for path in paths]
