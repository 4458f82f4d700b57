"""A data root that torchmeta 1.8 wrote: hdf5 files of images, json files of class names. Omniglot and Mini-ImageNet.

torchmeta keeps Omniglot inverted (white ink on black) and its drawings in the order in which the file system listed
them; images are handed out with the ink of the original drawings, in the file's order.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from autometa.data.errors import DataError
from autometa.data.formats.found import PARTS, Found, FoundClass
from autometa.data.formats.mini_imagenet import name_split
from autometa.data.images import Recipe, convert

FORMAT = "torchmeta root"
OMNIGLOT, MINIIMAGENET = "omniglot", "miniimagenet"
OMNIGLOT_DATA = "data.hdf5"
OMNIGLOT_GROUPS = {"train": "images_background", "test": "images_evaluation"}
VINYALS = tuple(f"vinyals_{part}_labels.json" for part in PARTS)
MINIIMAGENET_GROUP = "datasets"
OPEN_FILES = 4
_AGAIN = "take both files from one complete root, or have torchmeta write it again"
_BROKEN = (OSError, RuntimeError, LookupError, ValueError, TypeError)  # what h5py raises on damaged files


@dataclass(frozen=True, slots=True)
class StoredImage:
    """Image `index` of one dataset of an hdf5 file; inverted: the file keeps 255 - value.

    A process opens each file once and reads no more than the image that is asked for.
    """

    file: Path
    dataset: str
    index: int
    inverted: bool = False

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
        return convert(Image.fromarray(255 - pixels if self.inverted else pixels), recipe)


@lru_cache(maxsize=OPEN_FILES)
def _file(process: int, path: Path, state: tuple[int, int]):
    """The open file; a process does not use the handle of its parent, nor that of a file since replaced."""
    return _h5py().File(path, "r")


@lru_cache(maxsize=OPEN_FILES)
def _dataset(process: int, path: Path, state: tuple[int, int], name: str):
    return _file(process, path, state)[name]


def look(path: Path) -> Found | None:
    """The data set of a torchmeta root, or of its `omniglot` or `miniimagenet` folder; None for another layout.

    Omniglot's split is that of its two parts, as for its zips; classes are `Alphabet/character01`, groups alphabets.

    Raises:
        DataError: a root with both sets, h5py is missing, or a file is missing, damaged or contradicts another.
    """
    if not path.is_dir():
        return None
    sets: dict[str, tuple[Path, Callable[[Path], Found]]] = {}
    for name, recognises, read in ((OMNIGLOT, _is_omniglot, _omniglot), (MINIIMAGENET, _is_mini, _mini)):
        for folder in (path, path / name):
            if recognises(folder):
                sets[name] = folder, read
    if len(sets) > 1:
        choices = " or ".join(str(folder) for folder, _ in sets.values())
        raise DataError(f"{path} is a torchmeta root with {len(sets)} data sets; name one of them: {choices}")
    for folder, read in sets.values():
        return read(folder)
    return None


def _is_omniglot(folder: Path) -> bool:
    if any((folder / name).is_file() for name in VINYALS):
        return True
    tables = any((folder / _labels_name(part)).is_file() for part in OMNIGLOT_GROUPS)
    return (folder / OMNIGLOT_DATA).is_file() and (tables or folder.name == OMNIGLOT)


def _is_mini(folder: Path) -> bool:
    if any((folder / _data_name(part)).is_file() for part in PARTS):
        return True
    return folder.name == MINIIMAGENET and any((folder / _labels_name(part)).is_file() for part in PARTS)


def _labels_name(part: str) -> str:
    return f"{part}_labels.json"


def _data_name(part: str) -> str:
    return f"{part}_data.hdf5"


def _omniglot(folder: Path) -> Found:
    file, files = folder / OMNIGLOT_DATA, [folder / OMNIGLOT_DATA]
    with _opened(file) as data:
        stored = dict(_characters(file, data))
    strange = sorted({top for top, _, _ in stored} - set(OMNIGLOT_GROUPS.values()))
    if strange:
        raise DataError(f"{file} holds a group {strange[0]} that Omniglot has not; {_AGAIN}")
    classes = []
    for part, top in OMNIGLOT_GROUPS.items():
        table = folder / _labels_name(part)
        files.append(table)
        held = sorted(where for where in stored if where[0] == top)
        _compare(file, held, table, _names(table, 3))
        for _, alphabet, character in held:
            images = _images(file, f"{top}/{alphabet}/{character}", stored[top, alphabet, character], True)
            classes.append(FoundClass(f"{alphabet}/{character}", alphabet, part, images))
    _check_vinyals(folder, file, stored)
    return _found(OMNIGLOT, folder, classes, "background", "ink", files)


def _characters(file: Path, data) -> Iterator[tuple[tuple[str, str, str], int]]:
    for top, alphabets in _groups(file, data):
        for alphabet, characters in _groups(file, alphabets):
            for character, dataset in _groups(file, characters):
                count = _count(file, dataset, "[n, height, width]", lambda shape: len(shape) == 3)
                yield (top, alphabet, character), count


def _check_vinyals(folder: Path, file: Path, stored: Iterable[tuple[str, str, str]]) -> None:
    """The three lists may name characters that a cut-down file lacks, but no character may be in none or in two."""
    tables = [folder / name for name in VINYALS if (folder / name).is_file()]
    named = Counter(where for table in tables for where in _names(table, 3))
    for where in sorted(stored):
        listed = named[where]
        if listed > 1 or (listed == 0 and len(tables) == len(VINYALS)):
            fault = "more than one" if listed else "none"
            raise DataError(f"{'/'.join(where)} of {file} stands in {fault} of {', '.join(VINYALS)}; {_AGAIN}")


def _mini(folder: Path) -> Found:
    classes, files = [], []
    for part in PARTS:
        file, table = folder / _data_name(part), folder / _labels_name(part)
        with _opened(file) as data:
            if MINIIMAGENET_GROUP not in data:
                raise DataError(f"{file} has no group {MINIIMAGENET_GROUP!r}: torchmeta did not write it; {_AGAIN}")
            stored = {
                (name,): _count(file, dataset, "[n, height, width, 3]", lambda shape: len(shape) == 4 and shape[3] == 3)
                for name, dataset in _groups(file, data[MINIIMAGENET_GROUP])
            }
        _compare(file, sorted(stored), table, _names(table, 1))
        for where in sorted(stored):
            images = _images(file, f"{MINIIMAGENET_GROUP}/{where[0]}", stored[where], False)
            classes.append(FoundClass(where[0], "", part, images))
        files += [file, table]
    named = {part: {entry.name for entry in classes if entry.part == part} for part in PARTS}
    return _found(MINIIMAGENET, folder, classes, name_split(named, "its hdf5 files"), "colour", files)


def _found(name: str, folder: Path, classes: list[FoundClass], split: str, variant: str, files: list[Path]) -> Found:
    return Found(FORMAT, name, folder, tuple(classes), split, variant, _fingerprint(folder, files))


def _images(file: Path, dataset: str, count: int, inverted: bool) -> tuple[StoredImage, ...]:
    return tuple(StoredImage(file, dataset, index, inverted) for index in range(count))


def _h5py():
    try:
        import h5py
    except ImportError:
        wanted = "pip install 'autometa-nas[hdf5]'"
        raise DataError(f"a torchmeta root is read with h5py, which is not installed; run {wanted}") from None
    return h5py


@contextmanager
def _opened(file: Path):
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


def _groups(file: Path, group) -> Iterator[tuple[str, object]]:
    """Name and content of what a group holds. Links that lead out of the file are refused."""
    h5py = _h5py()
    if not isinstance(group, h5py.Group):
        raise DataError(f"{file} has {group.name} as a table where torchmeta has a group; {_AGAIN}")
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise DataError(f"{file} has a link at {group.name}/{name}, torchmeta writes none; {_AGAIN}")
        yield name, group[name]


def _count(file: Path, dataset, wanted: str, fits: Callable[[tuple[int, ...]], bool]) -> int:
    """How many images a dataset holds, after a look at its shape and type."""
    if not isinstance(dataset, _h5py().Dataset):
        raise DataError(f"{file} has {dataset.name} as a group where torchmeta has images; {_AGAIN}")
    if dataset.is_virtual or dataset.external:
        raise DataError(f"{file} keeps {dataset.name} in another file, torchmeta does not; {_AGAIN}")
    shape = dataset.shape or ()
    if dataset.dtype != np.uint8 or not fits(shape) or 0 in shape[1:]:
        found = f"{dataset.dtype} {list(shape)}"
        raise DataError(f"{file} holds {found} as {dataset.name}, not uint8 {wanted}; {_AGAIN}")
    if not shape[0]:
        raise DataError(f"{file} holds no image of {dataset.name}; {_AGAIN}")
    return shape[0]


def _names(table: Path, depth: int) -> list[tuple[str, ...]]:
    """The classes of a json file as paths of `depth` names."""
    if not table.is_file():
        raise DataError(f"{table.parent} is a torchmeta folder without {table.name}; put that file there")
    try:
        listed = json.loads(table.read_text(encoding="utf-8"))
    except PermissionError as error:
        raise DataError(f"{table} may not be read; change its permissions") from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{table} is no json file ({_short(error)}); fetch it again") from error
    paths = [[entry] if depth == 1 else entry for entry in listed] if isinstance(listed, list) else [None]
    if not all(isinstance(p, list) and len(p) == depth and all(isinstance(n, str) for n in p) for p in paths):
        wanted = "class names" if depth == 1 else "[part, alphabet, character] triples"
        raise DataError(f"{table} is not a list of {wanted} as torchmeta writes it; fetch it again")
    return [tuple(path) for path in paths]


def _compare(file: Path, held: list[tuple[str, ...]], table: Path, named: list[tuple[str, ...]]) -> None:
    """Both must have the same classes, once each, and at least one."""
    twice = [where for where, times in Counter(named).items() if times > 1]
    lost, unnamed = sorted(set(named) - set(held)), sorted(set(held) - set(named))
    if twice:
        raise DataError(f"{table} names {'/'.join(twice[0])} more than once; {_AGAIN}")
    if lost:
        raise DataError(f"{table} names {'/'.join(lost[0])}, which {file} does not hold; {_AGAIN}")
    if unnamed:
        raise DataError(f"{file} holds {'/'.join(unnamed[0])}, which {table} does not name; {_AGAIN}")
    if not named:
        raise DataError(f"{table} and {file} hold no class; {_AGAIN}")


def _fingerprint(folder: Path, files: Iterable[Path]) -> str:
    """sha256 over place, sizes and times of the files, which say all: every table stands in them."""
    key = hashlib.sha256(f"{FORMAT}\0{folder}".encode(errors="surrogateescape"))
    for file in files:
        state = file.stat()
        key.update(f"\0{file.name}\0{state.st_size}\0{state.st_mtime_ns}".encode(errors="surrogateescape"))
    return key.hexdigest()


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())
