"""Pickles of strangers, read by a machine that can build nothing but arrays and plain containers.

Python's own unpickler imports and calls whatever a file names. This one imports nothing: it knows a handful of names,
each standing for a function below, and refuses all others. It reads protocols 0 to 5, written by Python 2 or 3 and
NumPy 1 or 2, and leaves large arrays in the file.
"""

from __future__ import annotations

import codecs
import os
import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from autometa.data.errors import DataError
from autometa.data.formats.in_file import LatinText, Window, state_of
from autometa.data.formats.parted import is_web_page
from autometa.data.formats.pickled_array import PickledArray, PickledDtype

STAYS = 1 << 16
HELD = 1 << 30
"""Bytes that objects of a pickle may take in memory, beside those of its file: 256 times what Mini-ImageNet needs."""
OBJECT = 100
"""Bytes that an object takes, about."""


class Refused(Exception):
    """A pickle wants more than arrays and plain containers."""


@dataclass(frozen=True)
class _Name:
    module: str
    attribute: str


def load(path: Path) -> object:
    """What a pickle holds: arrays as `PickledArray`, strings of Python 2 as bytes, ordered and default dicts as dict.

    Raises `DataError` where the file is damaged, or asks for anything that arrays and plain containers do not need.
    """
    try:
        with open(path, "rb") as file:
            return _Machine(path, file).run()
    except Refused as error:
        raise DataError(
            f"{path} {error}, which no data set needs; it was not run: do not use this file, get it from its authors"
        ) from None
    except (ValueError, TypeError, LookupError, struct.error, OverflowError, AttributeError) as error:
        raise DataError(f"{path} is {_what(path)} ({error or type(error).__name__}); get the file again") from error
    except MemoryError as error:
        raise DataError(f"{path} asks for more memory than there is; do not use it, or get a smaller one") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}); check the path and its permissions") from error


def _what(path: Path) -> str:
    return "a web page, not a pickle" if is_web_page(path) else "no pickle that can be read"


