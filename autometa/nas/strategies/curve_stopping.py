"""Stopping by predicted learning curves (Baker et al. 2018, Accelerating Neural Architecture Search using Performance
Prediction, arXiv 1705.10823, sections 3 and 4.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from autometa.errors import InputError
from autometa.nas.predictors.linear import RidgePredictor
from autometa.nas.spaces.space import Architecture
from autometa.nas.strategies.strategy import (
    DONE,
    STOPPED,
    Proposal,
    SearchSpec,
    Strategy,
    Trial,
    Verdict,
    batches,
    drawn,
)

LEAST = 8
"""Full trainings that are learned from at least."""


@dataclass(frozen=True)
class CurveStopping(Strategy):
    """Random search that stops a training once it will, by its predicted learning curve, not beat the best so far.

    At an eighth, a quarter and a half of a training, its final accuracy is predicted from the accuracies up to there,
    their differences and the space's features, by a regression on the full trainings of earlier rounds: ridge, where
    the paper's is a support vector machine. What stopping saves trains further architectures.

    Args:
        first: trainings of the first round, none of which is stopped (paper: 100). Where None a fifth of the budget.
        certainty: of a training not to beat the best, from which on it is stopped (paper: 0.95).
    """

    first: int | None = None
    certainty: float = 0.95

    def beginning(self, spec: SearchSpec) -> int:
        """Trials of the first round."""
        return max(LEAST, spec.budget // 5) if self.first is None else self.first

    def check(self, spec: SearchSpec) -> None:
        if self.beginning(spec) < LEAST or not 0.5 <= self.certainty < 1:
            raise InputError(
                f"curve-stopping needs first of {LEAST} or more and certainty from 0.5 to below 1, not "
                f"{self.beginning(spec)} and {self.certainty:g}"
            )

    def reports(self, spec: SearchSpec) -> tuple[int, ...]:
        return tuple(sorted({spec.iterations // part for part in (8, 4, 2)} - {0}))

    def rounds(self, spec: SearchSpec) -> tuple[int, ...]:
        return batches(min(self.beginning(spec), spec.budget), spec)

    def room(self, history: Sequence[Trial], spec: SearchSpec) -> int:
        """Full trainings that are left, in meta-iterations of which stopped trials have taken a part."""
        spent = sum(max(t.reports) if t.state == STOPPED else spec.iterations for t in history)
        return spec.budget - -(-spent // spec.iterations)

    def round(self, history: Sequence[Trial], spec: SearchSpec) -> list[Proposal]:
        count = spec.batch if history else self.beginning(spec)
        return [Proposal(a.key) for a in drawn(spec, count, {t.key for t in history}, len(history))]

    def judge(self, trial: Trial, history: Sequence[Trial], spec: SearchSpec) -> Verdict:
        step = max(trial.reports)
        steps = [at for at in self.reports(spec) if at <= step]
        known = [
            t for t in history if t.round < trial.round and t.state == DONE and t.scored and {*steps} <= {*t.reports}
        ]
        if step >= spec.iterations or len(known) < LEAST or not {*steps} <= {*trial.reports}:
            return Verdict.GO
        best = max(t.measured for t in known)
        mean, std = self._final(trial, known, steps, spec)
        return Verdict.STOP if NormalDist(mean, max(std, 1e-6)).cdf(best) >= self.certainty else Verdict.GO

    def _final(
        self, trial: Trial, known: Sequence[Trial], steps: Sequence[int], spec: SearchSpec
    ) -> tuple[float, float]:
        """Mean and standard deviation of the accuracy that a trial will end with."""
        curves: Mapping[str, Mapping[int, float]] = {t.key: t.reports for t in (*known, trial)}

        def measure(_: str, cells: Sequence[Architecture]) -> np.ndarray:
            values = np.array([[curves[cell.key][step] for step in steps] for cell in cells])
            return np.concatenate([values, np.diff(values, axis=1)], axis=1)

        model = RidgePredictor(spec.space, measure=measure, needs=("curve",))
        model.fit([spec.space.parse(t.key) for t in known], [t.measured for t in known], spec.seed)
        mean, std = model.predict([spec.space.parse(trial.key)])
        return float(mean[0]), float(std[0])
