"""The one place that writes answers: every line printable, what cannot be written told in one sentence."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Iterable
from typing import Any

from autometa.errors import DiskError
from autometa.printable import json_text, printable, printable_text


class OutputClosed(Exception):
    """Whoever read standard output has seen enough: `autometa ... | head`."""


def put(lines: Iterable[str]) -> None:
    """Lines on standard output, each kept to one line.

    Raises `DiskError` where they cannot be written, `OutputClosed` where the reader is gone.
    """
    _write("".join(f"{printable(line)}\n" for line in lines))


def print_json(value: Any) -> None:
    """One strictly valid JSON document on stdout."""
    from autometa.runs.files import plain

    value = plain(value, strict=True)
    text = json_text(value)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeError:  # a `?` would be another value
        text = json.dumps(value, indent=2, allow_nan=False)
    _write(text + "\n")


def print_traceback() -> None:
    """That of the error being handled, on standard error."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(printable_text(traceback.format_exc()))
        sys.stderr.flush()


def flush() -> None:
    """All that others have printed; raises as `put`."""
    _write("")


def open_streams() -> None:
    """Standard streams that a job began without are the null device; a character that one cannot show is a `?` there.

    Otherwise the next file to be opened would become standard error, and messages would be written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  as long as the process
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _write(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError as error:
        _give_up()
        raise OutputClosed from error
    except OSError as error:
        _give_up()
        raise DiskError(f"cannot write to standard output: {error.strerror or error}") from error


def _give_up() -> None:
    """What is still in the stream's buffer goes to the null device, or leaving would fail once more."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
