"""The ledger of a search: every candidate, its state, scores and cost, in one SQLite file of the run folder.

A level is cut into batches once, in the order in which its candidates were proposed, so which candidates train side by
side never depends on who trains them. Workers claim batches for the length of a lease, renew it, and finish them; a
batch whose lease ran out is handed out again, and the first outcomes that arrive count.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autometa.brief import brief
from autometa.errors import InputError
from autometa.runs.files import shown
from autometa.runs.ledger_file import LedgerFile

LEDGER = "ledger.sqlite"
"""Name of the file in a run folder."""
ATTEMPTS = 3
STATES = ("waiting", "claimed", "done", "failed")

Entry = tuple[str, float | None, float | None]
"""A candidate's key, and mean and standard deviation of its predicted accuracy, None where nothing predicted it."""


@dataclass(frozen=True)
class Batch:
    """A claim: candidates to train side by side; `attempt` counts from 1."""

    id: int
    level: int
    place: int
    keys: tuple[str, ...]
    worker: str
    attempt: int


@brief
@dataclass(frozen=True)
class Candidate:
    """What the ledger knows of a candidate; numbers are None until it is done.

    state: waiting, claimed, done or failed. accuracy, interval: means over the seeds in `scores` (seed -> accuracy).
    seconds: its share of the batch's time. worker, attempts: who claimed its batch last, and how many did.
    """

    key: str
    level: int
    place: int
    batch: int
    state: str
    predicted_mean: float | None
    predicted_std: float | None
    accuracy: float | None
    interval: float | None
    parameters: int | None
    macs: int | None
    seconds: float | None
    worker: str | None
    attempts: int
    failure: str | None
    scores: Mapping[int, float]


@dataclass(frozen=True)
class Level:
    """A level and how many of its batches are in which state."""

    level: int
    candidates: int
    batches: Mapping[str, int]

    @property
    def finished(self) -> bool:
        return not (self.batches["waiting"] or self.batches["claimed"])


