"""NumPy arrays as pickles describe them, without the help of NumPy's own unpickling; large ones stay in the file."""

from __future__ import annotations

import math
import re

import numpy as np

from autometa.data.formats.in_file import LatinText, Window

_DTYPE = re.compile(r"[?]|[biufcSU][0-9]{1,9}")
_ORDERS = ("C", "F", "K")


class PickledDtype:
    """A dtype of numbers, truth values or text of fixed length.

    name: as NumPy pickles it, `u1` or `S10`. Raises `ValueError` on any other, such as objects or records.
    """

    def __init__(self, name: str):
        if not _DTYPE.fullmatch(name):
            raise ValueError(f"arrays of type {name!r} are not read, only numbers and text of fixed length")
        self.dtype = np.dtype(name)
        if not self.dtype.itemsize:
            raise ValueError(f"arrays of type {name!r} hold nothing")

    def build(self, state: object) -> None:
        """Take the byte order from NumPy's state `(version, order, subtype, names, fields, size, alignment, ...)`."""
        if not isinstance(state, tuple) or len(state) < 7 or any(part is not None for part in state[2:5]):
            raise ValueError("arrays of records are not read")
        order = state[1].decode("latin-1") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "="):
            raise ValueError(f"unknown byte order {order!r}")
        self.dtype = self.dtype.newbyteorder(order)


class PickledArray:
    """An array, empty until `fill`: small ones are held, large ones stay in the file.

    shape: of the array; dtype: of its elements.
    """

    def __init__(self):
        self.shape: tuple[int, ...] = (0,)
        self._stored: tuple[int, ...] = (0,)
        self.dtype = np.dtype(np.uint8)
        self._data: bytes | Window | LatinText = b""
        self._order = "C"
        self._axes: tuple[int, ...] | None = None

    def build(self, state: object) -> None:
        """Take NumPy's state `([version,] shape, dtype, is_fortran, data)`; raises `ValueError` on any other."""
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise ValueError("an array has an unknown state")
        shape, dtype, fortran, data = state[-4:]
        self.fill(data, dtype, shape, "F" if fortran else "C")

    def fill(self, data: object, dtype: object, shape: object, order: object = "C", axes: object = None) -> None:
        """Raises `ValueError` where the data are objects or are not as many as the shape says."""
        if not isinstance(dtype, PickledDtype):
            raise ValueError("an array has no dtype")
        if not isinstance(data, (bytes, Window, LatinText)):
            raise ValueError("arrays of objects are not read")
        shape = (shape,) if isinstance(shape, int) else shape
        if not isinstance(shape, tuple) or not all(type(side) is int and 0 <= side < 1 << 40 for side in shape):
            raise ValueError("an array has an unknown shape")
        wanted = math.prod(shape) * dtype.dtype.itemsize
        if wanted != len(data) or len(shape) > 32 or (not wanted and max(shape) > 1 << 16):
            raise ValueError(f"an array of shape {list(shape)} has {len(data)} bytes of data")
        order = order.decode("latin-1") if isinstance(order, bytes) else order
        if order not in _ORDERS or (axes is not None and sorted(axes) != list(range(len(shape)))):
            raise ValueError(f"an array has the unknown order {order!r}")
        self._axes = tuple(axes) if order == "K" and axes is not None else None
        self.shape = shape if self._axes is None else tuple(shape[axis] for axis in self._axes)
        self.dtype, self._data, self._order, self._stored = dtype.dtype, data, order, shape

    @property
    def window(self) -> Window | LatinText | None:
        """Where the elements stand in the file, in C order without gaps; None for arrays held otherwise."""
        plain = not isinstance(self._data, bytes) and self._order != "F" and self._axes is None
        return self._data if plain else None

    def open(self) -> np.ndarray:
        """The array, read-only; a memory map where it stays in the file."""
        if not len(self._data):
            return np.zeros(self.shape, self.dtype)
        order = "F" if self._order == "F" else "C"
        if isinstance(self._data, Window):
            file, offset = self._data.path, self._data.offset
            array = np.memmap(file, self.dtype, "r", offset, self._stored, order)
        else:
            held = self._data.read(0, len(self._data)) if isinstance(self._data, LatinText) else self._data
            array = np.frombuffer(held, self.dtype).reshape(self._stored, order=order)
        return array if self._axes is None else array.transpose(self._axes)
