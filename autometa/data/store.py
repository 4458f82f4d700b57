"""A data set as a folder: `images.npy` (memory-mapped uint8 `[n, C, H, W]`, class by class), `store.json`.

A store is written beside its final place and renamed into it, so it is either whole or absent.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
import torch

from autometa.brief import brief
from autometa.data.errors import DataError
from autometa.data.images import Recipe
from autometa.errors import DiskError

try:
    import fcntl
except ImportError:  # not on Windows: two conversions then run side by side, and the first to finish wins
    fcntl = None

FORMAT = 1
IMAGES, META = "images.npy", "store.json"
LONGEST = 1 << 28
"""Bytes of a description, at most."""


@brief
@dataclass(frozen=True)
class ClassEntry:
    """One class of a store: full name (`Greek/character01`), group (alphabet), part, number of images."""

    name: str
    group: str
    part: str
    count: int


@brief
@dataclass(frozen=True, eq=False)
class ImageStore:
    """An opened store. Images of class c are `class_start[c] .. class_start[c + 1] - 1`.

    images: read-only uint8 `[n, C, H, W]`. class_start: int64 `[classes + 1]`.
    groups, parts: per class. split: the name of the split that the parts are.
    left_out: what was not converted and why, a sentence per image; notice: what else a person has to know.
    data_hash: sha256 over recipe, class names, class sizes and pixels.
    """

    path: Path
    name: str
    images: np.ndarray
    class_names: tuple[str, ...]
    class_start: np.ndarray
    groups: tuple[str, ...]
    parts: tuple[str, ...]
    recipe: Recipe
    data_hash: str
    split: str = ""
    left_out: tuple[str, ...] = ()
    notice: str = ""

    @property
    def channels(self) -> int:
        return self.recipe.channels

    @property
    def size(self) -> int:
        return self.recipe.size

    def class_ids(self, names: Iterable[str]) -> np.ndarray:
        """int64 ids of classes by full name; raises `DataError` on a name the store has not."""
        known = {name: index for index, name in enumerate(self.class_names)}
        try:
            return np.array([known[name] for name in names], dtype=np.int64)
        except KeyError as missing:
            raise DataError(f"{self.path} has no class {missing}; convert the complete data set") from None

    def tensor(self) -> torch.Tensor:
        """The images as a tensor over the mapped file, without a copy. Never write to it."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writ")
            return torch.from_numpy(self.images)

    def verify(self) -> None:
        """Read every pixel and compare with the data hash; raises `DataError` where they differ."""
        digest = _digest(self.recipe, self.class_names, self.class_start)
        for start in range(0, len(self.images), 4096):
            digest.update(np.ascontiguousarray(self.images[start : start + 4096]).data)
        if digest.hexdigest() != self.data_hash:
            raise DataError(f"the pixels of {self.path} differ from its data hash; {_REDO.format(self.path)}")

    @staticmethod
    def open(path: str | Path) -> ImageStore:
        """Map a store's images and check their shape against its description.

        Raises `DataError` where files are missing, of another format version, or do not fit together.
        """
        path = Path(path)
        meta = _read_meta(path)
        try:
            images = np.load(path / IMAGES, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(f"{path / IMAGES} cannot be opened ({error}); {_REDO.format(path)}") from error
        try:
            return _assemble(path, meta, images)
        except (KeyError, TypeError) as error:
            raise DataError(f"{path / META} lacks or garbles {error}; {_REDO.format(path)}") from error


_REDO = "delete the folder {} and convert the data again"


def _read_meta(path: Path) -> dict:
    for name in (META, IMAGES):
        if not (path / name).is_file():
            raise DataError(f"{path} is no image store: {name} is missing; {_REDO.format(path)}")
    if (path / META).stat().st_size > LONGEST:
        raise DataError(f"{path / META} is longer than {LONGEST:,} bytes, no store's is; {_REDO.format(path)}")
    try:
        meta = json.loads((path / META).read_text(encoding="utf-8"))
        version = meta["format"]
    except (ValueError, KeyError, TypeError, RecursionError, OSError) as error:
        raise DataError(f"{path / META} is damaged ({error}); {_REDO.format(path)}") from error
    if version != FORMAT:
        raise DataError(f"{path} has store format {version}, {FORMAT} is read here; {_REDO.format(path)}")
    return meta


def _assemble(path: Path, meta: dict, images: np.ndarray) -> ImageStore:
    recipe = Recipe(**meta["recipe"])
    names, groups, parts = (tuple(meta[key]) for key in ("classes", "groups", "parts"))
    start = np.array(meta["class_start"], dtype=np.int64)
    sorts = len(groups), len(parts), len(start) - 1
    shape = (int(start[-1]) if len(start) else 0, recipe.channels, recipe.size, recipe.size)
    if sorts != (len(names),) * 3 or start[0] != 0 or (np.diff(start) < 1).any():
        raise DataError(f"the class tables of {path / META} do not fit together; {_REDO.format(path)}")
    if images.shape != shape or images.dtype != np.uint8:
        found = f"{images.dtype} {list(images.shape)}"
        raise DataError(f"{path / IMAGES} holds {found} instead of uint8 {list(shape)}; {_REDO.format(path)}")
    start.setflags(write=False)
    about = meta["data_hash"], meta.get("split", ""), tuple(meta.get("left_out", ())), meta.get("notice", "")
    return ImageStore(path, meta["name"], images, names, start, groups, parts, recipe, *about)


def cache_root() -> Path:
    """Where converted data go: AUTOMETA_CACHE, or ~/.cache/autometa; for a user without a home, the folder for
    temporary files. Raises `DataError` where there is none of them.
    """
    given = os.environ.get("AUTOMETA_CACHE")
    path = Path(os.path.expanduser(given or "~/.cache/autometa"))
    if given or path.is_absolute():
        return path
    try:  # a user id with neither HOME nor an entry in the user database leaves the ~, as in many containers
        path = Path(tempfile.gettempdir()) / f"autometa-{os.getuid()}"
        strange = path.is_symlink() or (path.exists() and path.stat().st_uid != os.getuid())
    except OSError as error:
        raise DataError(f"there is no place for converted data ({error}); set AUTOMETA_CACHE to a folder") from error
    if strange:
        raise DataError(f"{path} belongs to someone else; set AUTOMETA_CACHE to a folder of your own")
    return path


def cached_store(name: str, label: str, convert: Callable[[Path], None]) -> ImageStore:
    """The store `name-label` of the cache; where absent, `convert(path)` writes it first.

    Of two processes that need the same store the second waits for the first.
    """
    return ImageStore.open(made_once(cache_root() / f"{name}-{label}-v{FORMAT}", convert))


def made_once(path: Path, make: Callable[[Path], None]) -> Path:
    """`path`; where absent, `make(path)` puts it there first, in one process at a time.

    Raises `DiskError` where the disk is full or not writable.
    """
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = open(path.parent / f".{path.name}.lock", "w")
    except OSError as error:
        raise DiskError(f"{path.parent} cannot be written ({error}); change AUTOMETA_CACHE") from error
    with lock, _one_at_a_time(path, lock):
        if not path.exists():
            with _disk_errors(path):
                make(path)
    return path


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except DiskError:
        raise
    except OSError as error:
        raise DiskError(f"{path} could not be written ({error}); make room or set AUTOMETA_CACHE elsewhere") from error


@contextlib.contextmanager
def _one_at_a_time(path: Path, lock: TextIO) -> Iterator[None]:
    """Hold the lock of `path`; what a killed conversion left beside it is then removed.

    The kernel frees the lock of a killed process. Where locks do not work, `write_store` still ends well.
    """
    if fcntl is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
            for left in path.parent.glob(f".{path.name}.tmp-*"):
                shutil.rmtree(left, ignore_errors=True)
    yield


def write_store(
    path: Path,
    name: str,
    recipe: Recipe,
    classes: Sequence[ClassEntry],
    images: Iterable[np.ndarray],
    split: str = "",
    left_out: Sequence[str] = (),
    notice: str = "",
) -> None:
    """Write a store folder; `images` yields uint8 `[C, size, size]`, class by class as in `classes`.

    split: the name of the split that the parts of the classes are. left_out, notice: see `ImageStore`.

    All is written to a temporary sibling, synced and renamed. Where another process was faster, its stays.

    Raises `DiskError` where the disk is full or not writable.
    """
    with _disk_errors(path):
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.tmp-", dir=path.parent))
        try:
            start = np.concatenate([[0], np.cumsum([entry.count for entry in classes])]).astype(np.int64)
            names = [entry.name for entry in classes]
            meta = {
                "format": FORMAT,
                "name": name,
                "split": split,
                "left_out": list(left_out),
                "notice": notice,
                "channels": recipe.channels,
                "size": recipe.size,
                "recipe": recipe.to_dict(),
                "data_hash": _write_images(folder / IMAGES, recipe, names, start, images),
                "classes": names,
                "class_start": start.tolist(),
                "groups": [entry.group for entry in classes],
                "parts": [entry.part for entry in classes],
            }
            with open(folder / META, "w", encoding="utf-8") as file:
                json.dump(meta, file)
                _sync(file)
            folder.chmod(0o755)
            _sync_folder(folder)
            try:
                os.rename(folder, path)
            except OSError:
                if not path.exists():
                    raise
            _sync_folder(path.parent)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _write_images(path: Path, recipe: Recipe, names, start: np.ndarray, images: Iterable[np.ndarray]) -> str:
    shape = (recipe.channels, recipe.size, recipe.size)
    total, written = int(start[-1]), 0
    free = shutil.disk_usage(path.parent).free
    if total * math.prod(shape) > free:
        raise OSError(errno.ENOSPC, f"it takes {total * math.prod(shape):,} bytes, {free:,} are free")
    digest = _digest(recipe, names, start)
    header = {"descr": "|u1", "fortran_order": False, "shape": (total, *shape)}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for image in images:
            if image.shape != shape or image.dtype != np.uint8:
                raise ValueError(f"image {written} is {image.dtype} {image.shape}, not uint8 {shape}")
            data = np.ascontiguousarray(image).data
            file.write(data)
            digest.update(data)
            written += 1
        if written != total:
            raise ValueError(f"{written} images came, the classes hold {total}")
        _sync(file)
    return digest.hexdigest()


def _digest(recipe: Recipe, names: Sequence[str], start: np.ndarray):
    described = {"recipe": recipe.to_dict(), "classes": list(names), "class_start": start.tolist()}
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode())


def _sync(file) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
