"""Search by a predictor among random architectures of full size, without progression (Liu et al. 2018, section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autometa.errors import InputError
from autometa.nas.strategies.choosing import best, predictions
from autometa.nas.strategies.strategy import DONE, Proposal, SearchSpec, Strategy, Trial, drawn


@dataclass(frozen=True)
class SurrogateSearch(Strategy):
    """Predictor-guided search: random architectures first, then rounds of the best by prediction among fresh ones.

    The predictor learns from all that were trained; a round has as many trials as the search's beam.

    Args:
        pool: random architectures that a round is chosen from.
    """

    pool: int = 10_000

    def check(self, spec: SearchSpec) -> None:
        if not 1 <= spec.beam <= self.pool:
            raise InputError(f"a round of {spec.beam} cells cannot be chosen among {self.pool}")

    def rounds(self, spec: SearchSpec) -> tuple[int, ...]:
        whole, rest = divmod(spec.budget, spec.beam)
        return (*[spec.beam] * whole, *([rest] if rest else []))

    def round(self, history: Sequence[Trial], spec: SearchSpec) -> list[Proposal]:
        known = {trial.key for trial in history}
        if not history:
            return [Proposal(made.key) for made in drawn(spec, spec.beam, known, 0)]
        done = [trial for trial in history if trial.state == DONE]
        learned = spec.learned(done, spec.seed + len(history))
        number = history[-1].round
        fresh = drawn(spec, self.pool, known, spec.beam + (number - 1) * self.pool)
        chosen = best(predictions(learned, fresh, spec.uncertainty_weight), spec.beam)
        return [Proposal(p.cell.key, mean=p.mean, std=p.std) for p in chosen]
