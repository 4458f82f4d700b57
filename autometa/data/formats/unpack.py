"""Archives whose layout has to be unpacked before it can be read: safely, into a folder of the cache.

Who prepares a data set unpacks, looks into the folder, converts, and lets the folder go:

    with unpacked(path) as folder:
        found = look(folder)
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from autometa.data.errors import DataError
from autometa.data.formats.limits import HEADER, TRUSTED, Metered, Tally, allowance, clipped
from autometa.data.formats.parted import is_web_page
from autometa.data.formats.zipped import check_members, climbs, open_zip, zip_members
from autometa.data.store import cache_root
from autometa.errors import DiskError

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
_CHUNK = 1 << 20
_AGAIN = "download or copy the archive again"
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError)


def is_archive(path: Path) -> bool:
    """Whether the path is a file named like an archive."""
    return path.is_file() and path.name.lower().endswith(SUFFIXES)


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """A temporary folder of the cache with the files of an archive, removed at the end.

    Where the archive holds one folder and nothing else, that folder. Raises as `unpack` does.
    """
    root = cache_root()
    try:
        root.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".unpacked-", dir=root))
    except OSError as error:
        raise DiskError(f"{root} cannot be written ({error}); change AUTOMETA_CACHE") from error
    try:
        unpack(path, temporary)
        inside = list(temporary.iterdir())
        yield inside[0] if len(inside) == 1 and inside[0].is_dir() else temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def unpack(path: Path, folder: Path, allowed: int | None = None) -> None:
    """Unpack a .zip or .tar (plain, gz, bz2, xz) into an empty folder; permissions and owners are not taken over.

    All members are looked at before the first is written. allowed: bytes that they may become, by the archive's own
    size where None.

    Raises `DataError` where the archive is damaged, encrypted, asks for more than `limits` grants, holds a file twice,
    a link, a device or a name outside `folder`; `DiskError` where the disk is full. What was unpacked until then stays
    in `folder`.
    """
    with _told(path):
        allowed = allowance(path.stat().st_size) if allowed is None else allowed
        if path.name.lower().endswith(".zip"):
            _unpack_zip(path, folder, allowed)
            return
        for _ in _tar_members(path, Tally(path, allowed, folder)):
            pass
        for member, content in _tar_members(path, Tally(path, allowed, folder)):
            _write(path, folder, member.name, content, member.size)


def _unpack_zip(path: Path, folder: Path, allowed: int) -> None:
    members = zip_members(path, Tally(path, allowed, folder))
    check_members(path, members)
    with open_zip(path) as archive:
        for name, info in members.items():
            with archive.open(info) as source:
                _write(path, folder, name, source, info.file_size)


def _tar_members(path: Path, tally: Tally) -> Iterator[tuple[tarfile.TarInfo, BinaryIO]]:
    """The files of an archive with their contents, each checked when it comes up.

    tarfile keeps every member it has seen, with a copy of all global headers; here it keeps none.
    """
    with open(path, "rb") as packed:
        plain = _UNPACKERS[_kind(packed)](packed)
        metered = Metered(path, plain, HEADER)
        with tarfile.open(fileobj=metered, mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()
                tally.add(member.name, HEADER - metered.left + (0 if member.isdir() else member.size))
                if not member.isdir():
                    _check_member(path, member)
                    metered.left = None
                    yield member, archive.extractfile(member)
                metered.left = HEADER


_UNPACKERS = {b"": lambda file: file, b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}


def _kind(file: BinaryIO) -> bytes:
    """The first bytes that say how a file is compressed, empty where it is not; the file is left at its start."""
    start = file.read(8)
    file.seek(0)
    return next((magic for magic in _UNPACKERS if magic and start.startswith(magic)), b"")


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (DataError, DiskError):
        raise
    except _BROKEN as error:
        why = "a web page" if is_web_page(path) else (str(error) or type(error).__name__).splitlines()[0].rstrip(":")
        raise DataError(f"{path} is damaged or no archive ({why}); download or copy it again") from error
    except (MemoryError, RecursionError) as error:
        raise DataError(f"{path} asks for more memory than there is to be unpacked; {TRUSTED}") from error
    except OSError as error:
        if error.filename is not None and Path(error.filename) != path:
            raise DiskError(f"{path} could not be unpacked ({error}); make room or change AUTOMETA_CACHE") from error
        raise DataError(f"{path} cannot be read ({error}); download or copy it again") from error


def _check_member(path: Path, member: tarfile.TarInfo) -> None:
    name = clipped(member.name)
    if climbs(member.name):
        raise DataError(f"{path} holds '{name}', which points outside the archive; do not use this archive")
    if not member.isreg():
        raise DataError(f"{path} holds '{name}', a link or device, which no data set needs; do not use it")
    if member.issparse():
        raise DataError(f"{path} holds '{name}', a file with holes; pack it again without --sparse")


def _write(path: Path, folder: Path, name: str, source: BinaryIO, size: int) -> None:
    """Copy a member of exactly `size` bytes; a name that is taken is an error, also by letter case alone."""
    target = folder / name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file = open(target, "xb")
    except (FileExistsError, NotADirectoryError):
        raise DataError(f"{path} holds '{clipped(name)}' twice; pack it again with one file of that name") from None
    except OSError as error:
        raise DiskError(f"{target} cannot be written ({error}); make room or change AUTOMETA_CACHE") from error
    with file:
        left = size
        while chunk := source.read(min(_CHUNK, left + 1)):
            left -= len(chunk)
            if left < 0:
                break
            _put(file, chunk, target)
    if left:
        raise DataError(f"{clipped(name)} in {path} is damaged, it has another size; {_AGAIN}")


def _put(file: BinaryIO, chunk: bytes, target: Path) -> None:
    try:
        file.write(chunk)
    except OSError as error:
        raise DiskError(f"{target} cannot be written ({error}); make room or change AUTOMETA_CACHE") from error
