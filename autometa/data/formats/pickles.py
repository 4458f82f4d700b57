"""Restricted unpickler: arrays, numbers, text and plain containers, by lists of allowed names and operations.

The pickle protocols 0 to 5, of Python 2 or 3 and NumPy 1 or 2. Nothing that a file names is imported or called: each
allowed name stands for a checked function below. Long strings, and arrays of them, stay in the file.
"""

from __future__ import annotations

import codecs
import functools
import math
import os
import pickle
import pickletools
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any, BinaryIO

import numpy as np

from autometa.data.errors import DataError
from autometa.data.formats.parted import is_web_page

STAYS = 1 << 16
"""Bytes from which a string stays in the file."""
HELD = 1 << 30
"""Bytes that objects of a pickle may take in memory, beside those of its file: 100 times what Mini-ImageNet needs."""
OBJECT = 100
"""Bytes that an object takes, about."""
OPERATIONS = """
PROTO FRAME STOP MARK POP POP_MARK DUP NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT
STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8
BYTEARRAY8 EMPTY_TUPLE EMPTY_LIST EMPTY_DICT EMPTY_SET TUPLE TUPLE1 TUPLE2 TUPLE3 LIST DICT FROZENSET APPEND APPENDS
SETITEM SETITEMS ADDITEMS GET BINGET LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE GLOBAL STACK_GLOBAL REDUCE BUILD
""".split()
"""Operations of pickles that are carried out: none of them builds an instance of a class."""
_STEP = 1 << 16
_CONTINUED = 0x80  # the two highest bits of a UTF-8 byte that does not begin a character
_DAMAGED = (pickle.UnpicklingError, ValueError, TypeError, LookupError, AttributeError, OverflowError, struct.error)
_DTYPE = re.compile(r"[?]|[biufcSU][0-9]{1,9}")


class Refused(Exception):
    """A pickle wants more than arrays and plain containers."""


def load(path: Path) -> object:
    """What a pickle holds: arrays as `PickledArray`, strings of Python 2 as bytes, ordered and default dicts as dict.

    Raises `DataError` where the file is damaged, or asks for anything that arrays and plain containers do not need.
    """
    try:
        with open(path, "rb") as file:
            return _Unpickler(path, file).load()
    except Refused as error:
        raise DataError(
            f"{path} {error}, which no data set needs; it was not run: do not use this file, get it from its authors"
        ) from None
    except _DAMAGED as error:
        what = "a web page, not a pickle" if is_web_page(path) else "no pickle that can be read"
        raise DataError(f"{path} is {what} ({error or type(error).__name__}); get the file again") from error
    except MemoryError as error:
        raise DataError(f"{path} asks for more memory than there is; do not use it, or get a smaller one") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}); check the path and its permissions") from error


