"""TIFF structures written by hand, with tags that no program writes."""

from __future__ import annotations

import struct

import numpy as np

Entry = tuple[int, int, int, bytes]
"""Tag, type, number of values, values in little-endian order."""


def directory(entries: list[Entry], start: int) -> bytes:
    """An image file directory at `start`, and the values that do not fit into it, behind it."""
    entries = sorted(entries)
    place, listed, values = start + 2 + 12 * len(entries) + 4, b"", b""
    for tag, kind, count, data in entries:
        inside = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack("<L", place + len(values))
        listed += struct.pack("<HHL", tag, kind, count) + inside
        values += data if len(data) > 4 else b""
    return struct.pack("<H", len(entries)) + listed + bytes(4) + values


def exif(*entries: Entry) -> bytes:
    """The EXIF block of a JPEG, PNG or WebP file."""
    return b"Exif\0\0II*\0" + struct.pack("<L", 8) + directory(list(entries), 8)


def tiff(pixels: np.ndarray, *entries: Entry) -> bytes:
    """An uncompressed grey TIFF of `[H, W]`: uint8, uint16, int32 or float32."""
    data, (height, width) = pixels.tobytes(), pixels.shape
    bits, form = 8 * pixels.itemsize, {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    plain = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: len(data), 339: form}
    listed = [(tag, 4, 1, struct.pack("<L", value)) for tag, value in plain.items()]
    return b"II*\0" + struct.pack("<L", 8 + len(data)) + data + directory(listed + list(entries), 8 + len(data))
