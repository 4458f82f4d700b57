"""The SQLite file under a ledger: schema, transactions, and errors in words."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from autometa.errors import AutometaError, DiskError, InputError
from autometa.runs.files import shown

SCHEMA = 2
APPLICATION = 0x616D6C67
PATIENCE = 60.0
"""Seconds to wait for other processes' transactions, each of which takes milliseconds."""

NETWORKED = ("nfs", "cifs", "smb", "lustre", "gpfs", "beegfs", "ceph", "afs", "fuse.sshfs", "fuse.glusterfs", "9p")
"""Beginnings of the names of file systems that several machines share."""

_LEVEL_TABLE = """
CREATE TABLE levels (
    level INTEGER PRIMARY KEY, candidates INTEGER NOT NULL, fingerprint TEXT NOT NULL, proposed REAL NOT NULL
);
"""
_TABLES = f"""{_LEVEL_TABLE}CREATE TABLE batches (
    id INTEGER PRIMARY KEY, level INTEGER NOT NULL REFERENCES levels, place INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'claimed', 'reported', 'done', 'failed')),
    first INTEGER NOT NULL DEFAULT 0, until INTEGER, keep INTEGER NOT NULL DEFAULT 0,
    worker TEXT, lease_until REAL, attempts INTEGER NOT NULL DEFAULT 0, failure TEXT, begun REAL, ended REAL,
    UNIQUE (level, place)
);
CREATE INDEX unfinished ON batches (level, place) WHERE state IN ('waiting', 'claimed');
CREATE TABLE trials (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, level INTEGER NOT NULL, place INTEGER NOT NULL,
    batch INTEGER NOT NULL REFERENCES batches, fidelity INTEGER, parent INTEGER REFERENCES trials,
    predicted_mean REAL, predicted_std REAL,
    state TEXT CHECK (state IN ('done', 'failed', 'paused', 'stopped')), step INTEGER NOT NULL DEFAULT 0,
    accuracy REAL, interval REAL, parameters INTEGER, macs INTEGER, seconds REAL, failure TEXT, checkpoint TEXT,
    UNIQUE (level, place)
);
CREATE INDEX of_batch ON trials (batch, place);
CREATE INDEX of_key ON trials (key);
CREATE TABLE reports (
    trial INTEGER NOT NULL REFERENCES trials, step INTEGER NOT NULL, seed INTEGER NOT NULL, value REAL NOT NULL,
    interval REAL, PRIMARY KEY (trial, step, seed)
);
"""

_TABLES_1 = f"""{_LEVEL_TABLE}CREATE TABLE batches (
    id INTEGER PRIMARY KEY, level INTEGER NOT NULL REFERENCES levels, place INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'claimed', 'done', 'failed')),
    worker TEXT, lease_until REAL, attempts INTEGER NOT NULL DEFAULT 0, failure TEXT, begun REAL, ended REAL,
    UNIQUE (level, place)
);
CREATE INDEX unfinished ON batches (level, place) WHERE state IN ('waiting', 'claimed');
CREATE TABLE candidates (
    key TEXT PRIMARY KEY, level INTEGER NOT NULL, place INTEGER NOT NULL,
    batch INTEGER NOT NULL REFERENCES batches, predicted_mean REAL, predicted_std REAL,
    state TEXT CHECK (state IN ('done', 'failed')), accuracy REAL, interval REAL, parameters INTEGER, macs INTEGER,
    seconds REAL, failure TEXT, UNIQUE (level, place)
);
CREATE INDEX of_batch ON candidates (batch, place);
CREATE TABLE scores (
    key TEXT NOT NULL REFERENCES candidates, seed INTEGER NOT NULL, accuracy REAL NOT NULL, interval REAL,
    PRIMARY KEY (key, seed)
);
"""
"""Of version 1, which knew full trainings alone: one of each architecture."""