def text(value: object) -> object:
    """Strings of either Python as str; anything else as it is."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _reconstruct(kind: object, *_: object) -> PickledArray:
    if kind != _Name("numpy", "ndarray"):
        raise ValueError("an array is of a kind of its own")
    return PickledArray()


def _dtype(name: object, *_: object) -> PickledDtype:
    name = text(name)
    if not isinstance(name, str):
        raise ValueError("a dtype has no name")
    return PickledDtype(name)


def _scalar(dtype: object, data: object) -> object:
    array = PickledArray()
    array.fill(data, dtype, ())
    return array.open()[()].item()


def _frombuffer(data: object, dtype: object, shape: object, order: object, axes: object = None) -> PickledArray:
    array = PickledArray()
    array.fill(data, dtype, shape, order, axes)
    return array


def _encode(value: object, encoding: object) -> bytes | LatinText:
    if text(encoding) not in ("latin1", "latin-1"):
        raise ValueError(f"bytes come in the unknown encoding {encoding!r}")
    if isinstance(value, LatinText):
        len(value)  # reads it once, so that damage is told here
        return value
    if not isinstance(value, str):
        raise ValueError("bytes are made of something that is no text")
    return value.encode("latin-1")


def _bytes(value: object = b"", encoding: object = None) -> object:
    if encoding is not None:
        return _encode(value, encoding)
    if not isinstance(value, (bytes, Window, LatinText)):
        raise ValueError("bytes are made of something else")
    return value


def _dict(*args: object) -> dict:
    """An ordered dict comes with a list of pairs from Python 2, a default dict with the name of its factory."""
    pairs = args[0] if args and not isinstance(args[0], _Name) else ()
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


def _not_callable(*_: object) -> object:
    raise ValueError("a type is called that is only named in data sets")


_NAMES: dict[tuple[str, str], Callable] = {
    ("numpy", "ndarray"): _not_callable,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): _dict,
    ("collections", "defaultdict"): _dict,
}
for _module in ("numpy.core", "numpy._core"):
    _NAMES[_module + ".multiarray", "_reconstruct"] = _reconstruct
    _NAMES[_module + ".multiarray", "scalar"] = _scalar
    _NAMES[_module + ".numeric", "_frombuffer"] = _frombuffer
for _module in ("builtins", "__builtin__"):
    for _attribute, _function in (("bytes", _bytes), ("bytearray", _bytes), ("set", _set)):
        _NAMES[_module, _attribute] = _function
    _NAMES[_module, "frozenset"] = _set
    for _attribute in ("list", "dict", "int"):
        _NAMES[_module, _attribute] = _not_callable


def _size(value: object) -> int:
    """Bytes of memory that a copy of an argument takes."""
    if isinstance(value, (str, bytes)):
        return len(value)
    return OBJECT * len(value) if isinstance(value, (list, tuple, set, dict)) else 0


_LENGTHS = {
    "BINBYTES": "<I",
    "BINBYTES8": "<Q",
    "BYTEARRAY8": "<Q",
    "BINSTRING": "<i",
    "BINUNICODE": "<I",
    "BINUNICODE8": "<Q",
    "LONG4": "<i",
}
_PUSH_ARGUMENT = set(
    "INT BININT BININT1 BININT2 LONG LONG1 FLOAT BINFLOAT UNICODE SHORT_BINUNICODE SHORT_BINBYTES".split()
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple, "EMPTY_SET": set}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Machine:
    """The stack machine of the pickle format (PEP 307, 3154, 574), one method per kind of operation."""

    def __init__(self, path: Path, file: BinaryIO):
        self.path, self.file = path, file
        self.state = state_of(path)
        self.size = self.state[0]
        self.stack: list = []
        self.marked: list[list] = []
        self.memo: dict[int, object] = {}
        self.left = HELD + 2 * self.size

    def _spend(self, count: int) -> None:
        """Raises `Refused` where a few operations would fill the memory."""
        self.left -= count
        if self.left < 0:
            raise Refused("asks for more memory than its arrays need")

    def run(self) -> object:
        while True:
            self._spend(OBJECT)
            code = self.file.read(1)
            operation = pickletools.code2op.get(code.decode("latin-1"))
            if operation is None:
                raise ValueError("it ends too early" if not code else f"byte {code!r} is no pickle operation")
            name = operation.name
            if name == "STOP":
                return self._result()
            if name in _LENGTHS:
                self._counted(name)
            elif name == "STRING":
                line = self.file.readline().strip()
                self._spend(len(line))
                self.stack.append(codecs.escape_decode(line[1:-1])[0])
            elif name in ("GLOBAL", "INST"):
                self._global(*(self.file.readline()[:-1].decode("utf-8") for _ in range(2)))
                if name == "INST":
                    raise Refused("asks for the pickle operation INST")
            else:
                argument = operation.arg.reader(self.file) if operation.arg else None
                self._do(name, argument)

    def _result(self) -> object:
        if len(self.stack) != 1 or self.marked:
            raise ValueError("it ends in the middle")
        return self.stack.pop()

    def _do(self, name: str, argument: object) -> None:
        stack = self.stack
        if name in _PUSH_ARGUMENT:
            stack.append(argument)
        elif name == "SHORT_BINSTRING":
            stack.append(argument.encode("latin-1"))
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            count = _TUPLES[name]
            if len(stack) < count:
                raise ValueError("its stack is empty")
            stack[-count:] = [tuple(stack[-count:])]
        else:
            method = getattr(self, f"_op_{name.lower()}", None)
            if method is None:
                raise Refused(f"asks for the pickle operation {name}")
            method(argument)

    def _counted(self, name: str) -> None:
        """Operations whose data follow their length; long data stay in the file."""
        form = _LENGTHS[name]
        (length,) = struct.unpack(form, self.file.read(struct.calcsize(form)))
        offset = self.file.tell()
        if not 0 <= length <= self.size - offset:
            raise ValueError("it ends too early")
        if name == "LONG4" and length > STAYS:
            raise ValueError("a number is too long")
        if length >= STAYS:
            self.file.seek(length, os.SEEK_CUR)
            stays = LatinText(self.path, offset, length, self.state) if "UNICODE" in name else None
            self.stack.append(stays or Window(self.path, offset, length))
            return
        self._spend(length)
        data = self.file.read(length)
        if name == "LONG4":
            self.stack.append(int.from_bytes(data, "little", signed=True))
        else:
            self.stack.append(data.decode("utf-8", "surrogatepass") if "UNICODE" in name else data)

    def _global(self, module: object, attribute: object) -> None:
        if (module, attribute) not in _NAMES:
            name = f"{module}.{attribute}"[:200]
            raise Refused(f"asks for {name if name.isprintable() else ascii(name)}")
        self.stack.append(_Name(module, attribute))

    def _op_stack_global(self, _) -> None:
        attribute, module = self.stack.pop(), self.stack.pop()
        if not isinstance(module, str) or not isinstance(attribute, str):
            raise ValueError("a name is no text")
        self._global(module, attribute)

    def _op_reduce(self, _) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Name) or not isinstance(arguments, tuple):
            raise ValueError("something is called that is no function")
        self._spend(sum(_size(argument) for argument in arguments))
        self.stack.append(_NAMES[function.module, function.attribute](*arguments))

    def _op_build(self, _) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], (PickledArray, PickledDtype)):
            raise Refused(f"asks to set the state of a {type(self.stack[-1]).__name__}")
        self.stack[-1].build(state)

    def _op_proto(self, version: int) -> None:
        if version > 5:
            raise ValueError(f"protocol {version} is not known")

    def _op_frame(self, _) -> None:
        """Frames only help to read ahead."""

    def _op_mark(self, _) -> None:
        self.marked.append(self.stack)
        self.stack = []

    def _items(self) -> list:
        items, self.stack = self.stack, self.marked.pop()
        return items

    def _op_pop(self, _) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self._items()

    def _op_pop_mark(self, _) -> None:
        self._items()

    def _op_dup(self, _) -> None:
        self.stack.append(self.stack[-1])

    def _op_tuple(self, _) -> None:
        items = self._items()
        self.stack.append(tuple(items))

    def _op_list(self, _) -> None:
        items = self._items()
        self.stack.append(items)

    def _op_dict(self, _) -> None:
        items = self._items()
        self.stack.append({})
        self._put(items)

    def _op_frozenset(self, _) -> None:
        items = self._items()
        self.stack.append(_set(items))

    def _op_append(self, _) -> None:
        value = self.stack.pop()
        self._target(list).append(value)

    def _op_appends(self, _) -> None:
        items = self._items()
        self._target(list).extend(items)

    def _op_additems(self, _) -> None:
        items = self._items()
        self._target(set).update(_set(items))

    def _op_setitem(self, _) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._put([key, value])

    def _op_setitems(self, _) -> None:
        self._put(self._items())

    def _put(self, items: list) -> None:
        if len(items) % 2:
            raise ValueError("a key has no value")
        target = self._target(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_key(key)] = value

    def _target(self, kind: type) -> list | dict | set:
        if type(self.stack[-1]) is not kind:
            raise ValueError(f"a {type(self.stack[-1]).__name__} is filled as a {kind.__name__}")
        return self.stack[-1]

    def _op_put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    _op_binput = _op_long_binput = _op_put

    def _op_memoize(self, _) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _op_get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    _op_binget = _op_long_binget = _op_get
