"""Meta-iterations one after another: on the CPU as they are, on a GPU as replayed graphs whose results come later."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from autometa.meta.learner import MetaLearner
from autometa.train.canary import checked_step
from autometa.train.compiling import compile_step
from autometa.train.replay import CudaGraphs, Graphs, Lagged, replayed
from autometa.train.tasks import silent
from autometa.train.trainer import Trainer

LAG = 4
"""Iterations that the host may be ahead of what it knows: enough to keep a GPU busy, few enough to stop soon."""
MEMORY_SHARE = 0.8
"""Of the free memory: what slots may take by the measure of one of them."""

Results = list[tuple[int, Any]]


class Loop:
    """Runs a `Trainer`.

    `launch(i)` does meta-iteration i and returns the outcomes known by then, oldest first; `drain()` returns the rest.
    On a GPU an iteration is one graph per phase (warm-up, after it; what a learner anneals), captured when it is first
    needed, unless AUTOMETA_GRAPH=0 or an op cannot be captured: then the same ops run one by one, with the same bits.
    Iterations must be launched in order, a first one of any number.

    notice: is told what is slower than it could be. graphs: the device, for tests.
    """

    def __init__(self, trainer: Trainer, notice: Callable[[str], None] = silent, graphs: Graphs | None = None) -> None:
        self.trainer, self._notice = trainer, notice
        if graphs is None and trainer.device.type == "cuda":
            graphs = CudaGraphs(trainer.device)
        self._graphs = graphs
        self._lagged = None if graphs is None else Lagged(LAG, graphs)
        self._phase: tuple[bool, MetaLearner] | None = None
        self._run: Callable[[], Tensor] | None = None
        self._next: int | None = None
        self._compared = False

    def launch(self, i: int) -> Results:
        """Do meta-iteration i; what is known of this one and those before."""
        trainer = self.trainer
        if self._lagged is None or self._graphs is None:
            return [(i, trainer.step(i))]
        trainer.reach(i)
        if i != self._next:
            trainer.counter.fill_(i)
        known, warm = [], i < trainer.warmup
        if (warm, trainer.learning) != self._phase:
            known = self.drain()  # before the graph goes whose results these are
            self._enter(warm, self._graphs)
        assert self._run is not None, "made by `_enter`"
        values = self._run()
        self._next = i + 1
        return known + self._known(self._lagged.send(i, values))

    def drain(self) -> Results:
        """What is not known yet of the iterations launched so far."""
        return [] if self._lagged is None else self._known(self._lagged.drain())

    def _known(self, arrived: list[tuple[int, Tensor]]) -> Results:
        return [(i, self.trainer.unpacked(values)) for i, values in arrived]

    def _enter(self, warm: bool, graphs: Graphs) -> None:
        """Make ready for the iterations of a phase; those of the other one give their memory back first."""
        trainer = self.trainer
        self._run, self._phase = None, (warm, trainer.learning)
        if isinstance(graphs, CudaGraphs):
            compile_step(trainer, warm, self._notice, quiet=self._notice is silent)
            if not self._compared:
                self._compared = True
                checked_step(trainer, warm, self._notice, quiet=self._notice is silent)
        if trainer.max_slots is None:
            trainer.max_slots = self._fitting(warm, graphs)
        while self._run is None:
            try:
                self._run = self._prepared(warm, graphs)
            except torch.OutOfMemoryError:
                if trainer.max_slots is None or trainer.max_slots == 1:
                    raise
                trainer.max_slots = -(-trainer.max_slots // 2)
                self._notice(f"the device's memory is full: {trainer.max_slots} slots at once from now on")
            if self._run is None:
                graphs.free_bytes()

    def _prepared(self, warm: bool, graphs: Graphs) -> Callable[[], Tensor]:
        trainer, ranks = self.trainer, self.trainer.ranks

        def step() -> Tensor:
            return trainer.packed(trainer.next_step(warm))

        if os.environ.get("AUTOMETA_GRAPH") == "0":
            return step
        if trainer.inner.drawn:
            self._notice("iterations run op by op, slower than as a CUDA graph: each has tasks of another shape")
            return step
        if trainer.counter.device != trainer.device:
            self._notice("iterations run op by op, slower than as a CUDA graph: tasks are drawn on the CPU")
            return step
        arena = trainer.arena
        state = [arena.theta, arena.second, arena.steps, trainer.counter, *trainer.state.values()]
        if ranks is None:
            return replayed(step, state, graphs, self._notice)
        # what processes say to each other stays outside: their captures need not go alike
        begun = replayed(lambda: trainer.begun(warm), state, graphs, self._notice)
        return lambda: trainer.packed(trainer.ended(ranks.summed(begun())))

    def _fitting(self, warm: bool, graphs: Graphs) -> int:
        """As many slots as the free memory holds, in chunks of about one size; more are never needed than there are."""
        slots = self.trainer.arena.slots
        self.trainer.try_slots(1, warm)  # libraries and tables take memory too, once
        each = graphs.peak_bytes(lambda: self.trainer.try_slots(1, warm))
        fit = max(1, int(MEMORY_SHARE * graphs.free_bytes() / max(each, 1)))
        return slots if fit >= slots else -(-slots // -(-slots // fit))
