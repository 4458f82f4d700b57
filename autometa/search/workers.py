"""Who trains the batches of a ledger: this process, several processes of this machine, or a Ray cluster.

All of them do the same: claim a batch, hand its candidates to a unit of work, finish it, until nothing is left. The
ledger has decided which candidates share a batch, so results do not depend on who does the work, nor on how many do.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import platform
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, Protocol

import torch

from autometa.errors import AutometaError, InputError, Interrupted
from autometa.runs.files import say
from autometa.runs.ledger import Batch, Ledger
from autometa.search.main_guard import GUARD, UNGUARDED

LEASE_SECONDS = 120.0
"""How long a worker may be silent before its batch is handed out again."""
POLL_SECONDS = 0.2
DEATHS = 8
"""Workers that may die one after another before the run is stopped: candidates cannot be at fault for all of them."""

Work = Callable[[Batch], Sequence[Mapping[str, Any]]]
"""A batch -> the outcomes of its trials, as `Ledger.finish` takes them."""


class Unit(Protocol):
    """The unit of work: picklable, called once in each worker with the device that it shall use (`cpu`, `cuda:1`).

    What fails for a candidate alone, the work puts into that candidate's outcome. What it raises ends the worker: an
    `AutometaError` the run as well, anything else costs the batch an attempt.
    """

    def __call__(self, device: str) -> Work: ...


class Workforce(Protocol):
    """Trains what a ledger holds, within its `with` block."""

    def __enter__(self) -> Workforce: ...

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None: ...

    def turn(self) -> None:
        """Go on for a moment, or for a batch. Raises what ended a worker for good."""


def train_all(ledger: Ledger, workforce: Workforce) -> None:
    """Until no batch waits or is under way."""
    while ledger.unfinished():
        workforce.turn()


@dataclass
class Alone:
    """This process."""

    ledger: Ledger
    unit: Unit
    device: str = "cpu"
    lease_seconds: float = LEASE_SECONDS
    _work: Work | None = field(default=None, init=False)

    def __enter__(self) -> Alone:
        release_dead(self.ledger)
        return self

    def __exit__(self, *_: object) -> None:
        self.ledger.release(name_here())

    def turn(self) -> None:
        """Train one batch, or wait a moment where other workers hold all that is left."""
        batch = self.ledger.claim(name_here(), self.lease_seconds)
        if batch is None:
            time.sleep(POLL_SECONDS)
            return
        with _Heartbeat(self.ledger.path, name_here(), self.lease_seconds):
            self._work = self._work or self.unit(self.device)
            outcomes = self._work(batch)
        self.ledger.finish(batch, outcomes)


class Processes:
    """`count` processes of this machine, started afresh (spawn); one that dies is replaced, its batch handed out again.

    devices: dealt out in turn. threads: of each process; this process's share where None.
    Leaving the block in order, or by `Interrupted`, lets workers end their batches; by any other error it stops them
    at once and hands their batches back.
    """

    def __init__(
        self,
        ledger: Ledger,
        unit: Unit,
        count: int,
        devices: Sequence[str] = ("cpu",),
        threads: int | None = None,
        lease_seconds: float = LEASE_SECONDS,
        notice: Callable[[str], None] = say,
    ) -> None:
        if count < 1:
            raise InputError(f"at least one worker is needed, not {count}")
        self.ledger, self.unit, self.count, self.devices = ledger, unit, count, tuple(devices)
        self.threads = threads or max(1, torch.get_num_threads() // count)
        self.lease_seconds, self._notice = lease_seconds, notice
        self._context = multiprocessing.get_context("spawn")
        self._stop = self._context.Event()
        self._running: list[_Process | None] = [None] * count
        self._deaths, self._left = 0, 0

    def __enter__(self) -> Processes:
        release_dead(self.ledger)
        self._left = self.ledger.unfinished()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        self._stop.set()
        running = [worker for worker in self._running if worker is not None]
        try:
            if error is None or isinstance(error, Interrupted):
                for worker in running:
                    worker.process.join()
        finally:
            for worker in running:
                worker.process.kill()
                worker.process.join()
                self.ledger.release(worker.name)

    def turn(self) -> None:
        """See that all workers live, and wait a moment."""
        for place, worker in enumerate(self._running):
            if worker is not None and not worker.process.is_alive():
                self._bury(worker)
                worker = None
            self._running[place] = worker or self._started(place)
        left = self.ledger.unfinished()
        if left < self._left:
            self._deaths = 0
        self._left = left
        if left:
            multiprocessing.connection.wait([w.process.sentinel for w in self._running if w is not None], POLL_SECONDS)

    def _started(self, place: int) -> _Process:
        here, there = self._context.Pipe(duplex=False)
        device = self.devices[place % len(self.devices)]
        arguments = (self.ledger.path, self.unit, device, self.threads, self.lease_seconds, self._stop, there)
        process = self._context.Process(target=_serve, args=arguments, daemon=True)
        process.start()
        there.close()
        return _Process(process, here, f"{platform.node()}/{process.pid}")

    def _bury(self, worker: _Process) -> None:
        """Hand out a dead worker's batch; raise what it says must end the run."""
        worker.process.join()
        said = worker.said()
        if isinstance(said, AutometaError):
            self.ledger.release(worker.name)
            raise said
        code = worker.process.exitcode or 0
        if code == UNGUARDED:
            raise InputError(f"the workers run the script that started them again: {GUARD}")
        reason = said or (f"killed by signal {-code}" if code < 0 else f"ended with code {code}")
        self.ledger.lost(worker.name, reason)
        self._deaths += 1
        if self._deaths >= DEATHS:
            raise RuntimeError(f"{self._deaths} workers died one after another, none ended a batch; the last: {reason}")
        self._notice(f"a worker is gone ({reason}); another one takes its place")