_BATCH_1 = "id, level, place, state, worker, lease_until, attempts, failure, begun, ended"
_TRIAL_1 = (
    "key, level, place, batch, predicted_mean, predicted_std, state, accuracy, interval, parameters, macs, seconds, "
    "failure"
)
_FROM_1 = f"""
DROP INDEX unfinished;
DROP INDEX of_batch;
ALTER TABLE batches RENAME TO batches_1;
ALTER TABLE candidates RENAME TO candidates_1;
ALTER TABLE scores RENAME TO scores_1;
{_TABLES[_TABLES.index("CREATE TABLE batches") :]}
INSERT INTO batches ({_BATCH_1}) SELECT {_BATCH_1} FROM batches_1;
INSERT INTO trials (id, {_TRIAL_1}) SELECT row_number() OVER (ORDER BY level, place) - 1, {_TRIAL_1} FROM candidates_1;
INSERT INTO reports SELECT t.id, 0, s.seed, s.accuracy, s.interval FROM scores_1 s JOIN trials t ON t.key = s.key;
DROP TABLE scores_1;
DROP TABLE candidates_1;
DROP TABLE batches_1;
PRAGMA user_version = {SCHEMA}
"""

_APART = "levels, batches and trials in it do not belong together"
_LEVELS, _WHOLE, _LARGE, _LONG = 10_000, 1 << 53, 1e39, 10_000


def _not(kind: str, column: str, empty: bool) -> str:
    """SQL for "this column holds no such value"; empty: it may be NULL."""
    right = {
        "text": f"typeof({column}) = 'text' AND length({column}) <= {_LONG}",
        "whole": f"typeof({column}) = 'integer' AND {column} BETWEEN 0 AND {_WHOLE}",
        "number": f"typeof({column}) IN ('integer', 'real') AND abs({column}) <= {_LARGE}",
    }[kind]
    return f"NOT ({f'{column} IS NULL OR ' if empty else ''}({right}))"


def _wrong(columns: Mapping[str, str], more: str = "") -> str:
    """SQL that holds of a row with a value of the wrong kind; `number?` may be NULL."""
    found = [_not(kind.rstrip("?"), column, kind.endswith("?")) for column, kind in columns.items()]
    return " OR ".join([*found, more] if more else found)


_WRONG = {
    "levels": _wrong(
        {"level": "whole", "candidates": "whole", "fingerprint": "text", "proposed": "number"},
        f"level NOT BETWEEN 1 AND {_LEVELS}",
    ),
    "batches": _wrong(
        dict.fromkeys(("id", "level", "place", "attempts", "first", "keep"), "whole")
        | dict.fromkeys(("lease_until", "begun", "ended"), "number?")
        | {"until": "whole?", "worker": "text?", "failure": "text?"},
        "state NOT IN ('waiting', 'claimed', 'reported', 'done', 'failed') "
        "OR (state = 'claimed' AND (worker IS NULL OR lease_until IS NULL))",
    ),
    "trials": _wrong(
        dict.fromkeys(("id", "level", "place", "batch", "step"), "whole")
        | dict.fromkeys(("predicted_mean", "predicted_std", "accuracy", "interval", "seconds"), "number?")
        | dict.fromkeys(("fidelity", "parent", "parameters", "macs"), "whole?")
        | {"key": "text", "failure": "text?", "checkpoint": "text?"},
        "(state IS NOT NULL AND state NOT IN ('done', 'failed', 'paused', 'stopped')) "
        "OR (state IS NOT NULL AND state != 'failed' AND accuracy IS NULL) OR parent >= id",
    ),
    "reports": _wrong(dict.fromkeys(("trial", "step", "seed"), "whole") | {"value": "number", "interval": "number?"}),
}


def _words(sql: str) -> str:
    return " ".join(sql.split())


def _run(db: sqlite3.Connection, script: str) -> None:
    """Statement by statement, within the transaction that is open."""
    for statement in script.split(";"):
        db.execute(statement)


