"""The loops that runs are made of, in a run folder: meta-training, and evaluation chunk by chunk."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from autometa.errors import InputError
from autometa.meta.ranks import Ranks
from autometa.runs.files import say, shown
from autometa.runs.folder import RunFolder
from autometa.runs.forms import FormError
from autometa.runs.session import Capture, Restore, Session
from autometa.runs.tracking import Trackers
from autometa.train.checked import check_results
from autometa.train.config import DataConfig, EvalConfig, MetaConfig
from autometa.train.distributed import Lead
from autometa.train.health import Monitor
from autometa.train.journal import Journal
from autometa.train.learned import Learned
from autometa.train.loop import Loop
from autometa.train.observations import ArchitectureSeries
from autometa.train.pace import Pace, Pacer
from autometa.train.tasks import Source, chunks, silent
from autometa.train.trainer import Trainer


@dataclass(frozen=True)
class Terms:
    """How a run behaves towards the person at the keyboard, and where it computes.

    time_budget: seconds for the search or training loop from now on; None for no limit, or that of the run resumed.
    workers, ray: who trains candidates, where a run has any: processes of this machine, or those of a Ray cluster.
    """

    quiet: bool = False
    time_budget: float | None = None
    resume_command: Sequence[str] | str | None = None
    checkpoint_seconds: float = 60.0
    device: torch.device = torch.device("cpu")
    workers: int | None = None
    ray: str | None = None
    ranks: Ranks | None = None
    """Other processes to divide a search's or training's meta-batches with; the rest of a run is this one's alone."""
    trackers: Trackers = field(default_factory=Trackers)
    pace: Pace | None = None
    """How the run keeps to a budget for all of it."""

    @property
    def notice(self) -> Callable[[str], None]:
        return silent if self.quiet else say

    def source(self, data: DataConfig) -> Source:
        """The data, for computing on the device."""
        return Source.open(data, self.device, self.notice)

    def session(
        self,
        folder: RunFolder,
        capture: Capture,
        restore: Restore,
        phase: str,
        budget: bool = False,
        catch_up: Callable[[], None] = lambda: None,
    ) -> Session:
        return Session(
            folder,
            capture,
            restore,
            every_seconds=self.checkpoint_seconds,
            time_budget=self.time_budget if budget else None,
            resume_command=self.resume_command,
            quiet=self.quiet,
            phase=phase,
            catch_up=catch_up,
            trackers=self.trackers,
        )


@dataclass(frozen=True)
class MetaTrained:
    """The end of a loop of meta-iterations: what was learned, how many were done, seconds with resumptions.

    meta, warmup: the plan that they were done by in the end.
    """

    learned: Learned
    iterations: int
    seconds: float
    meta: MetaConfig
    warmup: int


def meta_train(
    run: Trainer,
    folder: RunFolder,
    terms: Terms,
    phase: str,
    budget: bool = True,
    ranks: Ranks | None = None,
    series: ArchitectureSeries | None = None,
    monitor: Monitor | None = None,
    pacer: Pacer | None = None,
) -> MetaTrained:
    """The loop of meta-iterations; on a GPU their outcomes are told a few iterations later, in order.

    ranks: processes that divide the meta-batch, this one leading; the others `follow` until the loop is over.
    series: where the architecture is written down; monitor: what looks for alarms; pacer: what keeps to a time budget.
    """
    lead = Lead(run, ranks)
    loop, journal = Loop(run, terms.notice), Journal(run.meta.iterations, run.meta.batch, series, monitor)

    def capture() -> tuple[dict[str, Tensor], dict]:
        tensors, state = lead.capture()
        return tensors, {**state, **journal.state()}

    def restore(tensors: dict[str, Tensor], state: dict) -> None:
        lead.restore(tensors, state)
        journal.restore(state)

    def catch_up() -> None:
        journal.tell(loop.drain())
        if session.stopped_early:
            journal.finish()

    def keep_pace(pacer: Pacer, step: int) -> None:
        pacer.done(run.meta.position(step - 1))
        changed = pacer.plan(step, session.elapsed, run.meta, run.warmup) if ranks is None else None
        if changed is not None:
            run.replan(*changed)
            journal.replan(*changed)
            session.replan(run.meta.iterations)
        if ranks is not None or not pacer.pace.stretch:
            session.end_within(pacer.left(session.elapsed))

    session = terms.session(folder, capture, restore, phase, budget, catch_up)
    with lead, session, closing(journal):
        journal.open(session)
        for i in session.steps(run.meta.iterations):
            journal.tell(lead.launch(loop, i))
            if pacer is not None:
                keep_pace(pacer, i + 1)
        return MetaTrained(Learned.of(lead.capture()[0]), session.step, session.elapsed, run.meta, run.warmup)


class _Collected:
    """Results of task chunks, kept as tensors so that a killed evaluation goes on behind its last chunk."""

    def __init__(self) -> None:
        self.parts: list[dict[str, Tensor]] = []

    def capture(self) -> tuple[dict[str, Tensor], dict]:
        names = self.parts[0] if self.parts else {}
        return {name: torch.cat([part[name] for part in self.parts]) for name in names}, {}

    def restore(self, tensors: dict[str, Tensor], state: dict) -> None:
        self.parts = [dict(tensors)] if tensors else []

    def joined(self) -> dict[str, Tensor]:
        return self.capture()[0]


def in_chunks(
    folder: RunFolder,
    terms: Terms,
    phase: str,
    test: EvalConfig,
    work: Callable[[int, int], dict[str, Tensor]],
    needed: Sequence[str],
    pacer: Pacer | None = None,
) -> tuple[dict[str, Tensor], float]:
    """Run `work(start, stop)` on all evaluation tasks; tensors `[tasks, ...]` by name, and the seconds it took.

    needed: names of accuracies and of `finite`, which every part has. pacer: ends it after fewer tasks where time is
    up.
    """
    kept, pieces, begun, first = _Collected(), chunks(test.tasks, test.max_slots), time.monotonic(), None
    with terms.session(folder, kept.capture, kept.restore, phase) as session:
        _check_kept(kept, session.step, pieces, needed, folder.checkpoints / phase)
        for n in session.steps(len(pieces)):
            kept.parts.append({name: value.cpu() for name, value in work(*pieces[n]).items()})
            so_far = [v for k, v in kept.joined().items() if k.endswith("support_statistics")]
            session.log(n, tasks=pieces[n][1], accuracy=float(so_far[-1].mean()))
            first = n if first is None else first
            if pacer is not None and n + 1 < len(pieces) and pacer.stop_testing(begun, n + 1 - first):
                session.replan(n + 1)
        return kept.joined(), session.elapsed


def _check_kept(
    kept: _Collected, step: int, pieces: Sequence[tuple[int, int]], needed: Sequence[str], place: Path
) -> None:
    """Raise `InputError` unless what a resumed evaluation kept is that of its first `step` pieces."""
    tasks = pieces[step - 1][1] if 0 < step <= len(pieces) else 0
    try:
        check_results(kept.joined(), tasks, needed)
    except FormError as error:
        raise InputError(f"{shown(place)} does not fit this evaluation: {error}; remove it to begin again") from error


def pacer_of(folder: RunFolder, terms: Terms, group: str = "meta") -> Pacer | None:
    """What keeps a run with a time budget to it."""
    return None if terms.pace is None else Pacer(terms.pace, folder, group)
