"""Progressive search with a predictor (PNAS, Liu et al. 2018, algorithm 1; Auto-Meta, Kim et al. 2018, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from autometa.errors import DivergedError
from autometa.nas.predictors.predictor import Predictor
from autometa.nas.strategies.choosing import Prediction, choose
from autometa.nas.strategies.strategy import DONE, Proposal, SearchSpec, Strategy, Trial, main_failure


@dataclass(frozen=True)
class Progressive(Strategy):
    """Progressive search: every architecture of one part, then level by level the best expansions by prediction.

    The predictor learns from all levels that have ended; the beam is as wide as the search says (paper: K = 100).
    """

    unit: ClassVar[str | None] = None

    def rounds(self, spec: SearchSpec) -> tuple[int, ...]:
        found, known = [spec.space.count(1)], spec.space.count(1)
        for level in range(2, spec.space.levels + 1):  # there are ever more of them, and counting takes ever longer
            known = known if known >= spec.beam else spec.space.count(level)
            found.append(min(spec.beam, known))
        return tuple(found)

    def workload(self, spec: SearchSpec) -> list[tuple[int, int, float]]:
        return [(level, count, 1.0) for level, count in enumerate(self.rounds(spec), 1)]

    def room(self, history: Sequence[Trial], spec: SearchSpec) -> int:
        return sum(self.rounds(spec)) - len(history)

    def over(self, history: Sequence[Trial], spec: SearchSpec) -> bool:
        last = [trial for trial in history if trial.round == history[-1].round]
        return bool(last) and last[0].round >= spec.space.levels and any(trial.scored for trial in last)

    def round(self, history: Sequence[Trial], spec: SearchSpec) -> list[Proposal]:
        if not history:
            return [Proposal(made.key) for made in spec.space.first() if spec.fits(made)]
        level = history[-1].round
        own = [trial for trial in history if trial.round == level]
        done = [trial for trial in own if trial.state == DONE]
        if not done:
            raise DivergedError(f"no candidate with {level} {spec.space.unit}s came through: {main_failure(own)}")
        return [Proposal(p.cell.key, mean=p.mean, std=p.std) for p in self._chosen(history, spec, level, done)]

    def _chosen(
        self, history: Sequence[Trial], spec: SearchSpec, level: int, done: Sequence[Trial]
    ) -> list[Prediction]:
        """The best expansions by prediction among those that fit: more are looked at until there are enough."""
        predictor = self.predictor_after(history, spec, level)
        beam = [spec.space.parse(trial.key) for trial in done]
        wanted = looked_at = spec.beam
        while True:
            found = choose(predictor, spec.space, beam, looked_at, spec.uncertainty_weight, spec.processes)
            fitting = [p for p in found if spec.fits(p.cell)][:wanted]
            if len(fitting) == wanted or len(found) < looked_at:
                return fitting
            looked_at *= 4

    def predictor_after(self, history: Sequence[Trial], spec: SearchSpec, round: int) -> Predictor:
        known = [trial for trial in history if trial.round <= round and trial.state == DONE]
        return spec.learned(known, spec.seed * 100 + round)
