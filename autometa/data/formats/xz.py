"""An .xz file unpacked as it is read, with a limit on the memory of its dictionary, which `lzma.open` does not have."""

from __future__ import annotations

import io
import lzma
from pathlib import Path
from typing import Any, BinaryIO

from autometa.data.errors import DataError
from autometa.data.formats.limits import DICTIONARY

_PACKED = 1 << 16
"""Packed bytes that are read at once."""


def open_xz(path: Path, file: BinaryIO) -> BinaryIO:
    """The unpacked content of an open .xz file, named `path` in messages; cheap to read forwards only.

    Reading raises `DataError` where unpacking takes more memory than `limits` grants, `lzma.LZMAError` or `EOFError`
    where the file is damaged.
    """
    made: Any = io.BufferedReader(_Xz(path, file), 1 << 16)
    return made


class _Xz(io.RawIOBase):
    def __init__(self, path: Path, file: BinaryIO):
        self.path, self.file = path, file
        self._begin()

    def _begin(self) -> None:
        self.file.seek(0)
        self.place, self.stream = 0, self._next_stream()

    def _next_stream(self) -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, DICTIONARY)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            raise io.UnsupportedOperation("the end of an .xz file is not known before it is read")
        target = offset + (self.place if whence == io.SEEK_CUR else 0)
        if target < self.place:
            self._begin()
        while self.place < target and self._read(min(target - self.place, 1 << 20)):
            pass
        return self.place

    def readinto(self, target: Any) -> int:
        data = self._read(len(target))
        target[: len(data)] = data
        return len(data)

    def _read(self, size: int) -> bytes:
        """Up to `size` bytes, none at the end."""
        data = b""
        while not data and size:
            packed = b""
            if self.stream.eof:  # of one stream; others may follow, with zeros between them
                packed = self.stream.unused_data.lstrip(b"\0")
                while not packed and (more := self.file.read(_PACKED)):
                    packed = more.lstrip(b"\0")
                if not packed:
                    break
                self.stream = self._next_stream()
            elif self.stream.needs_input and not (packed := self.file.read(_PACKED)):
                raise EOFError("it ends too early")
            try:
                data = self.stream.decompress(packed, size)
            except lzma.LZMAError as error:
                if "limit" not in str(error):
                    raise
                raise DataError(
                    f"{self.path} asks for more than {DICTIONARY:,} bytes of memory to be unpacked; pack it again with "
                    "xz -9, or unpack it yourself and give the folder"
                ) from error
        self.place += len(data)
        return data