def text(value: object) -> object:
    """Strings of either Python as str; anything else as it is."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def state_of(path: Path) -> tuple[int, int]:
    """Size and time of a file."""
    state = path.stat()
    return state.st_size, state.st_mtime_ns


@dataclass(frozen=True)
class Window:
    """A byte string that stays in its file.

    state: size and time of the file. latin: it stands there as UTF-8 text of Latin-1 characters, as Python 3 writes
    bytes for Python 2; every `_STEP` bytes a process remembers how many characters came before, and reads from there.
    """

    path: Path
    offset: int
    stored: int
    state: tuple[int, int]
    latin: bool = False

    def __len__(self) -> int:
        return int(_characters_before(self)[-1]) if self.latin else self.stored

    def read(self, start: int, count: int) -> bytes:
        """Bytes `start .. start + count - 1`. Raises `ValueError` where the file is no longer what it was."""
        if state_of(self.path) != self.state:
            raise ValueError("it changed while it was read")
        with open(self.path, "rb") as file:
            if not self.latin:
                file.seek(self.offset + start)
                return file.read(count)
            before = _characters_before(self)
            step = int(np.searchsorted(before[:-1], start, side="right")) - 1
            skipped = start - int(before[step])
            file.seek(self.offset + step * _STEP)
            data = file.read(min(2 * (skipped + count) + 1, self.stored - step * _STEP))
        data = data[1:] if data and data[0] & 0xC0 == _CONTINUED else data
        decoded = codecs.getincrementaldecoder("utf-8")().decode(data)
        return decoded[skipped : skipped + count].encode("latin-1")


@functools.lru_cache(maxsize=8)
def _characters_before(window: Window) -> np.ndarray:
    """int64, per step of the text: characters that begin before it; at the end all of them."""
    decoder, begun = codecs.getincrementaldecoder("utf-8")(), [0]
    with open(window.path, "rb") as file:
        file.seek(window.offset)
        for start in range(0, window.stored, _STEP):
            data = file.read(min(window.stored - start, _STEP))
            decoder.decode(data, final=start + _STEP >= window.stored).encode("latin-1")
            begun.append(np.count_nonzero(np.frombuffer(data, np.uint8) & 0xC0 != _CONTINUED))
    return np.cumsum(begun)


class PickledDtype:
    """A dtype of numbers, truth values or text of fixed length. name: as NumPy pickles it, `u1` or `S10`."""

    def __init__(self, name: object):
        name = text(name)
        if not isinstance(name, str) or not _DTYPE.fullmatch(name):
            raise ValueError(f"arrays of type {name!r} are not read, only numbers and text of fixed length")
        self.dtype = np.dtype(name)
        if not self.dtype.itemsize:
            raise ValueError(f"arrays of type {name!r} hold nothing")

    def build(self, state: object) -> None:
        """Take the byte order from NumPy's state `(version, order, subtype, names, fields, size, alignment, ...)`."""
        if not isinstance(state, tuple) or len(state) < 7 or any(part is not None for part in state[2:5]):
            raise ValueError("arrays of records are not read")
        if text(state[1]) not in ("<", ">", "|", "="):
            raise ValueError(f"unknown byte order {state[1]!r}")
        self.dtype = self.dtype.newbyteorder(text(state[1]))


class PickledArray:
    """An array of numbers or text, not read yet: `shape`, `dtype`, and its bytes, which may be a `Window`."""

    def __init__(self):
        self.dtype, self.shape, self._stored = np.dtype(np.uint8), (0,), (0,)
        self._data, self._order, self._axes = b"", "C", None

    def build(self, state: object) -> None:
        """Take NumPy's state `([version,] shape, dtype, is_fortran, data)`; raises `ValueError` on any other."""
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise ValueError("an array has an unknown state")
        shape, dtype, fortran, data = state[-4:]
        self.fill(data, dtype, shape, "F" if fortran else "C")

    def fill(self, data: Any, dtype: Any, shape: Any, order: Any = "C", axes: Any = None) -> PickledArray:
        """Raises `ValueError` where the data are objects or are not as many as the shape says."""
        if not isinstance(dtype, PickledDtype):
            raise ValueError("an array has no dtype")
        if not isinstance(data, (bytes, Window)):
            raise ValueError("arrays of objects are not read")
        shape, order = (shape,) if isinstance(shape, int) else shape, text(order)
        if not isinstance(shape, tuple) or not all(type(side) is int and 0 <= side < 1 << 40 for side in shape):
            raise ValueError("an array has an unknown shape")
        wanted = math.prod(shape) * dtype.dtype.itemsize
        if wanted != len(data) or len(shape) > 32 or (not wanted and max(shape) > 1 << 16):
            raise ValueError(f"an array of shape {list(shape)} has {len(data)} bytes of data")
        if order not in ("C", "F", "K") or (axes is not None and sorted(axes) != list(range(len(shape)))):
            raise ValueError(f"an array has the unknown order {order!r}")
        self._axes = tuple(axes) if order == "K" and axes is not None else None
        self.shape = shape if self._axes is None else tuple(shape[axis] for axis in self._axes)
        self.dtype, self._data, self._order, self._stored = dtype.dtype, data, order, shape
        return self

    @property
    def window(self) -> Window | None:
        """Where the elements stand in the file, in C order without gaps; None for arrays held otherwise."""
        return self._data if isinstance(self._data, Window) and self._order != "F" and self._axes is None else None

    def open(self) -> np.ndarray:
        """The array, read-only; a memory map where it stays in the file."""
        data, order = self._data, "F" if self._order == "F" else "C"
        if not len(data):
            return np.zeros(self.shape, self.dtype)
        if isinstance(data, Window) and not data.latin:
            array = np.memmap(data.path, self.dtype, "r", data.offset, self._stored, order)
        else:
            held = data.read(0, len(data)) if isinstance(data, Window) else data
            array = np.frombuffer(held, self.dtype).reshape(self._stored, order=order)
        return array if self._axes is None else array.transpose(self._axes)


