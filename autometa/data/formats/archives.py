"""Zip and tar archives: members are checked before any is read; images are read in place, or all is unpacked."""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np

from autometa.data.errors import DataError
from autometa.data.formats.limits import (
    DIRECTORY,
    HEADER,
    IMAGE,
    MEMBERS,
    TABLE,
    TRUSTED,
    LimitedReader,
    UnpackBudget,
    allowance,
    clipped,
)
from autometa.data.formats.parted import is_web_page
from autometa.data.formats.xz import open_xz
from autometa.data.images import Recipe, read_image
from autometa.errors import DiskError

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
_CHUNK = 1 << 20
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, LookupError)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1
_UNPACKERS = {
    b"": lambda path, file: file,
    b"\x1f\x8b": lambda path, file: gzip.open(file),
    b"BZh": lambda path, file: bz2.open(file),
    b"\xfd7zXZ": open_xz,
}


def is_archive(path: Path) -> bool:
    """Whether the path is a file named like an archive."""
    return path.is_file() and path.name.lower().endswith(SUFFIXES)


def climbs(name: str) -> bool:
    """Whether a member's name leads out of the folder it would be unpacked into."""
    plain = name.replace("\\", "/")
    return plain.startswith("/") or ".." in PurePosixPath(plain).parts or plain[1:2] == ":" or "\0" in name


