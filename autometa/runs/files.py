"""Files that are there whole or not at all: write beside, fsync, rename, fsync the folder.

A process killed in the middle leaves at most a hidden ``.*.tmp`` entry, which `sweep` removes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autometa.errors import DiskError, InputError
from autometa.printable import json_text, printable
from autometa.registry import Tagged
from autometa.runs.forms import WHOLE, Form, FormError, anything

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")


def say(text: str) -> None:
    """One printable line to the person at the keyboard; a closed terminal is no reason to stop."""
    if sys.stderr is None:
        return
    with contextlib.suppress(OSError, ValueError):
        print(printable(text), file=sys.stderr, flush=True)


@contextlib.contextmanager
def disk_errors(doing: str) -> Iterator[None]:
    """Turn an OSError into a `DiskError` that reads "cannot <doing>: <reason>"."""
    try:
        yield
    except DiskError:
        raise
    except OSError as error:
        raise DiskError(f"cannot {doing}: {error.strerror or error}") from error


def temporary_beside(path: Path) -> Path:
    """A fresh hidden name in the folder of `path`, of the kind that `sweep` removes."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def shown(path: str | os.PathLike) -> str:
    """A path as a person would type it here: relative where it is below the present folder."""
    try:
        relative = os.path.relpath(path)
    except OSError:  # the present folder is gone
        return os.fspath(path)
    return os.fspath(path) if relative.startswith("..") else relative


def write_all(fd: int, data: bytes) -> None:
    """Write every byte; os.write may stop short where a disk fills up."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def write_synced(path: Path, data: bytes) -> None:
    """Create `path`, which must not exist, with `data` on the disk when this returns. Not atomic."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_folder(path: Path) -> None:
    """Make renames and new names in a folder durable."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
    """Put `data` at `path`, atomically and durably: readers see the old file or the new one.

    A device or pipe that stands there is written to, never replaced. Raises `DiskError`; the old file is then untouched
    (or, where only the last fsync failed, replaced).
    """
    path = Path(path)
    temporary = temporary_beside(path)
    with disk_errors(f"write {shown(path)}"):
        if _is_device(path):
            with open(path, "wb", buffering=0) as device:
                write_all(device.fileno(), data)
            return
        try:
            write_synced(temporary, data)
            os.replace(temporary, path)
            sync_folder(path.parent)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def _is_device(path: Path) -> bool:
    """A device, a pipe, or a name such as /dev/stdout, whatever it leads to."""
    leads = path.is_symlink() and path.parts[:2] in (("/", "dev"), ("/", "proc"))
    return path.exists() and (leads or not (path.is_file() or path.is_dir()))


def write_text(path: str | os.PathLike, text: str) -> None:
    """`write_bytes` in UTF-8, undecodable bytes of file names as `\\udc80`."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_json(path: str | os.PathLike, value: Any) -> None:
    """`write_bytes` of `value` as readable, strictly valid JSON; numbers that are not finite become null."""
    write_text(path, json_text(plain(value, strict=True)) + "\n")


LARGEST_DOCUMENT = 1 << 28
"""Bytes of a JSON file or line: a hundred times what the largest run writes."""
DEEPEST = 64
"""Lists and objects within one another."""
REMEDY = "put a copy of the file back, or use another run"


def read_json(path: str | os.PathLike, form: Form = anything, remedy: str = REMEDY, strict: bool = True) -> Any:
    """The value of a JSON file. Raises `InputError` naming the file where it is missing, damaged, too large or not of
    the form; strict: as of `of_form`."""
    data = read_file(path, LARGEST_DOCUMENT, remedy)
    try:
        return of_form(data, form, strict)
    except FormError as error:
        raise InputError(f"{shown(path)} is not as autometa writes it: {error}; {remedy}") from error
    except ValueError as error:
        raise InputError(f"{shown(path)} is not valid JSON ({error}); {remedy}") from error


def read_file(path: str | os.PathLike, largest: int, remedy: str = REMEDY) -> bytes:
    """The bytes of a regular file. Raises `InputError` where it is missing, something else, or larger than that."""
    path = Path(path)
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{shown(path)} is no file; {remedy}")
        if found.st_size > largest:
            raise InputError(f"{shown(path)} has {found.st_size:,} bytes, more than {largest:,}; {remedy}")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {shown(path)}: {error.strerror or error}") from error


def of_form(data: bytes, form: Form = anything, strict: bool = True) -> Any:
    """The value of JSON, nothing in it nested deeper than `DEEPEST`; strict: every number finite and of 64 bits.

    Raises `FormError`, or `ValueError` where it is no JSON.
    """
    numbers: dict[str, Any] = {"parse_constant": _finite, "parse_float": _finite, "parse_int": _whole}
    try:
        value = json.loads(data.decode("utf-8"), **(numbers if strict else {}))
    except RecursionError:
        raise FormError(f"it is nested deeper than {DEEPEST} lists and objects") from None
    _check_depth(value)
    form(value, "")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise FormError(f"the number {text[:40]} is not finite")
    return value


def _whole(text: str) -> int:
    if len(text) > 20 or abs(int(text)) > WHOLE:
        raise FormError(f"the number {text[:40]} does not fit into 64 bits")
    return int(text)


def _check_depth(value: Any) -> None:
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(DEEPEST):
        if not level:
            return
        every = (inner for item in level for inner in (item.values() if isinstance(item, dict) else item))
        level = [inner for inner in every if isinstance(inner, (dict, list))]
    raise FormError(f"it is nested deeper than {DEEPEST} lists and objects")


def plain(value: Any, strict: bool = False) -> Any:
    """`value` in JSON's own types: dataclasses, paths, tuples, NumPy and 0-dim tensors are converted; what is
    tagged has its tag beside its fields.

    `strict` turns nan and inf into None, for files that others read.  Raises TypeError for keys that
    are not strings, since JSON would hand them back as strings, and for anything else.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        tag = value.tag() if isinstance(value, Tagged) else {}
        value = {**tag, **{field.name: getattr(value, field.name) for field in dataclasses.fields(value)}}
    if isinstance(value, (np.generic, np.ndarray, torch.Tensor)):
        value = value.tolist()
    if isinstance(value, Mapping):
        bad = [key for key in value if not isinstance(key, str)]
        if bad:
            raise TypeError(f"JSON keys are strings, {bad[0]!r} is {type(bad[0]).__name__}")
        return {key: plain(item, strict) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, strict) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, float) and strict and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{type(value).__name__} has no JSON form: {value!r}")


def remove_tree(path: Path) -> None:
    """Remove a folder so that no half-removed one is ever seen under its name."""
    doomed = temporary_beside(path)
    with disk_errors(f"remove {shown(path)}"):
        os.rename(path, doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what killed processes left: hidden entries ending in .tmp. For the holder of the lock only."""
    for entry in folder.glob(".*.tmp"):
        if not TEMPORARY.fullmatch(entry.name):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                entry.unlink()
