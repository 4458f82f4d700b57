"""What an archive or a compressed file may ask for: limits that every data set keeps and no bomb does."""

from __future__ import annotations

import io
import shutil
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from autometa.data.errors import DataError
from autometa.errors import DiskError

RATIO = 100
"""Bytes that a byte of an archive may become. Photos reach 1, pickled drawings about 50, zeros 1,000 and more."""
FREE = 1 << 28
"""Bytes that an archive may become whatever its own size: 256 MiB."""
BYTES = 1 << 40
"""Bytes that an archive may become at most; ImageNet takes an eighth of it."""
MEMBERS = 1_500_000
"""Files of an archive, images of a set, rows of a table: more than ImageNet has."""
HEADER = 1 << 18
"""Bytes of the headers before one member of a tar archive: names, pax records, maps of sparse files."""
DICTIONARY = 1 << 27
"""Bytes of memory that unpacking an .xz file may take: xz -9 takes half of it, a header can ask for 4 GB."""
DIRECTORY = 192 << 20
"""Bytes of the directory of a zip archive, its comments included."""
TABLE = 1 << 26
"""Bytes of a table of files or names; a row for each image of ImageNet takes 58 MB."""
IMAGE = 1 << 28
"""Bytes of one image, packed or as pixels."""
DEPTH, NAME = 64, 255
"""Folders within each other, and bytes of a name, that file systems can hold."""
BLOCK = 4096
"""Bytes that the smallest file takes on a disk."""

TRUSTED = "do not use it, or, if you trust it, unpack it yourself and give the folder"


def allowance(size: int) -> int:
    """Bytes that a file of `size` bytes may become."""
    return min(max(FREE, RATIO * size), BYTES)


def clipped(name: str) -> str:
    """A member's name for a message; names of strangers may be long, or unprintable."""
    start = name if len(name) <= 80 else f"{name[:80]}..."
    return start if start.isprintable() else ascii(start)[1:-1]


class UnpackBudget:
    """What the members of an archive ask for, added up as they are listed.

    allowed: bytes that all may become. folder: where they are to be unpacked, None where they are read in place.
    """

    def __init__(self, path: Path, allowed: int, folder: Path | None = None):
        self.path, self.allowed = path, allowed
        self.free = None if folder is None else shutil.disk_usage(folder).free
        self.folder, self.members, self.bytes = folder, 0, 0

    def add(self, name: str, size: int) -> None:
        """Count a member. Raises `DataError` where the archive asks for too much, `DiskError` where it has no room."""
        self.members += 1
        self.bytes += -(-size // BLOCK) * BLOCK if size else BLOCK
        if self.members > MEMBERS:
            raise DataError(f"{self.path} holds more than {MEMBERS:,} files, no data set does; {TRUSTED}")
        pieces = PurePosixPath(name).parts
        if len(pieces) > DEPTH or any(len(piece.encode(errors="replace")) > NAME for piece in pieces):
            raise DataError(f"{self.path} holds '{clipped(name)}', a name longer than file systems take; {TRUSTED}")
        if self.bytes > self.allowed:
            raise DataError(
                f"{self.path} would become more than {self.allowed:,} bytes, out of all proportion to its own size: no "
                f"data set is packed like that; {TRUSTED}"
            )
        if self.free is not None and self.bytes > self.free:
            raise DiskError(
                f"{self.path} needs {self.bytes:,} bytes unpacked, {self.folder} has {self.free:,}; make room or "
                "change AUTOMETA_CACHE"
            )


class LimitedReader:
    """An open file whose headers are read in small pieces.

    While `left` is a number, reads together may take so many bytes: a header that claims more is refused before it is
    read into memory. While it is None, reads are free.
    """

    def __init__(self, path: Path, file: BinaryIO, left: int | None):
        self.path, self.file, self.left = path, file, left

    def read(self, size: int = -1) -> bytes:
        """Raises `DataError` where the headers are too long."""
        if self.left is not None:
            if size < 0:
                here = self.tell()
                size = self.seek(0, io.SEEK_END) - here
                self.seek(here)
            if size > self.left:
                raise DataError(f"{self.path} has headers too long for any data set; {TRUSTED}")
            self.left -= size
        return self.file.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)