class Ledger:
    """A connection to the ledger of one run, for one thread; any number of processes may have one.

    Methods raise `DiskError` where the file cannot be written (full disk, lock that stays, network file system), and
    `InputError` where it is damaged; what was recorded before stays.
    """

    def __init__(self, file: LedgerFile, clock: Callable[[], float]) -> None:
        self._file, self._clock = file, clock

    @classmethod
    def open(cls, path: str | os.PathLike, create: bool = True, clock: Callable[[], float] = time.time) -> Ledger:
        """The ledger at `path`, made where it is missing and `create` is set; `clock` in seconds, for leases.

        Raises `InputError` where the file is missing, damaged, something else, or of another version.
        """
        path = Path(path)
        if not create and not path.is_file():
            raise InputError(f"there is no ledger {shown(path)}; a run writes one when its search begins")
        if not path.parent.is_dir():
            raise InputError(f"there is no folder {shown(path.parent)} to keep a ledger in")
        return cls(LedgerFile(path, create), clock)

    @property
    def path(self) -> Path:
        return self._file.path

    def close(self) -> None:
        """Close this connection; nothing is lost without it."""
        self._file.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def advice(self) -> str:
        """What to do where the file lies on a disk that machines share, empty elsewhere."""
        return self._file.advice()

    def propose(self, level: int, entries: Sequence[Entry], batch: int) -> None:
        """Cut a level into batches of at most `batch` candidates, in order; once and for all.

        The same keys in the same order and batch size again change nothing (the predictions noted first stay).
        Raises `InputError` where the level was proposed otherwise, or a key twice or at another level.
        """
        if batch < 1 or not entries:
            raise InputError(
                f"level {level} needs candidates and batches of at least 1, not {len(entries)} and {batch}"
            )
        keys = [key for key, _, _ in entries]
        double = [key for key, count in Counter(keys).items() if count > 1]
        if double:
            raise InputError(f"level {level} proposes {double[0]} twice")
        fingerprint = hashlib.sha256(json.dumps([batch, keys]).encode()).hexdigest()
        with self._file.write() as db:
            known = db.execute("SELECT fingerprint, candidates FROM levels WHERE level = ?", (level,)).fetchone()
            if known is not None:
                if known["fingerprint"] == fingerprint:
                    return
                raise InputError(
                    f"level {level} stands in {shown(self.path)} with {known['candidates']} candidates, cut otherwise "
                    "than now; settings of a run cannot change while it goes on: begin a new one"
                )
            db.execute("INSERT INTO levels VALUES (?, ?, ?, ?)", (level, len(keys), fingerprint, self._clock()))
            for number, start in enumerate(range(0, len(keys), batch)):
                made = db.execute("INSERT INTO batches (level, place) VALUES (?, ?)", (level, number)).lastrowid
                for place, (key, mean, std) in enumerate(entries[start : start + batch], start):
                    taken = db.execute("SELECT level FROM candidates WHERE key = ?", (key,)).fetchone()
                    if taken is not None:
                        raise InputError(f"{key} was proposed at level {taken['level']} already, now at {level}")
                    row = (key, level, place, made, _number(mean), _number(std))
                    columns = "key, level, place, batch, predicted_mean, predicted_std"
                    db.execute(f"INSERT INTO candidates ({columns}) VALUES (?, ?, ?, ?, ?, ?)", row)

    def claim(self, worker: str, lease_seconds: float) -> Batch | None:
        """The next batch that waits or whose lease ran out, in order; None where there is none now.

        A batch that was claimed `ATTEMPTS` times without an end is marked failed and passed over.
        """
        with self._file.write(durable=False) as db:
            while True:
                now = self._clock()
                found = db.execute(
                    "SELECT * FROM batches WHERE state IN ('waiting', 'claimed') "
                    "AND (state = 'waiting' OR lease_until <= ?) ORDER BY level, place LIMIT 1",
                    (now,),
                ).fetchone()
                if found is None:
                    return None
                if found["attempts"] < ATTEMPTS:
                    break
                last = f"; {found['failure']}" if found["failure"] else ""
                self._mark_failed(db, found["id"], f"given up: {ATTEMPTS} workers began it and none ended it{last}")
            attempt = found["attempts"] + 1
            db.execute(
                "UPDATE batches SET state = 'claimed', worker = ?, lease_until = ?, attempts = ?, "
                "begun = coalesce(begun, ?) WHERE id = ?",
                (worker, now + lease_seconds, attempt, now, found["id"]),
            )
            rows = db.execute("SELECT key FROM candidates WHERE batch = ? ORDER BY place", (found["id"],))
            keys = tuple(row["key"] for row in rows)
        return Batch(found["id"], found["level"], found["place"], keys, worker, attempt)

    def renew(self, worker: str, lease_seconds: float) -> tuple[int, ...]:
        """Extend a worker's leases; the ids of the batches that are still its own."""
        with self._file.write(durable=False) as db:
            until = self._clock() + lease_seconds
            mine = "worker = ? AND state = 'claimed'"
            db.execute(f"UPDATE batches SET lease_until = ? WHERE {mine}", (until, worker))
            return tuple(row["id"] for row in db.execute(f"SELECT id FROM batches WHERE {mine} ORDER BY id", (worker,)))

    def finish(self, batch: Batch, outcomes: Sequence[Mapping[str, Any]]) -> bool:
        """Record a batch's outcomes; True where they count, or did before: a second call changes nothing.

        False, and nothing recorded, where another claim of the batch was finished or it was given up. The first
        outcomes count even where their lease had run out. An outcome is a mapping with `key`, and either `accuracy`
        (with `interval`, `seed`) or `failure` (why there is none); `parameters`, `macs`, `seconds` in both cases. A
        candidate that was trained with several seeds has several outcomes.

        Raises `InputError` unless the outcomes are those of exactly the batch's candidates.
        """
        of_key: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for outcome in outcomes:
            of_key[outcome["key"]].append(outcome)
        if set(of_key) != set(batch.keys):
            wrong = sorted(set(of_key) ^ set(batch.keys))[0]
            raise InputError(f"the outcomes of batch {batch.id} are not those of its candidates: see {wrong}")
        with self._file.write() as db:
            row = self._row(db, batch)
            if row["state"] in ("done", "failed"):
                return row["state"] == "done" and _same_claim(row, batch)
            for key in batch.keys:
                self._record(db, key, of_key[key])
            db.execute(
                "UPDATE batches SET state = 'done', worker = ?, attempts = max(attempts, ?), lease_until = NULL, "
                "failure = NULL, ended = ? WHERE id = ?",
                (batch.worker, batch.attempt, self._clock(), batch.id),
            )
        return True

    def fail(self, batch: Batch, reason: str, again: bool = False) -> bool:
        """Mark a batch and its candidates failed, or with `again` hand it out once more while attempts are left.

        False, and nothing changed, where the claim is no longer the batch's.
        """
        reason = " ".join(reason.split())[:500]
        with self._file.write() as db:
            row = self._row(db, batch)
            if row["state"] == "failed" and _same_claim(row, batch):
                return True
            if row["state"] != "claimed" or not _same_claim(row, batch):
                return False
            if again and row["attempts"] < ATTEMPTS:
                self._wait_again(db, "id = ?", (batch.id,), reason)
            else:
                self._mark_failed(db, batch.id, reason)
        return True

    def release(self, worker: str) -> int:
        """Hand a worker's batches out again, as if it had never claimed them; how many there were."""
        with self._file.write(durable=False) as db:
            mine = ("worker = ? AND state = 'claimed'", (worker,))
            db.execute(f"UPDATE batches SET attempts = attempts - 1 WHERE {mine[0]}", mine[1])
            return self._wait_again(db, *mine, None)

    def lost(self, worker: str, reason: str) -> int:
        """Hand out the batches of a worker that is gone; the attempts count. How many there were."""
        with self._file.write(durable=False) as db:
            return self._wait_again(db, "worker = ? AND state = 'claimed'", (worker,), " ".join(reason.split())[:500])

    def holders(self) -> tuple[str, ...]:
        """Who holds a batch now."""
        rows = self._file.read("SELECT DISTINCT worker FROM batches WHERE state = 'claimed' ORDER BY worker")
        return tuple(row["worker"] for row in rows)

    def outcomes(self, level: int | None = None) -> list[Candidate]:
        """All candidates, or those of a level, in the order in which they were proposed."""
        rows = self._file.read(
            "SELECT c.key, c.level, c.place, c.batch, coalesce(c.state, b.state) AS state, c.predicted_mean, "
            "c.predicted_std, c.accuracy, c.interval, c.parameters, c.macs, c.seconds, b.worker, b.attempts, c.failure "
            "FROM candidates c JOIN batches b ON b.id = c.batch WHERE ?1 IS NULL OR c.level = ?1 "
            "ORDER BY c.level, c.place",
            (level,),
        )
        scores: dict[str, dict[int, float]] = defaultdict(dict)
        for row in self._file.read("SELECT key, seed, accuracy FROM scores ORDER BY key, seed"):
            scores[row["key"]][row["seed"]] = row["accuracy"]
        return [Candidate(**row, scores=scores.get(row["key"], {})) for row in map(dict, rows)]

    def levels(self) -> list[Level]:
        """All levels proposed so far, in order."""
        counts: dict[int, dict[str, int]] = defaultdict(lambda: dict.fromkeys(STATES, 0))
        for row in self._file.read("SELECT level, state, count(*) AS n FROM batches GROUP BY level, state"):
            counts[row["level"]][row["state"]] = row["n"]
        rows = self._file.read("SELECT level, candidates FROM levels ORDER BY level")
        return [Level(row["level"], row["candidates"], counts[row["level"]]) for row in rows]

    def unfinished(self) -> int:
        """Batches that wait or are claimed."""
        query = "SELECT count(*) AS n FROM batches WHERE state IN ('waiting', 'claimed')"
        return self._file.read(query)[0]["n"]

    def _row(self, db, batch: Batch):
        row = db.execute("SELECT * FROM batches WHERE id = ?", (batch.id,)).fetchone()
        if row is None:
            raise InputError(f"{shown(self.path)} has no batch {batch.id}; it is of another run")
        return row

    def _record(self, db, key: str, outcomes: Sequence[Mapping[str, Any]]) -> None:
        """A candidate's end: the mean over its seeds, or the first failure."""
        failure = next((str(o["failure"]) for o in outcomes if o.get("failure")), None)
        measured = [_number(o.get("accuracy")) for o in outcomes]
        if failure is None and None in measured:
            failure = "its accuracy is no finite number"
        first, accuracy, interval = outcomes[0], None, None
        if failure is None:
            accuracy = sum(measured) / len(measured)
            widths = [_number(o.get("interval")) for o in outcomes]
            if None not in widths:  # seeds are independent: half-widths add up in squares
                interval = math.sqrt(sum(w * w for w in widths)) / len(widths)
            for outcome, score in zip(outcomes, measured, strict=True):
                row = (key, int(outcome.get("seed", 0)), score, _number(outcome.get("interval")))
                db.execute("INSERT INTO scores VALUES (?, ?, ?, ?)", row)
        seconds = [_number(o.get("seconds")) for o in outcomes]
        db.execute(
            "UPDATE candidates SET state = ?, accuracy = ?, interval = ?, parameters = ?, macs = ?, seconds = ?, "
            "failure = ? WHERE key = ?",
            (
                "done" if failure is None else "failed",
                accuracy,
                interval,
                first.get("parameters"),
                first.get("macs"),
                None if None in seconds else sum(seconds),
                failure and " ".join(failure.split())[:500],
                key,
            ),
        )

    def _mark_failed(self, db, batch: int, reason: str) -> None:
        values = (reason, self._clock(), batch)
        db.execute(
            "UPDATE batches SET state = 'failed', failure = ?, lease_until = NULL, ended = ? WHERE id = ?", values
        )
        db.execute("UPDATE candidates SET state = 'failed', failure = ? WHERE batch = ?", (reason, batch))

    @staticmethod
    def _wait_again(db, which: str, values: tuple, reason: str | None) -> int:
        """The worker's name stays: the next claim replaces it, until then it says who was last."""
        query = "UPDATE batches SET state = 'waiting', lease_until = NULL, failure = coalesce(?, failure)"
        return db.execute(f"{query} WHERE {which}", (reason, *values)).rowcount


def _same_claim(row, batch: Batch) -> bool:
    return row["worker"] == batch.worker and row["attempts"] == batch.attempt


def _number(value: float | None) -> float | None:
    """SQLite knows no nan; what is not finite is not known."""
    return None if value is None or not math.isfinite(value) else float(value)
