"""Processes that each make a run while this one waits: what they say is told here, a signal stops all of them."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from autometa.errors import AutometaError, Interrupted
from autometa.runs.files import say
from autometa.runs.session import Signals

POLL_SECONDS = 0.5


@dataclass
class Child:
    """One of them. pipe: what ended it; lines: tells its standard error."""

    name: str
    device: str
    process: BaseProcess
    pipe: Connection
    lines: threading.Thread

    def error(self) -> AutometaError | None:
        """What ended it, None where it came to its end."""
        self.process.join()
        self.lines.join()
        with contextlib.suppress(EOFError, OSError):
            if self.pipe.poll():
                return self.pipe.recv()
        code = self.process.exitcode or 0
        if code in (-signal.SIGTERM, -signal.SIGHUP, -signal.SIGINT):
            return Interrupted("interrupted")
        if code < 0:
            return AutometaError(f"killed by signal {-code}, as systems short of memory do")
        return AutometaError("a defect of autometa, told above") if code else None


class Children:
    """Children of this process, started afresh (spawn); they end with it, however it ends.

    The first of SIGINT, SIGTERM, SIGHUP is passed on to all of them, which save and end; the second one stops them at
    once. Leaving the block by an error stops those that still run.
    """

    def __init__(self) -> None:
        self.running: list[Child] = []
        self.stopping = False
        self._context = multiprocessing.get_context("spawn")
        self._signals = Signals()

    def __enter__(self) -> Children:
        self._signals.install()
        return self

    def __exit__(self, *_: object) -> None:
        self._signals.restore()
        for child in self.running:
            child.process.kill()
            child.process.join()

    def start(self, name: object, device: str, work: Callable[..., None], *arguments: Any) -> None:
        """Another one: it calls `work` with these arguments."""
        here, there = self._context.Pipe(duplex=False)
        said, says = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_serve, args=(work, arguments, there, says))
        process.start()
        there.close()
        says.close()
        lines = threading.Thread(target=_tell, args=(said, f"seed {name}"), daemon=True)
        lines.start()
        self.running.append(Child(str(name), device, process, here, lines))

    def ended(self) -> list[Child]:
        """Those that have ended, after a moment's wait."""
        try:
            multiprocessing.connection.wait([child.process.sentinel for child in self.running], POLL_SECONDS)
            if self._signals.asked and not self.stopping:
                self._stop()
        except KeyboardInterrupt:  # the second signal
            self._stop()
        over = [child for child in self.running if not child.process.is_alive()]
        self.running = [child for child in self.running if child not in over]
        return over

    def _stop(self) -> None:
        self.stopping = True
        for child in self.running:
            child.process.terminate()


def _tell(said: Connection, name: str) -> None:
    with os.fdopen(os.dup(said.fileno()), encoding="utf-8", errors="replace") as lines:
        for line in lines:
            say(f"{name}: {line.rstrip()}")


def _serve(work: Callable[..., None], arguments: tuple[Any, ...], pipe: Connection, says: Connection) -> None:
    """A child, to its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal tells all of us; the parent decides
    Signals.told = False
    os.dup2(says.fileno(), 2)
    says.close()
    warnings.showwarning = lambda message, *_: say(f"note: {message}")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        work(*arguments)
    except AutometaError as error:
        pipe.send(error)
        raise SystemExit(error.exit_code) from None


def _end_with_parent() -> None:
    """A killed parent takes its children with it, so that all can be gone on with at once."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