class LedgerFile:
    """One connection to the file, of one thread; a forked child gets a connection of its own when it first asks.

    create: make the tables where they are missing, and those of version 1 anew; else a file of version 1 is read from a
    copy in memory and stays as it is. Raises `InputError` for any other file, `DiskError`.
    """

    def __init__(self, path: Path, create: bool) -> None:
        self.path = path
        self._process, self._copied = os.getpid(), False
        self._inherited: list[sqlite3.Connection] = []
        with self.explained():
            self._db = self._connected()
            self._prepare(create)

    @property
    def db(self) -> sqlite3.Connection:
        if self._process != os.getpid() and not self._copied:
            self._inherited.append(self._db)  # closing it here would drop the parent's locks
            self._process, self._db = os.getpid(), self._connected()
        return self._db

    def _connected(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA foreign_keys = ON")
        return db

    def _prepare(self, create: bool) -> None:
        if create and self._version() == (0, 0) and not self._tables():
            self._begin_log()
            with self.write() as db:
                if self._version() == (0, 0):  # not made by another process meanwhile
                    _run(db, _TABLES)
                    db.execute(f"PRAGMA application_id = {APPLICATION}")
                    db.execute(f"PRAGMA user_version = {SCHEMA}")
        application, version = self._version()
        if application != APPLICATION:
            raise InputError(f"{shown(self.path)} is no ledger of autometa")
        if version == 1:
            self._migrate(create)
        elif version != SCHEMA:
            raise InputError(
                f"{shown(self.path)} was written by another version of autometa (schema {version}, this one reads 1 "
                f"and {SCHEMA}); go on with that version, or begin a new run"
            )
        self._check()

    def _migrate(self, create: bool) -> None:
        """Bring tables of version 1 to this one: in a copy first, which is checked, then in the file."""
        self._check_tables(_TABLES_1)
        file, self._db = self._db, sqlite3.connect(":memory:", isolation_level=None)
        file.backup(self._db)
        self._db.row_factory = sqlite3.Row
        try:
            _run(self._db, _FROM_1)
            self._check()
        except sqlite3.IntegrityError:
            raise self._damaged(_APART) from None
        if not create:
            self._copied = True
            file.close()
            return
        self._db = file
        with self.write() as db:
            if self._version()[1] == 1:  # not brought up by another process meanwhile
                _run(db, _FROM_1)

    def _check_tables(self, tables: str) -> None:
        """Raise `InputError` unless the file holds these tables and nothing else that could run."""
        made = {_words(row["sql"]) for row in self.db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
        if made != {_words(statement) for statement in tables.split(";") if statement.strip()}:
            raise self._damaged("its tables are not those that autometa makes")

    def _check(self) -> None:
        """Raise `InputError` unless the tables are ours and every value in them is of its column's type, which SQLite
        does not ask for."""
        self._check_tables(_TABLES)
        for name, wrong in _WRONG.items():
            row = self.db.execute(f"SELECT rowid AS number FROM {name} WHERE {wrong} LIMIT 1").fetchone()
            if row is not None:
                raise self._damaged(f"a value in row {row['number']} of its table {name} is of the wrong kind")
        unlike = self.db.execute(
            "SELECT level FROM levels l WHERE candidates != (SELECT count(*) FROM trials t WHERE t.level = l.level)"
        ).fetchone()
        lost = self.db.execute(
            "SELECT key FROM trials t LEFT JOIN batches b ON b.id = t.batch WHERE b.level IS NOT t.level"
        ).fetchone()
        unlike = unlike or self.db.execute("SELECT id FROM trials WHERE id >= (SELECT count(*) FROM trials)").fetchone()
        if unlike is not None or lost is not None:
            raise self._damaged(_APART)

    def _damaged(self, told: str) -> InputError:
        return InputError(
            f"the ledger {shown(self.path)} is damaged ({told}); put a copy back together with its -wal file, "
            f"or begin a new run{self.advice()}"
        )

    def _begin_log(self) -> None:
        """Write-ahead logging: readers never wait for writers. SQLite does not wait its turn here, so we do."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                mode = self.db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
                break
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        if mode != "wal":
            raise DiskError(f"cannot keep a ledger in {shown(self.path)}: no write-ahead log there{self.advice()}")

    def _version(self) -> tuple[int, int]:
        return tuple(self.db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))

    def _tables(self) -> int:
        return self.db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]

    @contextlib.contextmanager
    def write(self, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """A transaction that no other writer enters; afterwards all of it holds, or nothing.

        durable: it outlives a power cut (an fsync); else the death of every process alone, at a tenth of the time.
        """
        if self._copied:
            raise InputError(f"{shown(self.path)} is of an earlier version; go on with its run by --resume")
        with self.explained():
            db = self.db
            db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._begin(db)
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise

    @staticmethod
    def _begin(db: sqlite3.Connection) -> None:
        """Wait for our turn: SQLite's own waiting, ever longer naps, starves whoever comes late among many."""
        deadline = time.monotonic() + PATIENCE
        db.execute("PRAGMA busy_timeout = 0")
        try:
            while True:
                try:
                    db.execute("BEGIN IMMEDIATE")
                    return
                except sqlite3.OperationalError as error:
                    if "locked" not in str(error) or time.monotonic() > deadline:
                        raise
                    time.sleep(random.uniform(0.0005, 0.01))
        finally:
            db.execute(f"PRAGMA busy_timeout = {round(1000 * PATIENCE)}")

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Turn SQLite's errors into one sentence that says what to do."""
        try:
            yield
        except AutometaError:
            raise
        except sqlite3.IntegrityError:
            raise
        except sqlite3.DatabaseError as error:
            raise self._said(error) from error

    def _said(self, error: sqlite3.DatabaseError) -> AutometaError:
        where, told = shown(self.path), str(error)
        if "locked" in told or "busy" in told:
            return DiskError(
                f"the ledger {where} stayed locked by another process for {PATIENCE:.0f} s; look for a program "
                f"that has it open, then go on with --resume{self.advice()}"
            )
        if "full" in told:
            return DiskError(
                f"the disk of {where} is full; make room and go on with --resume: all that was recorded is there"
            )
        if "malformed" in told or "not a database" in told or "encrypted" in told:
            return self._damaged(told)
        if "readonly" in told or "unable to open" in told:
            return DiskError(f"cannot write the ledger {where}: {told}; check permissions of the file and its folder")
        return DiskError(f"cannot use the ledger {where}: {told}{self.advice()}")

    def advice(self) -> str:
        """What to do about a disk that several machines share; empty elsewhere."""
        kind = file_system(self.path)
        if not kind.startswith(NETWORKED):
            return ""
        return (
            f"; it lies on {kind}, where SQLite's locks and shared memory do not reach other machines: keep the run "
            "on a local disk (--out), and use several machines by --ray, where one process alone opens the ledger"
        )

    def read(self, query: str, values: Sequence = ()) -> list[sqlite3.Row]:
        """All rows of a query, as of one moment."""
        with self.explained():
            return self.db.execute(query, values).fetchall()

    def close(self) -> None:
        """Close the connection, unless it belongs to the process that this one was forked from."""
        with contextlib.suppress(sqlite3.Error):
            if self._process == os.getpid():
                self._db.close()


def file_system(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """The kind of file system that `path` lies on, such as ext4 or nfs4; empty where the system does not tell."""
    best, kind = "", ""
    try:
        home = os.path.realpath(path)
        for line in mounts.read_text(encoding="utf-8").splitlines():
            _, at, found, *_ = line.split(" ")
            at = at.replace("\\040", " ")
            if (home == at or home.startswith(at.rstrip("/") + "/")) and len(at) >= len(best):
                best, kind = at, found
    except (OSError, ValueError):
        return ""
    return kind
