"""The file that a table grows in: one SQLite database, a row for each training, written a batch at a time."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from autometa.algorithms.table.spec import Job, TableSpec
from autometa.algorithms.table.training import Measured
from autometa.errors import AutometaError, DiskError, InputError
from autometa.runs.files import shown

FILE = "table.sqlite"
SCHEMA = 1
APPLICATION = 0x616D7462
PATIENCE = 60.0
"""Seconds to wait for another process's transaction."""

_COLUMNS = tuple(field.name for field in fields(Measured))
_TABLES = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE machines (id INTEGER PRIMARY KEY, told TEXT NOT NULL UNIQUE);
CREATE TABLE trainings (
    key TEXT NOT NULL, seed INTEGER NOT NULL, length INTEGER NOT NULL, machine INTEGER NOT NULL REFERENCES machines,
    right TEXT NOT NULL, losses TEXT NOT NULL, interval REAL, test_right INTEGER NOT NULL, test_interval REAL,
    parameters INTEGER NOT NULL, macs INTEGER NOT NULL, seconds REAL NOT NULL, failure TEXT,
    PRIMARY KEY (key, seed, length)
)
"""


class TableStore:
    """A connection to the file, for one process; readers may look while another process writes.

    Raises `InputError` where the file is something else or of another setting, `DiskError` where it cannot be written.
    """

    def __init__(self, path: Path, spec: TableSpec, create: bool = True) -> None:
        self.path, self.spec = path, spec
        if not create and not path.is_file():
            raise InputError(f"there is no {shown(path)}; autometa table build --out {shown(path.parent)} writes one")
        with self._explained():
            self._db = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
            self._db.row_factory = sqlite3.Row
            self._prepare()

    def _prepare(self) -> None:
        if not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            self._db.execute("PRAGMA journal_mode = WAL")
            with self._write() as db:
                for statement in _TABLES.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA application_id = {APPLICATION}")
                db.execute(f"PRAGMA user_version = {SCHEMA}")
                db.execute("INSERT INTO about VALUES ('fingerprint', ?)", (self.spec.fingerprint,))
        found = tuple(self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
        if found != (APPLICATION, SCHEMA):
            raise InputError(f"{shown(self.path)} is no table of this version of autometa")
        if self.about("fingerprint") != self.spec.fingerprint:
            raise InputError(f"{shown(self.path)} holds cells trained otherwise than {self.spec.name} trains them")

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> TableStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def about(self, name: str) -> str | None:
        """A fact about the table."""
        row = self._db.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()
        return None if row is None else row["value"]

    def tell(self, name: str, value: str) -> None:
        """Keep a fact about the table."""
        with self._write() as db:
            db.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (name, value))

    def add(self, found: Sequence[Measured], machine: Mapping[str, Any]) -> None:
        """Keep trainings, all or none; of one that is there already the first stays. machine: what they ran on."""
        marks = ", ".join("?" * (len(_COLUMNS) + 1))
        told = json.dumps(dict(machine), sort_keys=True)
        with self._write() as db:
            db.execute("INSERT OR IGNORE INTO machines (told) VALUES (?)", (told,))
            number = db.execute("SELECT id FROM machines WHERE told = ?", (told,)).fetchone()["id"]
            for row in found:
                values = [getattr(row, name) for name in _COLUMNS]
                values = [json.dumps(value) if isinstance(value, tuple) else value for value in values]
                db.execute(
                    f"INSERT OR IGNORE INTO trainings ({', '.join(_COLUMNS)}, machine) VALUES ({marks})",
                    (*values, number),
                )

    def done(self) -> set[Job]:
        """What has been trained."""
        return {tuple(row) for row in self._db.execute("SELECT key, seed, length FROM trainings")}

    def accuracy(self) -> dict[str, float]:
        """Right validation answers at the end of the first seed's training, by cell; -1 where it failed."""
        where = (self.spec.config.seed,)
        rows = self._db.execute("SELECT key, right FROM trainings WHERE seed = ? AND length = 1", where)
        return {row["key"]: json.loads(row["right"])[-1] for row in rows}

    def rows(self) -> list[tuple[Measured, dict[str, Any]]]:
        """All trainings, each with what it ran on, in the table's order."""
        place = {key: n for n, key in enumerate(self.spec.keys)}
        with self._explained():
            query = "SELECT t.*, m.told FROM trainings t JOIN machines m ON m.id = t.machine"
            rows = self._db.execute(query).fetchall()
        found = []
        for row in rows:
            values = {name: row[name] for name in _COLUMNS}
            for name in ("right", "losses"):
                values[name] = tuple(json.loads(values[name]))
            for name in ("interval", "test_interval"):
                values[name] = float("nan") if values[name] is None else values[name]
            found.append((Measured(**values), json.loads(row["told"])))
        return sorted(found, key=lambda pair: (pair[0].length, pair[0].seed, place[pair[0].key]))

    @contextlib.contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """A durable transaction: afterwards all of it holds, or nothing."""
        with self._explained():
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except AutometaError:
            raise
        except sqlite3.DatabaseError as error:
            what = f"cannot keep the table {shown(self.path)}: {error}"
            raise (DiskError if isinstance(error, sqlite3.OperationalError) else InputError)(what) from error
