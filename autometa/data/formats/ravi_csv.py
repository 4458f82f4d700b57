"""Mini-ImageNet as Ravi & Larochelle (2017) list it: train.csv, val.csv, test.csv beside a flat folder `images`.

In a folder, or in a zip archive whose images are then read where they are.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from autometa.data.errors import DataError
from autometa.data.formats.archives import ZipImage, check_members, zip_members, zip_text
from autometa.data.formats.mini_imagenet import is_mini_imagenet, name_split
from autometa.data.formats.parted import fingerprint, parted_classes
from autometa.data.formats.rows import read_bytes
from autometa.data.formats.sources import PARTS, ImageFile, ImageSource, SourceDataset
from autometa.data.formats.table import located, read_rows
from autometa.data.names import composed

FORMAT = "Ravi & Larochelle csv"
HEADER = ["filename", "label"]
FILES = {part: f"{part}.csv" for part in PARTS}
_LIST = "train.csv, val.csv and test.csv"


@dataclass(frozen=True)
class _Place:
    """A folder or archive: its tables by file name, and what it holds under `images`.

    images: {composed file name: (source, what the fingerprint says of it)}, or None where there is no such folder.
    """

    path: Path
    tables: Mapping[str, bytes]
    images: Mapping[str, tuple[ImageSource, tuple]] | None

    def called(self, table: str) -> str:
        return f"{self.path}: {table}" if self.path.is_file() else str(self.path / table)


def detect(path: Path) -> SourceDataset | None:
    """The set in a folder or .zip with at least two of the three tables; None for anything else.

    Only tables and the list of images are read.

    Raises `DataError` where a table is missing, empty, has another header or a damaged row; an image is missing, in two
    rows or in two parts; or the archive is damaged, encrypted or climbs out of its folder.
    """
    place = _open(path)
    if place is None:
        return None
    rows = []
    for part, table in FILES.items():
        if table not in place.tables:
            raise DataError(f"{place.called(table)} is missing; a few-shot set needs {_LIST} side by side")
        rows += read_rows(place.called(table), place.tables[table], part, None)
    if place.images is None:
        raise DataError(f"{path} has {_LIST} but no images; put the image files into {place.called('images')}")
    parts, states = located(rows, lambda name: place.images[composed(name)], f"into {place.called('images')}")
    names = {part: frozenset(classes) for part, classes in parts.items()}
    return SourceDataset(
        format=FORMAT,
        name="miniimagenet" if is_mini_imagenet(names) else path.stem if path.is_file() else path.absolute().name,
        path=path,
        classes=parted_classes(parts),
        split=name_split(names, _LIST),
        variant="colour",
        fingerprint=fingerprint([FORMAT, *(place.tables[table] for table in FILES.values()), *states]),
    )


def _open(path: Path) -> _Place | None:
    if path.is_dir():
        return _open_folder(path)
    if path.is_file() and (path.suffix.lower() == ".zip" or zipfile.is_zipfile(path)):
        return _open_zip(path)
    return None


def _open_folder(path: Path) -> _Place | None:
    tables = {name: path / name for name in FILES.values() if (path / name).is_file()}
    folder = path / "images"
    if sum(name in tables for name in FILES.values()) < 2:
        return None
    content = {name: read_bytes(file) for name, file in tables.items()}
    header, first = _start(content)
    if "/" in first or "\\" in first:
        return None
    if not folder.is_dir():
        return _Place(path, content, None) if header == HEADER and not (first and (path / first).is_file()) else None
    try:
        with os.scandir(folder) as entries:
            images = {composed(entry.name): _listed(entry) for entry in entries if entry.is_file()}
    except OSError as error:
        raise DataError(f"{folder} cannot be listed ({error}); check its permissions") from error
    return _Place(path, content, images)


def _listed(entry: os.DirEntry) -> tuple[ImageSource, tuple]:
    state = entry.stat()
    return ImageFile(Path(entry.path)), (entry.name, state.st_size, state.st_mtime_ns)


def _start(tables: Mapping[str, bytes]) -> tuple[list[str], str]:
    """Header and first file name of the first table. A name with a folder is that of another layout."""
    content = next(tables[name] for name in FILES.values() if name in tables)
    lines = content[:4096].decode("utf-8-sig", errors="replace").splitlines()
    rows = [[cell.strip().strip('"') for cell in line.split(",")] for line in lines[:2]]
    return rows[0] if rows else [], rows[1][0] if len(rows) > 1 else ""


def _open_zip(path: Path) -> _Place | None:
    members = zip_members(path)
    tables = [PurePosixPath(name) for name in members if PurePosixPath(name).name in FILES.values()]
    roots = [table.parent for table in tables if "__MACOSX" not in table.parts]
    root = min(roots, key=lambda folder: (-roots.count(folder), len(folder.parts)), default=None)
    if root is None or roots.count(root) < 2:
        return None
    check_members(path, members)
    content = {name: zip_text(path, str(root / name)) for name in FILES.values() if str(root / name) in members}
    if "/" in _start(content)[1]:
        return None
    images = {}
    for name, info in members.items():
        if PurePosixPath(name).parent == root / "images":
            base = PurePosixPath(name).name
            images[composed(base)] = ZipImage(path, name), (base, info.file_size, info.CRC)
    return _Place(path, content, images or None)
