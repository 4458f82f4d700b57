"""Images inside a zip archive, read one by one; nothing is unpacked.

Every image source opens the archive for itself, so that sources can be sent to other processes.
"""

from __future__ import annotations

import contextlib
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from autometa.data.errors import DataError
from autometa.data.formats.limits import (
    DIRECTORY,
    IMAGE,
    MEMBERS,
    TABLE,
    TRUSTED,
    Metered,
    Tally,
    allowance,
    clipped,
)
from autometa.data.formats.parted import is_web_page
from autometa.data.images import Recipe, read_image

_LOCAL = struct.Struct("<4s22xHH")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1


@dataclass(frozen=True)
class ZipImage:
    """An image file in a zip archive, found without reading the archive's directory again.

    offset: of the member's local header. packed, size, crc: as the archive's directory states them.
    """

    archive: Path
    member: str
    offset: int
    packed: int
    size: int
    crc: int
    deflated: bool

    @property
    def name(self) -> str:
        return f"{self.archive}: {self.member}"

    def read(self, recipe: Recipe) -> np.ndarray:
        """Raises `DataError` where the archive is gone or changed, or the member is no readable image."""
        return read_image(io.BytesIO(self.content()), recipe, self.name)

    def content(self) -> bytes:
        """The member's bytes, checked. Raises `DataError` where they are not what the directory states."""
        if self.size > IMAGE:
            raise DataError(f"{self.name} would unpack to {self.size:,} bytes, no image is that large; remove it")
        try:
            with open(self.archive, "rb") as file:
                file.seek(self.offset)
                magic, name, extra = _LOCAL.unpack(file.read(_LOCAL.size))
                file.seek(name + extra, io.SEEK_CUR)
                data = file.read(self.packed)
            if self.deflated:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, self.size + 1)
        except OSError as error:
            raise DataError(f"{self.archive} cannot be read ({error}); check the path and its permissions") from error
        except (struct.error, zlib.error) as error:
            raise DataError(f"{self.name} is damaged ({error}); {_AGAIN}") from error
        if magic != b"PK\x03\x04" or len(data) != self.size or zlib.crc32(data) != self.crc:
            raise DataError(f"{self.name} is damaged, its checksum is wrong; {_AGAIN}")
        return data


_AGAIN = "download or copy the archive again"


def zip_members(path: Path, tally: Tally | None = None) -> dict[str, zipfile.ZipInfo]:
    """The files of an archive by name. tally: what counts them, by the archive's own size where None.

    Raises `DataError` where it is no zip archive, cannot be opened, or asks for more than `limits` grants.
    """
    try:
        size = path.stat().st_size
        with open_zip(path) as archive:
            listed = archive.infolist()
    except zipfile.BadZipFile as error:
        raise DataError(f"{path} is {_what(path)} ({error}); {_AGAIN}") from error
    except (PermissionError, FileNotFoundError) as error:
        raise DataError(f"{path} cannot be read ({error}); check the path and its permissions") from error
    except MemoryError as error:
        raise DataError(f"{path} asks for more memory than there is to be listed; {TRUSTED}") from error
    except DataError:
        raise
    except (OSError, ValueError, NotImplementedError, struct.error) as error:
        raise DataError(f"{path} cannot be opened as a zip archive ({error}); {_AGAIN}") from error
    tally = Tally(path, allowance(size)) if tally is None else tally
    members: dict[str, zipfile.ZipInfo] = {}
    for info in listed:
        tally.add(info.filename, info.file_size)
        if not 0 <= info.header_offset <= size - info.compress_size:
            raise DataError(f"{path} is a truncated zip archive ({clipped(info.filename)} is not whole); {_AGAIN}")
        if not info.is_dir() and members.setdefault(info.filename, info) is not info:
            raise DataError(f"{path} holds {clipped(info.filename)} twice; pack it again with one file of that name")
    return members


@contextlib.contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """An archive whose directory is no larger than `limits` grants. Raises `DataError` where it is, or as `zipfile`."""
    with open(path, "rb") as file:
        metered = _Directory(path, file, DIRECTORY)
        with zipfile.ZipFile(metered) as archive:
            metered.left = None
            yield archive


class _Directory(Metered):
    """A zip archive whose directory is read: its entries are counted before they become objects."""

    def read(self, size: int = -1) -> bytes:
        data = super().read(size)
        if self.left is not None and data.count(b"PK\x01\x02") > MEMBERS:
            raise DataError(f"{self.path} holds more than {MEMBERS:,} files, no data set does; {TRUSTED}")
        return data


def _what(path: Path) -> str:
    with open(path, "rb") as file:
        start = file.read(4)
    if not start:
        return "an empty file, not a zip archive"
    if is_web_page(path):
        return "a web page, not a zip archive"
    return "a truncated zip archive" if start.startswith(b"PK\x03\x04") else "no zip archive"


def check_members(path: Path, members: dict[str, zipfile.ZipInfo]) -> None:
    """Raises `DataError` where a member climbs out of the archive, is encrypted or packed in a way not read here."""
    for name, info in members.items():
        if climbs(name):
            raise DataError(
                f"{path} holds '{clipped(name)}', which points outside the archive; do not use this archive"
            )
        if info.flag_bits & _ENCRYPTED:
            raise DataError(f"{path} is encrypted ({clipped(name)}); unpack it with its password and give the folder")
        if info.compress_type not in _METHODS:
            raise DataError(
                f"{clipped(name)} in {path} is compressed in a way not read here; unpack it and give the folder"
            )


def climbs(name: str) -> bool:
    """Whether a member's name leads out of the folder it would be unpacked into."""
    plain = name.replace("\\", "/")
    return plain.startswith("/") or ".." in PurePosixPath(plain).parts or plain[1:2] == ":" or "\0" in name


def zip_image(path: Path, info: zipfile.ZipInfo) -> ZipImage:
    """The image source of a member."""
    deflated = info.compress_type == zipfile.ZIP_DEFLATED
    return ZipImage(path, info.filename, info.header_offset, info.compress_size, info.file_size, info.CRC, deflated)


def zip_text(path: Path, info: zipfile.ZipInfo) -> bytes:
    """The bytes of a table. Raises `DataError` where it is damaged or larger than any."""
    if info.file_size > TABLE:
        raise DataError(f"{path}: {clipped(info.filename)} is larger than {TABLE:,} bytes, no table is; {TRUSTED}")
    return zip_image(path, info).content()
