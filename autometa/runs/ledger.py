"""The ledger of a search: every trial, its state, reports and cost, in one SQLite file of the run folder.

A level is cut into batches once, in the order in which its trials were proposed, so which of them train side by side
never depends on who trains them. Workers claim batches for the length of a lease, renew it, and finish them; a batch
whose lease ran out is handed out again, and the first outcomes that arrive count. A trial that is trained in parts
leaves a checkpoint beside the ledger, from which any worker goes on.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from autometa.errors import InputError
from autometa.runs.files import shown
from autometa.runs.ledger_file import LedgerFile
from autometa.runs.ledger_rows import SCORED, STATES, Batch, Candidate, Entry, Level
from autometa.runs.trial_files import TrialFiles

LEDGER = "ledger.sqlite"
"""Name of the file in a run folder."""
ATTEMPTS = 3


class Ledger:
    """A connection to the ledger of one run, for one thread; any number of processes may have one.

    Methods raise `DiskError` where the file cannot be written (full disk, lock that stays, network file system), and
    `InputError` where it is damaged; what was recorded before stays.
    """

    def __init__(self, file: LedgerFile, clock: Callable[[], float]) -> None:
        self._file, self._clock, self._checkpoints = file, clock, TrialFiles(file.path)

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

    def propose(self, level: int, entries: Sequence[Sequence], batch: int) -> None:
        """Cut a level into batches of at most `batch` trials, in order, of one length each; once and for all.

        entries: as of `Entry`, later fields left out at will. The same keys in the same order and batch size again
        change nothing (the predictions noted first stay). Raises `InputError` where the level was proposed otherwise, a
        key twice or, with the same fidelity and parent, at another level, or where a parent cannot be gone on from.
        """
        rows = [Entry(*entry) for entry in entries]
        if batch < 1 or not rows:
            raise InputError(f"level {level} needs candidates and batches of at least 1, not {len(rows)} and {batch}")
        keys = [row.key for row in rows]
        double = [key for key, count in Counter(keys).items() if count > 1]
        if double:
            raise InputError(f"level {level} proposes {double[0]} twice")
        parts = [[row.fidelity, row.parent] for row in rows if row.fidelity is not None or row.parent is not None]
        fingerprint = hashlib.sha256(json.dumps([batch, keys, *([parts] if parts else [])]).encode()).hexdigest()
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
            self._cut(db, level, rows, batch)

    def _cut(self, db: sqlite3.Connection, level: int, rows: Sequence[Entry], batch: int) -> None:
        """Make the trials of a level and their batches."""
        number = db.execute("SELECT count(*) FROM trials").fetchone()[0]
        firsts = [self._first(db, level, row) for row in rows]
        columns = "id, key, level, place, batch, fidelity, parent, predicted_mean, predicted_std, step"
        alike, made, filled = None, 0, 0
        made_for: int | None = None
        for place, (row, first) in enumerate(zip(rows, firsts, strict=True)):
            length = (first, row.until, row.fidelity, row.keep, row.parent is None)
            if length != alike or filled == batch:
                alike, filled = length, 0
                query = "INSERT INTO batches (level, place, first, until, keep) VALUES (?, ?, ?, ?, ?)"
                made_for = db.execute(query, (level, made, first, row.until, row.keep)).lastrowid
                made += 1
            filled += 1
            values: tuple[Any, ...] = (number + place, row.key, level, place, made_for, row.fidelity, row.parent)
            values += (_number(row.mean), _number(row.std), first)
            db.execute(f"INSERT INTO trials ({columns}) VALUES ({', '.join('?' * len(values))})", values)

    @staticmethod
    def _first(db: sqlite3.Connection, level: int, row: Entry) -> int:
        """Meta-iterations that a proposal's parent has done, 0 where that has another key."""
        query = "SELECT level FROM trials WHERE key = ? AND fidelity IS ? AND parent IS ?"
        taken = db.execute(query, (row.key, row.fidelity, row.parent)).fetchone()
        if taken is not None:
            raise InputError(f"{row.key} was proposed at level {taken['level']} already, now at {level}")
        if row.parent is None:
            return 0
        found = db.execute("SELECT key, state, step FROM trials WHERE id = ?", (row.parent,)).fetchone()
        if found is not None and found["key"] != row.key and found["state"] in SCORED:
            return 0
        right = found is not None and found["key"] == row.key and found["state"] == "paused"
        if not right or (row.until is not None and row.until <= found["step"]):
            raise InputError(f"{row.key} cannot go on from trial {row.parent}, no shorter training of it, paused")
        return found["step"]

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
            rows = db.execute(
                "SELECT t.id, t.key, t.step, t.checkpoint, p.id AS parent, p.step AS stood, p.checkpoint AS theirs "
                "FROM trials t LEFT JOIN trials p ON p.id = t.parent WHERE t.batch = ? AND t.state IS NULL "
                "ORDER BY t.place",
                (found["id"],),
            ).fetchall()
        keys, trials = (tuple(row[name] for row in rows) for name in ("key", "id"))
        starts = tuple(self._start(row) for row in rows)
        starts = starts if found["first"] or any(row["parent"] is not None for row in rows) else ()
        span = (trials, found["first"], found["until"], starts, bool(found["keep"]))
        return Batch(found["id"], found["level"], found["place"], keys, worker, attempt, *span)

    def _start(self, row: sqlite3.Row) -> bytes | None:
        """Where a trial goes on from: its own checkpoint, else its parent's."""
        own = ("id", "step", "checkpoint") if row["checkpoint"] else ("parent", "stood", "theirs")
        trial, step, digest = (row[name] for name in own)
        return None if digest is None else self._checkpoints.read((trial, step), digest)

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
        (with `interval`, `seed`, `step`) or `failure` (why there is none); `parameters`, `macs`, `seconds` in both
        cases; and `checkpoint`, bytes, where the trial may go on. A candidate that was trained with several seeds has
        several outcomes.

        Raises `InputError` unless the outcomes are those of exactly the batch's candidates.
        """
        of_key: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for outcome in outcomes:
            of_key[outcome["key"]].append(outcome)
        if set(of_key) != set(batch.keys):
            wrong = sorted(set(of_key) ^ set(batch.keys))[0]
            raise InputError(f"the outcomes of batch {batch.id} are not those of its candidates: see {wrong}")
        data: dict[tuple[int, int], bytes] = {}
        for trial, key in zip(batch.trials, batch.keys, strict=True):
            payload = of_key[key][0].get("checkpoint")
            if payload is not None and batch.keep:
                data[trial, _step(batch, of_key[key][0])] = payload
        with self._checkpoints.written(data) as made, self._file.write() as db:
            row = self._row(db, batch)
            if row["state"] in ("done", "failed", "reported") or row["first"] != batch.first:
                return row["state"] != "failed" and _same_claim(row, batch)
            self._checkpoints.keep(made)
            for trial, key in zip(batch.trials, batch.keys, strict=True):
                self._record(db, batch, trial, of_key[key], data)
            self._end(db, batch.id, batch.worker, batch.attempt)
        return True

    def _end(self, db: sqlite3.Connection, batch: int, worker: str, attempt: int) -> None:
        """Of a batch, or of a part of its training."""
        db.execute(
            "UPDATE batches SET state = CASE WHEN EXISTS (SELECT 1 FROM trials WHERE batch = ?1 AND state IS NULL) "
            "THEN 'reported' ELSE 'done' END, worker = ?2, attempts = max(attempts, ?3), lease_until = NULL, "
            "failure = NULL, ended = ?4 WHERE id = ?1",
            (batch, worker, attempt, self._clock()),
        )

    def reported(self) -> list[list[Candidate]]:
        """The trials of each batch that waits to be judged."""
        ids = [row["id"] for row in self._file.read("SELECT id FROM batches WHERE state = 'reported' ORDER BY id")]
        rows = self.outcomes() if ids else []
        return [[row for row in rows if row.batch == batch and row.state == "reported"] for batch in ids]

    def judge(self, batch: int, ended: Mapping[int, str], until: int | None) -> None:
        """Of a batch that was reported: these trials are `paused` or `stopped`, the others go on up to `until`."""
        with self._file.write() as db:
            row = db.execute("SELECT * FROM batches WHERE id = ? AND state = 'reported'", (batch,)).fetchone()
            if row is None:
                return
            for trial, state in ended.items():
                db.execute("UPDATE trials SET state = ? WHERE id = ? AND batch = ?", (state, trial, batch))
            self._end(db, batch, row["worker"], row["attempts"])
            db.execute(
                "UPDATE batches SET state = 'waiting', first = until, until = ?, attempts = 0 "
                "WHERE id = ? AND state = 'reported'",
                (until, batch),
            )

    def keep(self, trials: Collection[int]) -> None:
        """Remove the checkpoints of all other trials; for a time when nothing is claimed."""
        rows = self._file.read("SELECT id, step FROM trials WHERE checkpoint IS NOT NULL")
        self._checkpoints.only((row["id"], row["step"]) for row in rows if row["id"] in trials)

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
            "SELECT t.key, t.level, t.place, t.batch, coalesce(t.state, b.state) AS state, t.predicted_mean, "
            "t.predicted_std, t.accuracy, t.interval, t.parameters, t.macs, t.seconds, b.worker, b.attempts, "
            "t.failure, t.id, t.fidelity, t.parent, t.step FROM trials t JOIN batches b ON b.id = t.batch "
            "WHERE ?1 IS NULL OR t.level = ?1 ORDER BY t.level, t.place",
            (level,),
        )
        found: dict[int, dict[int, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
        for row in self._file.read("SELECT trial, step, seed, value FROM reports ORDER BY trial, step, seed"):
            found[row["trial"]][row["step"]][row["seed"]] = row["value"]
        return [Candidate(**row, **_reported(found.get(row["id"], {}))) for row in map(dict, rows)]

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

    def _row(self, db: sqlite3.Connection, batch: Batch) -> sqlite3.Row:
        row = db.execute("SELECT * FROM batches WHERE id = ?", (batch.id,)).fetchone()
        if row is None:
            raise InputError(f"{shown(self.path)} has no batch {batch.id}; it is of another run")
        return row

    def _record(
        self, db: sqlite3.Connection, batch: Batch, trial: int, outcomes: Sequence[Mapping], data: Mapping
    ) -> None:
        """What became of a trial: the mean over its seeds, or the first failure."""
        failure = next((str(o["failure"]) for o in outcomes if o.get("failure")), None)
        measured = [_number(o.get("accuracy")) for o in outcomes]
        scores = [score for score in measured if score is not None]
        if failure is None and len(scores) < len(measured):
            failure = "its accuracy is no finite number"
        first, accuracy, interval = outcomes[0], None, None
        step = _step(batch, first)
        checkpoint = data.get((trial, step))
        if failure is None:
            accuracy = sum(scores) / len(scores)
            widths = [w for o in outcomes if (w := _number(o.get("interval"))) is not None]
            if len(widths) == len(outcomes):  # seeds are independent: half-widths add up in squares
                interval = math.sqrt(sum(w * w for w in widths)) / len(widths)
            for outcome, score in zip(outcomes, scores, strict=True):
                row = (trial, step, int(outcome.get("seed", 0)), score, _number(outcome.get("interval")))
                db.execute("INSERT OR REPLACE INTO reports VALUES (?, ?, ?, ?, ?)", row)
        seconds = [taken for o in outcomes if (taken := _number(o.get("seconds"))) is not None]
        db.execute(
            "UPDATE trials SET state = CASE WHEN ?1 IS NOT NULL THEN 'failed' WHEN ?2 IS NULL THEN 'done' END, "
            "failure = ?1, step = ?3, accuracy = ?4, interval = ?5, "
            "parameters = ?6, macs = ?7, seconds = coalesce(seconds, 0) + ?8, checkpoint = ?9 WHERE id = ?10",
            (
                failure and " ".join(failure.split())[:500],
                batch.until,
                step,
                accuracy,
                interval,
                first.get("parameters"),
                first.get("macs"),
                None if len(seconds) < len(outcomes) else sum(seconds),
                None if checkpoint is None else hashlib.sha256(checkpoint).hexdigest(),
                trial,
            ),
        )

    def _mark_failed(self, db: sqlite3.Connection, batch: int, reason: str) -> None:
        values = (reason, self._clock(), batch)
        db.execute(
            "UPDATE batches SET state = 'failed', failure = ?, lease_until = NULL, ended = ? WHERE id = ?", values
        )
        db.execute("UPDATE trials SET state = 'failed', failure = ? WHERE batch = ? AND state IS NULL", (reason, batch))

    @staticmethod
    def _wait_again(db: sqlite3.Connection, which: str, values: tuple, reason: str | None) -> int:
        """The worker's name stays: the next claim replaces it, until then it says who was last."""
        query = "UPDATE batches SET state = 'waiting', lease_until = NULL, failure = coalesce(?, failure)"
        return db.execute(f"{query} WHERE {which}", (reason, *values)).rowcount


def _same_claim(row: sqlite3.Row, batch: Batch) -> bool:
    return row["worker"] == batch.worker and row["attempts"] == batch.attempt


def _number(value: float | None) -> float | None:
    """SQLite knows no nan; what is not finite is not known."""
    return None if value is None or not math.isfinite(value) else float(value)


def _step(batch: Batch, outcome: Mapping[str, Any]) -> int:
    """Meta-iterations done after a batch."""
    return batch.until or int(outcome.get("step") or 0)


def _reported(found: Mapping[int, Mapping[int, float]]) -> dict[str, Any]:
    """Scores by step and seed as `Candidate` holds them."""
    means = {step: sum(scores.values()) / len(scores) for step, scores in found.items()}
    return {"scores": found[max(found)] if found else {}, "reports": means}
