"""Long runs of bytes that stay in their file and are read piece by piece."""

from __future__ import annotations

import codecs
import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_STEP = 1 << 16
_CONTINUED = 0x80  # the two highest bits of a UTF-8 byte that does not begin a character


class Changed(ValueError):
    """A file is no longer what it was when it was looked into."""


@dataclass(frozen=True)
class Window:
    """Bytes that stand in a file as they are."""

    path: Path
    offset: int
    size: int

    def __len__(self) -> int:
        return self.size

    def read(self, start: int, count: int) -> bytes:
        """Bytes `start .. start + count - 1`. Raises `Changed` where the file has become shorter."""
        with open(self.path, "rb") as file:
            file.seek(self.offset + start)
            data = file.read(count)
        if len(data) != count:
            raise Changed("it became shorter while it was read")
        return data


@dataclass(frozen=True)
class LatinText:
    """Bytes that stand in a file as UTF-8 text of Latin-1 characters: how Python 3 writes bytes for Python 2.

    stored: bytes of the text in the file. state: size and time of the file. Every `_STEP` bytes a process remembers how
    many characters came before, and reads a piece from there. Raises `ValueError` where the text is no such text.
    """

    path: Path
    offset: int
    stored: int
    state: tuple[int, int]

    def __len__(self) -> int:
        return int(_characters_before(self)[-1])

    def read(self, start: int, count: int) -> bytes:
        """Bytes `start .. start + count - 1`. Raises `Changed` where the file is no longer what it was."""
        if state_of(self.path) != self.state:
            raise Changed("it changed while it was read")
        before = _characters_before(self)
        step = int(np.searchsorted(before[:-1], start, side="right")) - 1
        skipped = start - int(before[step])
        with open(self.path, "rb") as file:
            file.seek(self.offset + step * _STEP)
            data = file.read(min(2 * (skipped + count) + 1, self.stored - step * _STEP))
        data = data[1:] if data and data[0] & 0xC0 == _CONTINUED else data
        text = codecs.getincrementaldecoder("utf-8")().decode(data)
        return text[skipped : skipped + count].encode("latin-1")


@functools.lru_cache(maxsize=8)
def _characters_before(text: LatinText) -> np.ndarray:
    """int64, per step of the text: characters that begin before it; at the end all of them."""
    decoder, left = codecs.getincrementaldecoder("utf-8")(), text.stored
    begun = [0]
    with open(text.path, "rb") as file:
        file.seek(text.offset)
        while left:
            data = file.read(min(left, _STEP))
            if not data:
                raise ValueError("it ends too early")
            left -= len(data)
            decoder.decode(data, final=not left).encode("latin-1")
            begun.append(np.count_nonzero(np.frombuffer(data, np.uint8) & 0xC0 != _CONTINUED))
    return np.cumsum(begun)


def state_of(path: Path) -> tuple[int, int]:
    """Size and time of a file."""
    state = path.stat()
    return state.st_size, state.st_mtime_ns
