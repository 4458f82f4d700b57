"""Archives of images, unpacked once into the cache; nothing in one can write anywhere else."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from autometa.data.errors import DataError
from autometa.data.store import cache_root, made_once

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
AGAIN = "fetch it again"


def is_archive(path: Path) -> bool:
    """Whether the file is called like an archive."""
    return path.is_file() and path.name.lower().endswith(ENDINGS)


def unpack(archive: Path) -> Path:
    """The folder with an archive's files, unpacked on first use, again when the archive changes.

    Raises `DataError` where it is no archive, damaged, encrypted, or has members that would leave the folder;
    `DiskError` where the disk is full.
    """
    state = archive.stat()
    key = hashlib.sha256(f"{archive.resolve()}\0{state.st_size}\0{state.st_mtime_ns}".encode(errors="surrogateescape"))
    place = cache_root() / "unpacked" / f"{archive.name.partition('.')[0]}-{key.hexdigest()[:16]}"
    return made_once(place, lambda path: _fill(archive, path))


def _fill(archive: Path, path: Path) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.tmp-", dir=path.parent))
    try:
        for name, member in _members(archive):
            target = temporary / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with member() as source, open(target, "wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
        temporary.rename(path)
    except (zipfile.BadZipFile, zlib.error, tarfile.TarError, EOFError, RuntimeError, NotImplementedError) as error:
        raise DataError(f"{archive} is damaged or cannot be unpacked ({error}); {AGAIN}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _members(archive: Path) -> Iterator[tuple[PurePosixPath, Callable[[], BinaryIO]]]:
    """(name, how to open it) of every file."""
    refuse_web_page(archive)
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            for member in opened.infolist():
                if not member.is_dir():
                    yield safe_name(archive, member.filename), lambda member=member: opened.open(member)
        return
    try:
        opened = tarfile.open(archive)
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{archive} is neither a zip nor a tar archive, or is cut off; {AGAIN}") from error
    with opened:
        for member in opened:
            if member.issym() or member.islnk():
                raise DataError(f"{archive} holds the link {member.name}; unpack it yourself and name the folder")
            if member.isfile():
                yield safe_name(archive, member.name), lambda member=member: opened.extractfile(member)


def refuse_web_page(archive: Path) -> None:
    """Raise `DataError` where a web page was saved under the name of an archive, or nothing at all."""
    with open(archive, "rb") as file:
        start = file.read(512).lstrip().lower()
    if not start:
        raise DataError(f"{archive} is empty; {AGAIN}")
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise DataError(f"{archive} is a web page, not an archive (a login or quota page?); {AGAIN}")


def safe_name(archive: Path, name: str) -> PurePosixPath:
    """The name of a member as a path below the archive's folder. Raises `DataError` where it leads elsewhere."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or not path.parts or ":" in path.parts[0]:
        raise DataError(f"{archive} holds {name!r}, which would be written outside of its folder; do not use it")
    return path
