"""Metrics as JSON lines that can be cut back to a checkpoint.

Lines hold no time stamps, so that a resumed run writes the same bytes as an uninterrupted one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autometa.errors import InputError
from autometa.runs.files import REMEDY, disk_errors, of_form, plain, read_file, shown, write_all
from autometa.runs.forms import Form, maybe, number, record, whole

VALUES = ("loss", "loss_first", "accuracy", "update", "update_architecture", "best")
COUNTS = ("not_finite", "tasks", "level", "candidates", "failed", "trained")
LINE = record({"step": whole()}, {**dict.fromkeys(VALUES, maybe(number())), **dict.fromkeys(COUNTS, maybe(whole()))})
"""The form of a line: of every loop, what it logs."""
LARGEST = 1 << 32
"""Bytes."""


class MetricsWriter:
    """Appends lines to a JSONL file; `position` counts the bytes of the whole lines.

    `position` at opening cuts the file back to that many bytes, None keeps all whole lines.  A half-written
    last line is cut off in either case.  After an error nothing of the failed line stays in the file.
    """

    def __init__(self, path: str | os.PathLike, position: int | None = None):
        self.path = Path(path)
        with disk_errors(f"write {shown(self.path)}"):
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            self.position = _whole_lines(self._fd, position)
            os.ftruncate(self._fd, self.position)

    def log(self, step: int, **values: Any) -> None:
        """Append {"step": step, ...values}; numbers that are not finite become null."""
        record = plain({"step": step, **values}, strict=True)
        line = json.dumps(record, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        data = (line + "\n").encode(errors="backslashreplace")
        with disk_errors(f"write {shown(self.path)}"):
            try:
                write_all(self._fd, data)
            except BaseException:
                os.ftruncate(self._fd, self.position)
                raise
        self.position += len(data)

    def sync(self) -> int:
        """Put all lines on the disk and return `position`: to be recorded by a checkpoint."""
        with disk_errors(f"write {shown(self.path)}"):
            os.fsync(self._fd)
        return self.position

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> MetricsWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def truncate_to(path: str | os.PathLike, position: int) -> int:
    """Cut a metrics file back to the whole lines within its first `position` bytes; returns what is left."""
    with MetricsWriter(path, position) as writer:
        return writer.sync()


def read_metrics(path: str | os.PathLike, form: Form = LINE) -> Iterator[dict[str, Any]]:
    """The records of a metrics file, oldest first; a half-written last line is passed over.

    Raises `InputError` naming the line where one before the last is damaged or not of the form, or the file is missing.
    """
    lines = read_file(path, LARGEST).split(b"\n")
    for place, line in enumerate(lines[:-1], start=1):
        try:
            yield of_form(line, form)
        except ValueError as error:
            raise InputError(f"line {place} of {shown(path)} is damaged ({error}); {REMEDY}") from error


def _whole_lines(fd: int, limit: int | None) -> int:
    """Bytes up to the last line feed within the first `limit` bytes."""
    size = os.fstat(fd).st_size
    end = size if limit is None else min(size, limit)
    block = 1 << 16
    while end > 0:
        start = max(0, end - block)
        found = os.pread(fd, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
