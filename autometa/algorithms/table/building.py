"""Building a table: what is missing is trained, batch by batch, by this process or by several."""

from __future__ import annotations

import contextlib
import fcntl
import json
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from autometa import plugins
from autometa._version import __version__
from autometa.algorithms.table import packed
from autometa.algorithms.table.spec import PARTS, Job, TableSpec
from autometa.algorithms.table.store import FILE, TableStore
from autometa.algorithms.table.training import Measured, measure
from autometa.errors import AutometaError, InputError
from autometa.ops import backend
from autometa.runs.environment import cpu_model
from autometa.runs.files import disk_errors, say, shown
from autometa.train.tasks import Source, silent

SIDE_BY_SIDE = 10
"""Cells of a batch, of an ordinary training; of a longer one so many fewer, at least two."""
NICENESS = 19
"""Of worker processes: a table takes what others leave."""
WATCH_SECONDS = 2.0
LOCK = ".table.lock"


@dataclass(frozen=True)
class Batch:
    """Cells that are trained side by side."""

    keys: tuple[str, ...]
    seed: int
    length: int


def batches(jobs: Sequence[Job], side_by_side: int) -> list[Batch]:
    """The jobs in order, cut into batches of one seed and length each."""
    found = []
    for (seed, length), same in groupby(_by_seed(jobs), key=lambda job: job[1:]):
        keys, size = [key for key, _, _ in same], max(2, side_by_side // length) if length > 1 else side_by_side
        found += [Batch(tuple(keys[n : n + size]), seed, length) for n in range(0, len(keys), size)]
    return found


def _by_seed(jobs: Sequence[Job]) -> list[Job]:
    return sorted(jobs, key=lambda job: (job[2], job[1]))  # stable: within a seed the order stays


def missing(store: TableStore, parts: Sequence[str]) -> list[Job]:
    """The jobs of these parts, in order, that are not in the store yet."""
    done, found = store.done(), dict[Job, None]()
    for part in parts:
        for job in store.spec.jobs(part, store.accuracy()):
            if job not in done:
                found[job] = None
    return list(found)


def machine(source: Source) -> dict[str, Any]:
    """What decides a row beside its cell, seed, length and the settings: the images, and for the last bits the rest."""
    compiled = backend.compiled()
    return {
        "autometa": __version__,
        "torch": torch.__version__,
        "instruction_set": "none" if compiled is None else compiled.isa(),
        "cpu": cpu_model(),
        "images": source.store.data_hash,
    }


def build(
    spec: TableSpec,
    out: Path,
    workers: int = 1,
    parts: Sequence[str] = PARTS,
    limit: int | None = None,
    notice: Callable[[str], None] = say,
) -> int:
    """Train what is missing; returns how many trainings this call added.

    Begins with the rows of the package's own packed file, where it has one. May be killed at any moment: a batch is
    kept whole or not at all, and the next call goes on.

    Args:
        spec: the table.
        out: its folder, made where it is missing.
        workers: processes of one thread each; 1: this process.
        parts: what to build, in order, of `PARTS`.
        limit: trainings at most, None: all.
        notice: told of progress.

    Raises:
        InputError: another process builds here, a part is unknown, the folder holds another table.
        DataError: the images are missing.
    """
    spec.check()
    if workers < 1 or (limit is not None and limit < 1):
        raise InputError(f"workers and limit must be at least 1, not {workers} and {limit}")
    with disk_errors(f"make {shown(out)}"):
        out.mkdir(parents=True, exist_ok=True)
    with _locked(out), TableStore(out / FILE, spec) as store:
        begin_from(store, packed.path_of(spec.name), notice)
        added, left = 0, limit
        for part in parts:  # the best cells are known only when all are there
            jobs = missing(store, [part])[:left]
            added += _train(store, jobs, workers, part, notice)
            left = None if limit is None else limit - added
            if left == 0:
                break
        return added


def begin_from(store: TableStore, path: Path, notice: Callable[[str], None]) -> int:
    """Take over the rows of a packed file that the store lacks; how many."""
    if not path.is_file():
        return 0
    kept, done = packed.read(path, store.spec), store.done()
    rows = [(r, m) for r, m in zip(kept.rows, kept.machine, strict=True) if (r.key, r.seed, r.length) not in done]
    for number, told in enumerate(kept.machines):
        store.add([row for row, m in rows if m == number], told)
    if kept.costs is not None and store.about("costs") is None:
        store.tell("costs", json.dumps(dict(kept.costs)))
    if rows:
        notice(f"{len(rows):,} trainings taken over from {path.name}")
    return len(rows)


def _train(store: TableStore, jobs: Sequence[Job], workers: int, part: str, notice: Callable[[str], None]) -> int:
    added, begin = 0, time.monotonic()
    trainer = _alone if workers == 1 else _several
    for found, told in trainer(store.spec, batches(jobs, SIDE_BY_SIDE), workers):
        store.add(found, told)
        added += len(found)
        each = sum(row.seconds for row in found) / len(found)
        left = (time.monotonic() - begin) / added * (len(jobs) - added) / 60
        notice(f"{part}: {added:,} of {len(jobs):,}, {each:.2f} processor seconds each, {left:,.0f} minutes left")
    return added


Trained = Iterator[tuple[list[Measured], Mapping[str, Any]]]


def _alone(spec: TableSpec, waiting: Sequence[Batch], workers: int) -> Trained:
    """In this process, by one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        source: Source | None = None
        for batch in waiting:
            source = source or Source.open(spec.config.data)
            yield measure(batch.keys, spec, batch.seed, batch.length, source), machine(source)
    finally:
        torch.set_num_threads(threads)


def _several(spec: TableSpec, waiting: Sequence[Batch], workers: int) -> Trained:
    """By worker processes; what they return arrives in any order."""
    if not waiting:
        return
    Source.open(spec.config.data)  # converted once, and what is missing is told here
    context, queue = multiprocessing.get_context("spawn"), deque(waiting)
    pool = ProcessPoolExecutor(min(workers, len(waiting)), context, _begin, (spec,))
    running: set[Future] = set()
    try:
        while queue or running:
            while queue and len(running) < workers:
                running.add(pool.submit(_work, queue.popleft()))
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    except BrokenProcessPool as error:
        raise AutometaError("a worker process was killed; the same command goes on, nothing is lost") from error
    finally:
        processes = list(getattr(pool, "_processes", None) or {})
        pool.shutdown(wait=False, cancel_futures=True)
        if running:  # only where it ended early
            for number in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)


_OF_WORKER: dict[str, Any] = {}


def _begin(spec: TableSpec) -> None:
    """In a worker process, once."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal tells all of us; the parent decides
    os.nice(NICENESS)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    plugins.load()
    _OF_WORKER.update(spec=spec, source=Source.open(spec.config.data, notice=silent))


def _work(batch: Batch) -> tuple[list[Measured], dict[str, Any]]:
    spec, source = _OF_WORKER["spec"], _OF_WORKER["source"]
    return measure(batch.keys, spec, batch.seed, batch.length, source), machine(source)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    while parent is not None and parent.is_alive():
        time.sleep(WATCH_SECONDS)
    os._exit(1)


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    """One process builds in a folder; the lock goes with it, however it ends."""
    with disk_errors(f"write in {shown(out)}"):
        lock = os.open(out / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"another process builds in {shown(out)}; wait for it or stop it") from error
        yield
    finally:
        os.close(lock)
