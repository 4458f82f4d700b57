"""The hdf5 and json files of torchmeta's roots, opened and checked with care: they may come from anybody."""

from __future__ import annotations

import io
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from autometa.data.errors import DataError
from autometa.data.formats.limits import IMAGE, MEMBERS, TABLE, allowance
from autometa.data.images import Recipe, convert, read_image
from autometa.data.names import composed

OPEN_FILES = 4
Place = tuple[str, ...]
"""Names of groups within each other and of a dataset."""
AGAIN = "take both files from one complete root, or have torchmeta write it again"
_BROKEN = (OSError, RuntimeError, LookupError, ValueError, TypeError)  # what h5py raises on damaged files


@dataclass(frozen=True, slots=True)
class StoredImage:
    """Image `index` of one dataset of an hdf5 file.

    inverted: the file keeps 255 - value. encoded: it keeps a JPEG or PNG file, not pixels.
    A process opens each file once and reads no more than the image that is asked for.
    """

    file: Path
    dataset: str
    index: int
    inverted: bool = False
    encoded: bool = False

    @property
    def name(self) -> str:
        return f"{self.file}: {self.dataset}[{self.index}]"

    def read(self, recipe: Recipe) -> np.ndarray:
        """uint8 `[channels, size, size]`. Raises `DataError` without h5py, or where the file is gone or damaged."""
        try:
            state = os.stat(self.file)
            pixels = _dataset(os.getpid(), self.file, (state.st_size, state.st_mtime_ns), self.dataset)[self.index]
        except DataError:
            raise
        except _BROKEN as error:
            raise DataError(f"{self.name} cannot be read ({_short(error)}); fetch the file again") from error
        if self.encoded:
            return read_image(io.BytesIO(pixels.tobytes()), recipe, self.name)
        return convert(Image.fromarray(255 - pixels if self.inverted else pixels), recipe)


@lru_cache(maxsize=OPEN_FILES)
def _file(process: int, path: Path, state: tuple[int, int]):
    """The open file; a process does not use the handle of its parent, nor that of a file since replaced."""
    return _h5py().File(path, "r")


@lru_cache(maxsize=OPEN_FILES)
def _dataset(process: int, path: Path, state: tuple[int, int], name: str):
    return _file(process, path, state)[name]


def _h5py():
    try:
        import h5py
    except ImportError:
        wanted = "pip install 'autometa-nas[hdf5]'"
        raise DataError(f"a torchmeta root is read with h5py, which is not installed; run {wanted}") from None
    return h5py


@contextmanager
def opened(file: Path):
    """An hdf5 file, read only; whatever it raises on damage is told as `DataError`."""
    h5py = _h5py()
    if not file.is_file():
        raise DataError(f"{file.parent} is a torchmeta folder without {file.name}; put that file there")
    try:
        with h5py.File(file, "r") as data:
            yield data
    except DataError:
        raise
    except PermissionError as error:
        raise DataError(f"{file} may not be read; change its permissions") from error
    except _BROKEN as error:
        raise DataError(f"{file} is no whole hdf5 file ({_short(error)}); fetch it again") from error


def stored(file: Path, depth: int, colour: bool = True, top: str = "/") -> dict[Place, tuple[int, bool]]:
    """{names: what `count_images` says of it} of all datasets `depth` levels below a group.

    Raises `DataError` where the file is damaged, has links that lead out of it, or claims more images than any set has.
    """
    with opened(file) as data:
        if top not in data:
            raise DataError(f"{file} has no group {top!r}: torchmeta did not write it; {AGAIN}")
        found = {path: count_images(file, dataset, colour) for path, dataset in _datasets(file, data[top], depth)}
        check_total(file, (images for images, _ in found.values()))
    return found


def _datasets(file: Path, group, depth: int) -> Iterator[tuple[Place, object]]:
    h5py = _h5py()
    if not isinstance(group, h5py.Group):
        raise DataError(f"{file} has {group.name} as a table where torchmeta has a group; {AGAIN}")
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise DataError(f"{file} has a link at {group.name}/{name}, torchmeta writes none; {AGAIN}")
        below = _datasets(file, group[name], depth - 1) if depth > 1 else [((), group[name])]
        yield from (((name, *path), dataset) for path, dataset in below)


