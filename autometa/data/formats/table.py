"""Any table that names image files and their classes: csv, tsv, or json lines.

Paths are relative to the table's folder, or absolute and below it. Where several columns could be meant, the name that
comes first below counts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from autometa.data.errors import DataError
from autometa.data.formats.archives import climbs
from autometa.data.formats.limits import MEMBERS
from autometa.data.formats.parted import fingerprint, parted_classes
from autometa.data.formats.rows import csv_rows, decode, read_bytes
from autometa.data.formats.sources import PARTS, ImageFile, ImageSource, SourceDataset
from autometa.data.names import NormalisedPaths, composed

FORMAT = "table"
SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")
FILE = "filename file_name file filepath file_path path image_path image_file image_name image img_path img".split()
LABEL = "label class class_name category species label_name class_id target".split()
PART = "split part set subset partition".split()
PART_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_PART_OF = {name: part for part, names in PART_NAMES.items() for name in names}
MISSING = ("nan", "<na>", "nat", "#n/a", "null")
"""What programs write where a label is missing."""
_PEEK = 1 << 16


@dataclass(frozen=True)
class Row:
    """One image: `place` says where it was named, `part` is "" where the table has none."""

    place: str
    file: str
    label: str
    part: str


def detect(path: Path) -> SourceDataset | None:
    """The set that a table names, or that the only such table of a folder names; None for anything else.

    A folder may also have one table per part, such as train.csv and test.csv.

    Raises `DataError` where a table has no column of files or labels, is empty or damaged; a row is incomplete, repeats
    a file or leads out of the folder; files are missing; or a folder has several tables.
    """
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        folder, tables = path.parent, [path]
    elif path.is_dir():
        folder, tables = path, _tables(path)
    else:
        return None
    if not tables:
        return None
    rows = [
        row
        for table in tables
        for row in read_rows(str(table), read_bytes(table), _part_of(table) if len(tables) > 1 else "", folder)
    ]
    files = NormalisedPaths(folder)

    def find(name: str) -> tuple[ImageFile, tuple]:
        file = files.find(name)
        state = file.stat()
        if not file.is_file():
            raise OSError
        return ImageFile(file), (state.st_size, state.st_mtime_ns)

    parts, states = located(rows, find, f"below {folder} as the table says")
    for part in ("train", "test"):
        if parts.keys() != {""} and part not in parts:
            raise DataError(f"{path} has no {part} classes; give some of its classes that part, or no parts at all")
    counts = " / ".join(str(len({composed(name) for name in parts.get(part, {})})) for part in PARTS)
    called = ", ".join(table.name for table in tables)
    return SourceDataset(
        format=FORMAT,
        name=folder.absolute().name,
        path=path,
        classes=parted_classes(parts),
        split="" if "" in parts else f"{counts} classes as in {called}",
        variant="colour",
        fingerprint=fingerprint([FORMAT, *((row.file, row.label, row.part) for row in rows), *states]),
    )


def _tables(folder: Path) -> list[Path]:
    """The tables of a folder that name files and labels: one, or one per part."""
    try:
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
    except OSError as error:
        raise DataError(f"{folder} cannot be listed ({error}); check its permissions") from error
    tables = [file for file in files if not file.name.startswith(".") and _has_columns(file)]
    parts = [_part_of(table) for table in tables]
    if len(tables) > 1 and (not all(parts) or len(set(parts)) < len(parts)):
        names = ", ".join(table.name for table in tables)
        raise DataError(f"{folder} has several tables of images ({names}); name the one you mean")
    return tables


def _part_of(table: Path) -> str:
    return _PART_OF.get(table.stem.lower(), "")


def _has_columns(table: Path) -> bool:
    try:
        with open(table, "rb") as file:
            text = file.read(_PEEK).decode("utf-8-sig", errors="replace")
    except OSError:
        return False
    line = next((line for line in text.splitlines() if line.strip()), "")
    try:
        columns = list(json.loads(line)) if _is_json(table.name) else line.split(_delimiter(table.name, line))
    except (ValueError, TypeError, RecursionError):
        return False
    columns = [column.strip().strip('"') for column in columns if isinstance(column, str)]
    return _column(columns, FILE) is not None and _column(columns, LABEL) is not None


def _is_json(table: str) -> bool:
    return table.lower().endswith((".jsonl", ".ndjson"))


def _delimiter(table: str, header: str) -> str:
    """A tab, a comma, or the semicolon that spreadsheets write where the comma is the decimal sign."""
    if table.lower().endswith(".tsv"):
        return "\t"
    return ";" if ";" in header and "," not in header else ","


def _column(columns: Sequence[str], names: Sequence[str]) -> int | None:
    plain = [column.strip().lower().replace(" ", "_").replace("-", "_") for column in columns]
    return next((plain.index(name) for name in names if name in plain), None)


def read_rows(table: str, content: bytes, part: str, folder: Path | None) -> list[Row]:
    """The rows of a table of this name, in `part` where they say none. folder: what absolute paths lead into.

    Raises `DataError` where it has no column of files or labels, is empty or damaged, or a row is incomplete.
    """
    text = decode(content, table)
    records = _json_records(table, text) if _is_json(table) else _csv_records(table, text)
    rows = [
        Row(place, _clean(place, file, folder), _label(place, label), _part(place, own) if own is not None else part)
        for place, file, label, own in records
    ]
    if not rows:
        raise DataError(f"{table} lists no image; add one row per image with its file and label")
    return rows


def located(
    rows: Sequence[Row], find: Callable[[str], tuple[ImageSource, tuple]], where: str
) -> tuple[dict[str, dict[str, list[ImageSource]]], list[tuple]]:
    """{part: {label: images}} of rows, and the state of each image. find: image and state of a name; where: the place
    that missing images are to be put into.

    Raises `DataError` where images are missing, or one is listed twice in a part or under two labels.
    """
    known: dict[ImageSource, Row] = {}
    parts: dict[str, dict[str, list[ImageSource]]] = {}
    states, missing = [], []
    for row in rows:
        try:
            image, state = find(row.file)
        except (OSError, ValueError, LookupError):
            missing.append(row)
            continue
        before = known.setdefault(image, row)
        if before is not row and (before.part == row.part or before.label != row.label):
            also = f", as {before.label!r} and {row.label!r}" if before.label != row.label else ""
            raise DataError(f"{row.place}: {row.file} was listed before{also} ({before.place}); keep one of the rows")
        parts.setdefault(row.part, {}).setdefault(row.label, []).append(image)
        states.append(state)
    if missing:
        raise DataError(
            f"{len(missing)} of the {len(rows)} images are missing, the first is {missing[0].file!r} "
            f"({missing[0].place}); put them {where}"
        )
    return parts, states


def _chosen(table: str, columns: Sequence[str]) -> tuple[int, int, int | None]:
    """The columns of files, labels and parts."""
    chosen = [_column(columns, names) for names in (FILE, LABEL, PART)]
    for index, names, meaning in zip(chosen, (FILE, LABEL), ("image files", "labels"), strict=False):
        if index is None:
            there = ", ".join(columns)[:200]
            raise DataError(
                f"{table} has no column of {meaning} but {there!r}; name it one of {', '.join(names)} in the first line"
            )
    for index in chosen:
        if index is not None and list(columns).count(columns[index]) > 1:
            raise DataError(f"{table} has two columns {columns[index]!r}; rename one of them")
    return tuple(chosen)


def _csv_records(table: str, text: str) -> Iterator[tuple[str, object, object, object]]:
    header = next((line for line in text.splitlines() if line.strip()), "")
    rows = csv_rows(text, table, _delimiter(table, header))
    _, columns = next(rows, (0, []))
    if not columns:
        raise DataError(f"{table} is empty; its first line names the columns, such as `filename,label`")
    file, label, part = _chosen(table, columns)
    for line, cells in rows:
        place = f"{table}, line {line}"
        if len(cells) != len(columns):
            raise DataError(f"{place}: {len(cells)} cells under {len(columns)} columns; mend that row")
        yield place, cells[file], cells[label], None if part is None else cells[part]


def _json_records(table: str, text: str) -> Iterator[tuple[str, object, object, object]]:
    keys = None
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        place = f"{table}, line {number}"
        if number > MEMBERS:
            raise DataError(f"{place}: no table of images has so many rows; divide or mend it")
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{place}: no json ({error}); write one object per line") from error
        if not isinstance(record, dict):
            raise DataError(f"{place}: a {type(record).__name__} instead of an object; write one object per line")
        if keys is None:
            columns = list(record)
            keys = [None if index is None else columns[index] for index in _chosen(table, columns)]
        lacking = [key for key in keys if key is not None and key not in record]
        if lacking:
            raise DataError(f"{place}: {lacking[0]!r} is missing; mend that line")
        file, label, part = (None if key is None else record[key] for key in keys)
        yield place, file, label, "" if keys[2] is not None and part is None else part


def _clean(place: str, file: object, folder: Path | None) -> str:
    """A relative path within the table's folder, with slashes; an absolute one may lead there too."""
    if not isinstance(file, str) or not file.strip():
        raise DataError(f"{place}: {file!r} is no file name; mend that row")
    name = file.strip().replace("\\", "/")
    if climbs(name):
        name = _below(name, folder) if folder else None
        if name is None:
            raise DataError(f"{place}: {file!r} is not below the table's folder; write paths relative to that folder")
    return str(PurePosixPath(name))


def _below(name: str, folder: Path) -> str | None:
    """The path relative to the folder of one that is absolute or climbs; None where it leads out of the folder."""
    if "\0" in name or (name[1:2] == ":" and os.name != "nt"):
        return None
    lexical = Path(os.path.normpath(folder.absolute() / name))
    for path, home in ((lexical, folder.absolute()), (lexical.parent.resolve() / lexical.name, folder.resolve())):
        if path.is_relative_to(home):
            return path.relative_to(home).as_posix()
    return None


def _label(place: str, label: object) -> str:
    text = str(label).strip() if type(label) in (str, int) else ""
    if not text or not text.isprintable() or text.lower() in MISSING:
        raise DataError(f"{place}: {ascii(label)} is no label; write a word or a whole number")
    return text


def _part(place: str, part: object) -> str:
    name = part.strip().lower() if isinstance(part, str) else ""
    if name not in _PART_OF:
        raise DataError(f"{place}: {ascii(part)} is no part; write {', '.join(PARTS)}")
    return _PART_OF[name]