def _type(*_: object) -> None:
    raise ValueError("a type is called that is only named in data sets")


def _ndarray(*_: object) -> None:
    raise ValueError("a type is called that is only named in data sets")


def _reconstruct(kind: object, *_: object) -> PickledArray:
    if kind is not _ndarray:
        raise ValueError("an array is of a kind of its own")
    return PickledArray()


def _scalar(dtype: object, data: object) -> object:
    return PickledArray().fill(data, dtype, ()).open()[()].item()


def _bytes(value: object = b"", encoding: object = "latin1") -> object:
    if text(encoding) not in ("latin1", "latin-1"):
        raise ValueError(f"bytes come in the unknown encoding {encoding!r}")
    if not isinstance(value, (str, bytes, Window)):
        raise ValueError("bytes are made of something that is no text")
    len(value)  # reads a window once, so that damage is told here
    return value.encode("latin-1") if isinstance(value, str) else value


def _dict(*args: object) -> dict:
    """An ordered dict comes with a list of pairs from Python 2, a default dict with the name of its factory."""
    pairs = args[0] if args and not isinstance(args[0], FunctionType) else ()
    if len(args) > 1 or not isinstance(pairs, (list, tuple)):
        raise ValueError("a dict is made of something else")
    return {_key(key): value for key, value in pairs}


def _set(items: object = ()) -> set:
    if not isinstance(items, (list, tuple)):
        raise ValueError("a set is made of something else")
    return {_key(item) for item in items}


def _key(value: object) -> object:
    """Only flat keys: nested tuples could be built to take for ever to hash."""
    if value is not None and not isinstance(value, (str, bytes, int, float)):
        raise ValueError(f"a {type(value).__name__} is used as a key")
    return value


ALLOWED = {
    "numpy.ndarray": _ndarray,
    "numpy.dtype": lambda name, *_: PickledDtype(name),
    "_codecs.encode": _bytes,
    "collections.OrderedDict": _dict,
    "collections.defaultdict": _dict,
}
"""What a pickle may name, and the function that is called in its place."""
for _module in ("numpy.core", "numpy._core"):
    ALLOWED[f"{_module}.multiarray._reconstruct"] = _reconstruct
    ALLOWED[f"{_module}.multiarray.scalar"] = _scalar
    ALLOWED[f"{_module}.numeric._frombuffer"] = lambda *arguments: PickledArray().fill(*arguments)
for _module in ("builtins", "__builtin__"):
    ALLOWED |= {f"{_module}.{name}": _bytes for name in ("bytes", "bytearray")}
    ALLOWED |= {f"{_module}.{name}": _set for name in ("set", "frozenset")}
    ALLOWED |= {f"{_module}.{name}": _type for name in ("list", "dict", "int")}


class _CountedReader:
    """An open pickle that counts what its reads and objects take, so that a few operations cannot fill the memory."""

    def __init__(self, path: Path, file: BinaryIO):
        self.path, self.file, self.state = path, file, state_of(path)
        self.left = HELD + 2 * self.state[0]

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise Refused("asks for more memory than its arrays need")

    def check(self, count: int) -> int:
        """The place of the next `count` bytes. Raises `ValueError` where the file ends before them."""
        place = self.file.tell()
        if not 0 <= count <= self.state[0] - place:
            raise ValueError("it ends too early")
        return place

    def read(self, count: int) -> bytes:
        self.check(count)
        self.spend(OBJECT + count)
        return self.file.read(count)

    def readline(self) -> bytes:
        line = self.file.readline()
        self.spend(len(line))
        return line


