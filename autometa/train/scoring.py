"""Candidates trained side by side and scored on validation classes: the unit of work of every search over cells."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from autometa.meta.bn_modes import accuracies
from autometa.meta.learner import InnerLoop, TaskChunk
from autometa.nas.spaces.space import Architecture, Space
from autometa.ops.finite_slots import finite_slots
from autometa.slots.arena import Arena
from autometa.train.candidates import SLOTS, CandidateConfig, CandidateTrainer, Cells, Outcome, Snapshot
from autometa.train.config import (
    EvalConfig,
)
from autometa.train.scores import Score
from autometa.train.tasks import SameBatches, Source, TestTasks, chunks

LOST = 0.1
"""Share of validation tasks that may leave the finite numbers."""


def train_candidates(
    cells: Sequence[Architecture],
    config: CandidateConfig,
    source: Source,
    *,
    space: Space | None = None,
    starts: Sequence[Snapshot | None] = (),
    first: int = 0,
    last: int | None = None,
    keep: Callable[[int, Snapshot], None] | None = None,
) -> list[Outcome]:
    """Meta-train all cells side by side and score them on validation classes, one outcome per cell in order.

    Meta-iterations first .. last - 1 of the schedule of a full training, from the beginning to its end where nothing
    is said; starts: of each cell that goes on from there, or begins with the weights of another one. keep: receives
    the number of a cell that came through, and where it stands. space: of the cells, that of blocks where None. With a
    native backend a cell's outcome, but for its seconds, does not depend on the cells beside it.
    Raises `InputError` where the config does not fit; a cell that diverges has a failure instead of an accuracy.
    """
    config.check()
    if not cells:
        return []
    begin = time.perf_counter()
    trainer = CandidateTrainer.create(cells, config, source, space)
    for g, start in enumerate(starts):
        if start is not None:
            (trainer.resume if start.key == cells[g].key else trainer.inherit)(g, start)
    trainer.train(source.notice, first, last)
    right, finite = score(trainer, source)
    seconds = (time.perf_counter() - begin) / len(cells)
    for k, g in enumerate(trainer.alive):
        lost = int((~finite[k]).sum())
        if lost > LOST * config.validation.tasks:
            trainer.failures[g] = f"{lost} of {config.validation.tasks} validation tasks left the finite numbers"
    scores = {g: Score.of(right[k]) for k, g in enumerate(trainer.alive) if g not in trainer.failures}
    if keep is not None:
        for g in scores:
            keep(g, trainer.snapshot(g, cells[g].key))
    return [
        Outcome(
            cell.key,
            scores[g].mean if g in scores else math.nan,
            scores[g].ci95 if g in scores else math.nan,
            trainer.network.parameters(g),
            trainer.network.macs(g),
            seconds,
            trainer.failures.get(g),
        )
        for g, cell in enumerate(cells)
    ]


def score(trainer: CandidateTrainer, source: Source, test: EvalConfig | None = None) -> tuple[Tensor, Tensor]:
    """Share of right answers float64 `[cells, tasks]` of every cell that has not failed, on the same tasks, those of
    the config's validation where `test` is None; and whether its adapted weights were finite, bool `[cells, tasks]`."""
    test = test or trainer.config.validation
    most = test.max_slots
    if trainer.device.type != "cpu":
        most = max(most, trainer.max_slots or SLOTS)
    while True:
        try:
            return _scored(trainer, source, test, most)
        except torch.OutOfMemoryError:
            if most == 1:
                raise
            most = -(-most // 2)


def _scored(trainer: CandidateTrainer, source: Source, test: EvalConfig, most: int) -> tuple[Tensor, Tensor]:
    """`score`, with at most so many slots at once."""
    config = trainer.config
    learned, episodes = trainer.learned(), source.testing(config.inner.ways, test)
    right = torch.zeros(learned.slots, test.tasks, dtype=torch.float64, device="cpu")
    finite = torch.zeros(learned.slots, test.tasks, dtype=torch.bool, device="cpu")
    mode = test.batch_mode or config.inner.batch_mode
    per_cell = min(test.tasks, most)
    for start, stop in chunks(test.tasks, per_cell):
        tasks = TestTasks.draw(episodes, start, stop, test.batch, test.steps, mode)
        drawn = SameBatches.drawn(tasks.batches, test.steps)
        for first, last in chunks(learned.slots, max(1, most // per_cell)):
            found = _score_chunk(trainer, learned.part(first, last), drawn, tasks, test.steps)
            for table, values in zip((right, finite), found, strict=True):
                table[first:last, start:stop] = values.view(last - first, -1).cpu()
    return right, finite


def _score_chunk(
    trainer: CandidateTrainer, learned: Arena, drawn: Sequence[tuple[Tensor, Tensor]], tasks: TestTasks, steps: int
) -> tuple[Tensor, Tensor]:
    """Accuracy and finiteness `[cells * tasks]` of the cells of `learned` after `steps` inner steps on these tasks."""
    config, count = trainer.config, len(tasks.ids)
    cell = torch.arange(learned.slots, device=trainer.device).repeat_interleave(count)
    task = torch.arange(count, device=trainer.device).repeat(learned.slots)
    arena = replace(
        learned,
        phi=learned.phi.index_select(0, cell),
        second=learned.second.index_select(0, cell),
        steps=learned.steps.index_select(0, cell),
        group_of_slot=learned.group_of_slot.index_select(0, cell),
        layout_of_slot=learned.layout_of_slot.index_select(0, cell),
    )
    cells = Cells(trainer.network, arena.layout_of_slot)
    batches = SameBatches(drawn, task, lambda: (tasks.support, tasks.support_labels))
    learner, own = config.learner, TaskChunk.of(cells, cells.loss, batches)
    learner.adapt_(arena, own, InnerLoop(trainer.optimiser, steps, trainer.state))
    with torch.no_grad():
        phi = learner.ready(arena.phi, arena.head_of_slot, own)
    model = learner.classifier(cells, arena.phi.shape[1])
    support, queries, labels = (x.index_select(0, task) for x in (tasks.support, tasks.queries, tasks.labels))
    right = accuracies(model, phi, support, queries, labels, (config.mode,))[config.mode]
    return right, finite_slots(phi)