@contextmanager
def _reading(path: Path, name: str | None = None) -> Iterator[None]:
    """What a damaged archive raises is told as `DataError` of `name`, what a full disk raises as `DiskError`."""
    try:
        yield
    except (DataError, DiskError):
        raise
    except (*_BROKEN, ValueError, NotImplementedError) as error:
        empty = "" if path.stat().st_size else "an empty file"
        why = "a web page" if is_web_page(path) else empty or (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{name or path} is damaged or no archive ({why}); download or copy it again") from error
    except (MemoryError, RecursionError) as error:
        raise DataError(f"{path} asks for more memory than there is to be unpacked; {TRUSTED}") from error
    except OSError as error:
        if error.filename is not None and Path(error.filename) != path:
            raise DiskError(f"{path} could not be unpacked ({error}); make room or change AUTOMETA_CACHE") from error
        raise DataError(f"{path} cannot be read ({error}); check its path and permissions, or copy it again") from error


@dataclass(frozen=True)
class ZipImage:
    """An image file in a zip archive. A process opens an archive once, and lists its members then."""

    archive: Path
    member: str

    @property
    def name(self) -> str:
        return f"{self.archive}: {self.member}"

    def read(self, recipe: Recipe) -> np.ndarray:
        """Raises `DataError` where the archive is gone or changed, or the member is no readable image."""
        return read_image(io.BytesIO(self.content()), recipe, self.name)

    def content(self, limit: int = IMAGE) -> bytes:
        """The member's bytes, checked. Raises `DataError` where they are damaged, or would be more than `limit`."""
        with _reading(self.archive, self.name):
            state = self.archive.stat()
            opened = _opened(os.getpid(), self.archive, (state.st_size, state.st_mtime_ns))
            size = opened.getinfo(self.member).file_size
            if size > limit:
                raise DataError(f"{self.name} would unpack to {size:,} bytes, none is that large; {TRUSTED}")
            with opened.open(self.member) as source:
                return source.read(size)  # no more, whatever the member would become


@functools.lru_cache(maxsize=4)
def _opened(process: int, path: Path, state: tuple[int, int]) -> zipfile.ZipFile:
    """A process does not use the handle of its parent, nor that of a file since replaced."""
    return zipfile.ZipFile(path)


def zip_text(path: Path, member: str) -> bytes:
    """The bytes of a table. Raises `DataError` where it is damaged or larger than any."""
    return ZipImage(path, member).content(TABLE)


def zip_members(path: Path, budget: UnpackBudget | None = None) -> dict[str, zipfile.ZipInfo]:
    """The files of an archive by name. budget: what counts them, by the archive's own size where None.

    Raises `DataError` where it is no zip archive, cannot be opened, or asks for more than `limits` grants.
    """
    with _reading(path):
        size = path.stat().st_size
        with _open_zip(path) as archive:
            listed = archive.infolist()
    budget = UnpackBudget(path, allowance(size)) if budget is None else budget
    members: dict[str, zipfile.ZipInfo] = {}
    for info in listed:
        budget.add(info.filename, info.file_size)
        if not 0 <= info.header_offset <= size - info.compress_size:
            raise DataError(f"{path} is truncated ({clipped(info.filename)} is not whole); download or copy it again")
        if not info.is_dir() and members.setdefault(info.filename, info) is not info:
            raise DataError(f"{path} holds {clipped(info.filename)} twice; pack it again with one file of that name")
    return members


def check_members(path: Path, members: dict[str, zipfile.ZipInfo]) -> None:
    """Raises `DataError` where a member climbs out of the archive, is encrypted or packed in a way not read here."""
    for name, info in members.items():
        _check_name(path, name)
        if info.flag_bits & _ENCRYPTED:
            raise DataError(f"{path} is encrypted ({clipped(name)}); unpack it with its password and give the folder")
        if info.compress_type not in _METHODS:
            raise DataError(
                f"{clipped(name)} in {path} is compressed in a way not read here; unpack it and give the folder"
            )


def _check_name(path: Path, name: str) -> None:
    if climbs(name):
        raise DataError(f"{path} holds '{clipped(name)}', which points outside the archive; do not use this archive")


class _Directory(LimitedReader):
    """A zip archive whose directory is read: its entries are counted before they become objects."""

    def read(self, size: int = -1) -> bytes:
        data = super().read(size)
        if self.left is not None and data.count(b"PK\x01\x02") > MEMBERS:
            raise DataError(f"{self.path} holds more than {MEMBERS:,} files, no data set does; {TRUSTED}")
        return data


@contextmanager
def _open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """An archive whose directory is no larger than `limits` grants. Raises `DataError` where it is, or as `zipfile`."""
    with open(path, "rb") as file:
        limited = _Directory(path, file, DIRECTORY)
        with zipfile.ZipFile(limited) as archive:
            limited.left = None
            yield archive


def unpack(path: Path, folder: Path, allowed: int | None = None) -> None:
    """Unpack a .zip or .tar (plain, gz, bz2, xz) into an empty folder; permissions and owners are not taken over.

    All members are looked at before the first is written. allowed: bytes that they may become, by the archive's own
    size where None.

    Raises `DataError` where the archive is damaged, encrypted, asks for more than `limits` grants, holds a file twice,
    a link, a device or a name outside `folder`; `DiskError` where the disk is full. What was unpacked until then stays
    in `folder`.
    """
    with _reading(path):
        allowed = allowance(path.stat().st_size) if allowed is None else allowed
        if path.name.lower().endswith(".zip"):
            members = zip_members(path, UnpackBudget(path, allowed, folder))
            check_members(path, members)
            with _open_zip(path) as archive:
                for name, info in members.items():
                    with archive.open(info) as source:
                        _write(path, folder, name, source, info.file_size)
            return
        for _ in _tar_members(path, UnpackBudget(path, allowed, folder)):
            pass
        for member, content in _tar_members(path, UnpackBudget(path, allowed, folder)):
            _write(path, folder, member.name, content, member.size)


def _tar_members(path: Path, budget: UnpackBudget) -> Iterator[tuple[tarfile.TarInfo, BinaryIO]]:
    """The files of an archive with their contents, each checked when it comes up.

    tarfile keeps every member it has seen, with a copy of all global headers; here it keeps none.
    """
    with open(path, "rb") as packed:
        start = packed.read(8)
        packed.seek(0)
        plain = next(opens for magic, opens in reversed(_UNPACKERS.items()) if start.startswith(magic))(path, packed)
        limited = LimitedReader(path, plain, HEADER)
        with tarfile.open(fileobj=limited, mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()
                budget.add(member.name, HEADER - limited.left + (0 if member.isdir() else member.size))
                if not member.isdir():
                    _check_member(path, member)
                    limited.left = None
                    yield member, archive.extractfile(member)
                limited.left = HEADER


def _check_member(path: Path, member: tarfile.TarInfo) -> None:
    _check_name(path, member.name)
    if not member.isreg():
        name = clipped(member.name)
        raise DataError(f"{path} holds '{name}', a link or device, which no data set needs; do not use it")
    if member.issparse():
        raise DataError(f"{path} holds '{clipped(member.name)}', a file with holes; pack it again without --sparse")


def _write(path: Path, folder: Path, name: str, source: BinaryIO, size: int) -> None:
    """Copy a member of exactly `size` bytes; a name that is taken is an error, also by letter case alone."""
    target = folder / name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file = open(target, "xb")
    except (FileExistsError, NotADirectoryError):
        raise DataError(f"{path} holds '{clipped(name)}' twice; pack it again with one file of that name") from None
    with file:
        left = size
        while left >= 0 and (chunk := source.read(min(_CHUNK, left + 1))):
            left -= len(chunk)
            try:
                file.write(chunk)
            except OSError as error:
                raise DiskError(f"{target} cannot be written ({error}); make room or change AUTOMETA_CACHE") from error
    if left:
        raise DataError(f"{clipped(name)} in {path} is damaged, it has another size; download or copy it again")
