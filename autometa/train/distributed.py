"""Meta-training divided among processes: one leads and keeps the run, the others follow its word."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import TracebackType

from torch import Tensor

from autometa.errors import AutometaError, InputError
from autometa.meta.ranks import CAPTURE, END, RESTORE, STEP, Ranks
from autometa.train.loop import Loop, Results
from autometa.train.trainer import Trainer


class Lead:
    """The leader's part: tells the others before it does what needs them. Without `ranks` it says nothing.

    Leaving the block in order, or by an `AutometaError` between two such deeds, sends the others home; after any other
    error they wait for something that will not come, and end when this process does.
    """

    def __init__(self, run: Trainer, ranks: Ranks | None) -> None:
        self._run, self._ranks, self._busy = run, ranks, False
        if ranks is not None:
            _agree(run, ranks)
            run.divide_(ranks)

    @contextlib.contextmanager
    def _together(self, what: int, number: int = 0) -> Iterator[None]:
        self._busy = True
        if self._ranks is not None:
            self._ranks.command(what, number)
        yield
        self._busy = False

    def launch(self, loop: Loop, i: int) -> Results:
        """`Loop.launch` of meta-iteration i, by all."""
        with self._together(STEP, i):
            return loop.launch(i)

    def capture(self) -> tuple[dict[str, Tensor], dict]:
        """`Trainer.capture`, of all slots."""
        with self._together(CAPTURE):
            return self._run.capture()

    def restore(self, tensors: dict[str, Tensor], state: dict) -> None:
        """`Trainer.restore`, of all slots."""
        with self._together(RESTORE):
            self._run.restore(tensors, state)

    def __enter__(self) -> Lead:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        orderly = error is None or isinstance(error, AutometaError)
        if self._ranks is not None and orderly and not self._busy:
            self._ranks.command(END)
            self._ranks.leave()


def follow(run: Trainer, ranks: Ranks) -> None:
    """The others' part, until the leader ends it. Raises `InputError` where this process's data are others."""
    _agree(run, ranks)
    run.divide_(ranks)
    loop = Loop(run)
    with ranks.undisturbed():
        while True:
            what, number = ranks.command()
            if what == STEP:
                loop.launch(number)
            elif what == CAPTURE:
                loop.drain()
                run.capture()
            elif what == RESTORE:
                run.restore({}, {})
            else:
                break
    ranks.leave()


def _agree(run: Trainer, ranks: Ranks) -> None:
    """All processes must draw the same tasks of the same images."""
    own = run.episodes.store.data_hash
    if ranks.told(own) != own:
        raise InputError(
            f"the images of process {ranks.rank} are not those of process 0; give all machines the same data"
        )