def count_images(file: Path, dataset, colour: bool) -> tuple[int, bool]:
    """How many images a dataset holds, and whether they are encoded files. uint8 `[n, height, width]`; where they are
    in colour, `[n, height, width, 3]` or n encoded files."""
    h5py = _h5py()
    if not isinstance(dataset, h5py.Dataset):
        raise DataError(f"{file} has {dataset.name} as a group where torchmeta has images; {AGAIN}")
    if dataset.is_virtual or dataset.external:
        raise DataError(f"{file} keeps {dataset.name} in another file, torchmeta does not; {AGAIN}")
    shape, dtype = dataset.shape or (), dataset.dtype
    if colour and h5py.check_vlen_dtype(dtype) == np.uint8 and len(shape) == 1 and shape[0]:
        return shape[0], True
    if dtype != np.uint8 or len(shape) != 3 + colour or 0 in shape or (colour and shape[3] != 3):
        wanted = "[n, height, width, 3]" if colour else "[n, height, width]"
        raise DataError(f"{file} holds {dtype} {list(shape)} as {dataset.name}, not uint8 {wanted}; {AGAIN}")
    if math.prod(shape[1:]) > IMAGE or math.prod(shape) > allowance(file.stat().st_size):
        raise DataError(f"{file} holds {list(shape)} as {dataset.name}, out of all proportion to its size; {AGAIN}")
    return shape[0], False


def check_total(file: Path, counts: Iterable[int]) -> None:
    """Names may be many and datasets empty shells: raises `DataError` where they claim more images than any set has."""
    if sum(counts) > MEMBERS:
        raise DataError(f"{file} claims more than {MEMBERS:,} images, no data set has so many; {AGAIN}")


def names(table: Path, depth: int) -> list[tuple[str, ...]]:
    """The classes of a json file as paths of `depth` names."""
    if not table.is_file():
        raise DataError(f"{table.parent} is a torchmeta folder without {table.name}; put that file there")
    try:
        if table.stat().st_size > TABLE:
            raise DataError(f"{table} is larger than {TABLE:,} bytes, no list of classes is; {AGAIN}")
        listed = json.loads(table.read_text(encoding="utf-8"))
    except DataError:
        raise
    except PermissionError as error:
        raise DataError(f"{table} may not be read; change its permissions") from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{table} is no json file ({_short(error)}); fetch it again") from error
    paths = [[entry] if depth == 1 else entry for entry in listed] if isinstance(listed, list) else [None]
    if not all(isinstance(p, list) and len(p) == depth and all(isinstance(n, str) for n in p) for p in paths):
        wanted = {1: "class names", 2: "[superclass, class] pairs", 3: "[part, alphabet, character] triples"}[depth]
        raise DataError(f"{table} is not a list of {wanted} as torchmeta writes it; fetch it again")
    return [tuple(path) for path in paths]


def compare(file: Path, held: list[tuple[str, ...]], table: Path, named: list[tuple[str, ...]]) -> None:
    """Both must have the same classes, once each, and at least one; in whatever Unicode form either names them."""
    held, named = ([tuple(map(composed, where)) for where in paths] for paths in (held, named))
    twice = [where for where, times in Counter(named).items() if times > 1]
    lost, unnamed = sorted(set(named) - set(held)), sorted(set(held) - set(named))
    if twice:
        raise DataError(f"{table} names {'/'.join(twice[0])} more than once; {AGAIN}")
    if lost:
        raise DataError(f"{table} names {'/'.join(lost[0])}, which {file} does not hold; {AGAIN}")
    if unnamed:
        raise DataError(f"{file} holds {'/'.join(unnamed[0])}, which {table} does not name; {AGAIN}")
    if not named:
        raise DataError(f"{table} and {file} hold no class; {AGAIN}")


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())