@dataclass(frozen=True)
class _Process:
    process: multiprocessing.process.BaseProcess
    pipe: multiprocessing.connection.Connection
    name: str

    def said(self) -> AutometaError | str | None:
        """Its last words."""
        try:
            return self.pipe.recv() if self.pipe.poll() else None
        except (EOFError, OSError):
            return None


def _serve(
    path: Path, unit: Unit, device: str, threads: int, lease_seconds: float, stop: Event, pipe: Connection
) -> None:
    """A worker process, to the end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal tells all of us; the parent decides
    torch.set_num_threads(threads)
    try:
        with Ledger.open(path, create=False) as ledger, _Heartbeat(path, name_here(), lease_seconds, child=True):
            work = None
            while not stop.is_set():
                batch = ledger.claim(name_here(), lease_seconds)
                if batch is None:
                    stop.wait(POLL_SECONDS)
                    continue
                work = work or unit(device)
                ledger.finish(batch, work(batch))
    except AutometaError as error:
        pipe.send(error)
        raise SystemExit(error.exit_code) from None
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}"[:1000])
        raise


class _Heartbeat:
    """Renews a worker's leases while it computes, on a connection and a thread of its own.

    child: the worker ends, its batch handed back, as soon as its parent is gone.
    """

    def __init__(self, path: Path, worker: str, lease_seconds: float, child: bool = False) -> None:
        self._arguments = (path, worker, lease_seconds)
        self._parent = multiprocessing.parent_process() if child else None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        path, worker, lease = self._arguments
        last = time.monotonic()
        with Ledger.open(path, create=False) as ledger:
            while not self._over.wait(min(1.0, lease / 3)):
                if self._parent is not None and not self._parent.is_alive():
                    ledger.release(worker)
                    os._exit(1)
                if time.monotonic() - last >= lease / 3:
                    last = time.monotonic()
                    ledger.renew(worker, lease)


def name_here() -> str:
    """Of this process as a worker."""
    return f"{platform.node()}/{os.getpid()}"


def release_dead(ledger: Ledger) -> None:
    """Hand out the batches of processes of this machine that are gone: who resumes need not wait for leases."""
    for worker in ledger.holders():
        node, _, process = worker.partition("/")
        number = process.partition("/")[0]
        if node == platform.node() and number.isdecimal() and not _lives(int(number)):
            ledger.release(worker)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def workforce(
    ledger: Ledger,
    unit: Unit,
    workers: int | None = None,
    ray: str | None = None,
    devices: Sequence[str] = ("cpu",),
    notice: Callable[[str], None] = say,
) -> Workforce:
    """The one that `--workers N` and `--ray ADDRESS` ask for: neither, this process alone.

    Raises `InputError` where Ray is asked for and missing.
    """
    if ray is not None:
        from autometa.search.ray_workers import RayWorkers

        return RayWorkers(ledger, unit, ray, workers, gpu=devices[0] != "cpu", notice=notice)
    if workers is None or (workers == 1 and len(devices) == 1):
        return Alone(ledger, unit, devices[0])
    return Processes(ledger, unit, workers, devices, notice=notice)