class _Unpickler(pickle._Unpickler):
    """Python's own, of which only `OPERATIONS` are left, and of these the ones below are changed."""

    def __init__(self, path: Path, file: BinaryIO):
        self.file = _CountedReader(path, file)
        super().__init__(self.file, encoding="bytes")

    def load(self) -> object:
        value = super().load()
        if self.stack or self.metastack:
            raise ValueError("it ends in the middle")
        return value

    def find_class(self, module: str, name: str) -> FunctionType:
        asked = f"{module}.{name}"
        if asked not in ALLOWED:
            raise Refused(f"asks for {asked[:200] if asked[:200].isprintable() else ascii(asked[:200])}")
        return ALLOWED[asked]

    def load_frame(self) -> None:
        self.read(8)  # frames only help to read ahead

    def load_counted(self, form: str, decoded: bool) -> None:
        """A string after its length; a long one stays in the file."""
        (length,) = struct.unpack(form, self.read(struct.calcsize(form)))
        if length < STAYS:
            data = self.read(length)
            self.append(data.decode("utf-8", "surrogatepass") if decoded else data)
            return
        self.append(Window(self.file.path, self.file.check(length), length, self.file.state, decoded))
        self.file.file.seek(length, os.SEEK_CUR)

    def load_long4(self) -> None:
        (length,) = struct.unpack("<i", self.read(4))
        if length > STAYS:
            raise ValueError("a number is too long")
        self.append(int.from_bytes(self.read(length), "little", signed=True))

    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, FunctionType) or not isinstance(arguments, tuple):
            raise ValueError("something is called that is no function")
        self.file.spend(sum(len(a) for a in arguments if isinstance(a, (str, bytes, Window))))
        self.file.spend(OBJECT * sum(len(a) for a in arguments if isinstance(a, (list, tuple, set, dict))))
        self.append(function(*arguments))

    def load_build(self) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], (PickledArray, PickledDtype)):
            raise Refused(f"asks to set the state of a {type(self.stack[-1]).__name__}")
        self.stack[-1].build(state)

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._put(items)

    def load_setitem(self) -> None:
        self._put([self.stack.pop(-2), self.stack.pop()])

    def load_setitems(self) -> None:
        self._put(self.pop_mark())

    def _put(self, items: list) -> None:
        if type(self.stack[-1]) is not dict or len(items) % 2:
            raise ValueError("a key has no value or no dict")
        self.stack[-1].update(_dict(list(zip(items[::2], items[1::2], strict=True))))

    def load_additems(self) -> None:
        items = self.pop_mark()
        self.stack[-1] |= _set(items)

    def load_frozenset(self) -> None:
        items = self.pop_mark()
        self.append(_set(items))


class _Operations(dict):
    """What carries out each operation, by its byte."""

    def __missing__(self, code: int) -> None:
        if chr(code) in pickletools.code2op:
            raise Refused(f"asks for the pickle operation {pickletools.code2op[chr(code)].name}")
        raise ValueError(f"byte {code} is no pickle operation")


_LENGTHS = dict(BINBYTES="<I", BINBYTES8="<Q", BYTEARRAY8="<Q", BINSTRING="<i", BINUNICODE="<I", BINUNICODE8="<Q")
_CODES = {name: getattr(pickle, name)[0] for name in OPERATIONS}
_Unpickler.dispatch = _Operations(
    {code: getattr(_Unpickler, pickle._Unpickler.dispatch[code].__name__) for code in _CODES.values()}
)
for _name, _form in _LENGTHS.items():
    _counted = functools.partial(_Unpickler.load_counted, form=_form, decoded="UNICODE" in _name)
    _Unpickler.dispatch[_CODES[_name]] = _counted
