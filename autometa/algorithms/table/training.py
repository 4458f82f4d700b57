"""Training of a table's cells side by side, scored at points of the one learning curve."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from autometa.algorithms.table.spec import POINTS, TableSpec, all_cells
from autometa.train.candidates import CandidateTrainer
from autometa.train.config import EvalConfig
from autometa.train.loop import Loop
from autometa.train.scores import Score
from autometa.train.scoring import LOST, score
from autometa.train.tasks import Source

NOT_SCORED = -1
"""Right answers where a point was left out, or the cell failed."""


@dataclass(frozen=True)
class Measured:
    """One training of one cell.

    right: right answers on validation tasks at each of `POINTS`. losses: training loss (nats) summed over
    meta-iterations and inner steps up to each point, mean over the tasks of a meta-batch. test_right: at the end.
    interval, test_interval: half widths of the 95% intervals over tasks at the end, in percent. seconds: processor
    time, its share of that of the cells beside it, scoring included. failure: why there are no answers, or None.
    """

    key: str
    seed: int
    length: int
    right: tuple[int, ...]
    losses: tuple[float, ...]
    interval: float
    test_right: int
    test_interval: float
    parameters: int
    macs: int
    seconds: float
    failure: str | None = None


class _Curve:
    """What is noted of several cells while they are trained."""

    def __init__(self, trainer: CandidateTrainer, spec: TableSpec, source: Source) -> None:
        self.trainer, self._spec, self._source = trainer, spec, source
        cells = len(trainer.alive)
        self._total = torch.zeros(cells, dtype=torch.float64, device="cpu")
        self.losses = torch.full((cells, len(POINTS)), torch.nan, dtype=torch.float64, device="cpu")
        self.right = torch.full((cells, len(POINTS)), NOT_SCORED, dtype=torch.int64, device="cpu")
        self.test_right = torch.full((cells,), NOT_SCORED, dtype=torch.int64, device="cpu")
        self.intervals = torch.full((cells, 2), torch.nan, dtype=torch.float64, device="cpu")

    def add(self, losses: torch.Tensor) -> None:
        """The losses `[inner steps, slots]` of a meta-iteration."""
        sums = losses.to(torch.float64).sum(dim=0).view(len(self.trainer.alive), -1).mean(dim=1)
        self._total[self.trainer.alive] += sums

    def point(self, p: int) -> None:
        """Sums and validation at a point."""
        self.losses[:, p] = self._total
        tasks = self._spec.tasks[p]
        if tasks and self.trainer.alive:
            found = self._answers(replace(self._spec.config.validation, tasks=tasks))
            self.right[:, p] = found[0]
            self.intervals[:, 0] = found[1]

    def test(self) -> None:
        if self._spec.test is not None and self.trainer.alive:
            self.test_right[:], self.intervals[:, 1] = self._answers(self._spec.test)

    def _answers(self, test: EvalConfig) -> tuple[torch.Tensor, torch.Tensor]:
        """Right answers int64 and half widths float64, both `[cells]`; a cell that lost too many tasks has failed."""
        shares, finite = score(self.trainer, self._source, test)
        right = torch.full((len(self.right),), NOT_SCORED, dtype=torch.int64, device="cpu")
        width = torch.full((len(self.right),), torch.nan, dtype=torch.float64, device="cpu")
        answers = self.trainer.config.inner.ways * test.queries
        for row, kept, g in zip(shares, finite, self.trainer.alive, strict=True):
            lost = int((~kept).sum())
            if lost > LOST * test.tasks:
                self.trainer.failures.setdefault(g, f"{lost} of {test.tasks} {test.part} tasks left the finite numbers")
            right[g] = int((row * answers).round().sum())
            width[g] = Score.of(row).ci95
        return right, width


def measure(keys: Sequence[str], spec: TableSpec, seed: int, length: int, source: Source) -> list[Measured]:
    """Train these cells side by side, `length` times as long as the table's config says, and score them.

    An outcome, but for its seconds, does not depend on the cells beside it.
    """
    begin = time.process_time()
    config, cells = spec.config_of(seed, length), all_cells()
    trainer = CandidateTrainer.create([cells[key] for key in keys], config, source)
    curve = _Curve(trainer, spec, source)
    at = {config.meta.iterations // divisor: p for p, divisor in enumerate(POINTS)}
    loop = Loop(trainer)
    for i in range(config.meta.iterations):
        results = loop.launch(i)  # on a CPU an iteration's outcome is known at once
        for _, done in results:
            curve.add(done.losses)
        trainer.leave_out(trainer.failed(results))
        if not trainer.alive:
            break
        if i + 1 in at:
            curve.point(at[i + 1])
    curve.test()
    seconds = (time.process_time() - begin) / len(keys)
    return [_measured(curve, g, key, seed, length, seconds) for g, key in enumerate(keys)]


def _measured(curve: _Curve, g: int, key: str, seed: int, length: int, seconds: float) -> Measured:
    network, failure = curve.trainer.network, curve.trainer.failures.get(g)
    answers = (curve.right[g].tolist(), int(curve.test_right[g]))
    if failure is not None:
        answers = ([NOT_SCORED] * len(POINTS), NOT_SCORED)
    return Measured(
        key,
        seed,
        length,
        tuple(answers[0]),
        tuple(curve.losses[g].tolist()),
        float(curve.intervals[g, 0]),
        answers[1],
        float(curve.intervals[g, 1]),
        network.parameters(g),
        network.macs(g),
        seconds,
        failure,
    )
