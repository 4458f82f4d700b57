"""Rows of text tables: csv, tsv and json lines."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from autometa.data.errors import DataError
from autometa.data.formats.limits import MEMBERS, TABLE


def read_bytes(path: Path) -> bytes:
    """The content of a table. Raises `DataError` where it cannot be read or is larger than any."""
    try:
        if path.stat().st_size > TABLE:
            raise DataError(f"{path} is larger than {TABLE:,} bytes; no table of images is, divide or mend it")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}); check the path and its permissions") from error


def decode(content: bytes, name: str) -> str:
    """Text in UTF-8, with or without byte order mark. Raises `DataError` where it is something else."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not UTF-8 text ({error.reason}); save the table as UTF-8") from error


def csv_rows(text: str, name: str, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """(line number, stripped cells) of each row that is not blank, the header first.

    Raises `DataError` where the text is no csv.
    """
    if "\0" in text:
        raise DataError(f"{name} holds binary data, not a table; save it as UTF-8 text")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for count, row in enumerate(reader):
            if count > MEMBERS:
                raise DataError(f"{name} has more than {MEMBERS:,} rows, no table of images has; divide or mend it")
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise DataError(f"{name} is damaged near line {reader.line_num} ({error}); mend that line") from error
