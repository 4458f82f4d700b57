"""Regularised evolution (Real et al. 2019, arXiv 1802.01548, algorithm 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autometa.errors import InputError
from autometa.nas.spaces.draws import Draws
from autometa.nas.strategies.strategy import DONE, Proposal, SearchSpec, Strategy, Trial, batches, drawn, mutated

MOST_SAMPLE = 10_000
"""Draws for one child."""


@dataclass(frozen=True)
class RegularisedEvolution(Strategy):
    """Regularised evolution: children of the best of a random sample of the population, from which the oldest die.

    A batch of children is bred from one population, so that they train side by side; no architecture is trained twice.

    Args:
        population: P, architectures alive (paper: 100); the first P are random. Where None 100, but at most two fifths
            of the search's budget.
        sample: S, drawn with replacement for each child (paper: 25).
    """

    population: int | None = None
    sample: int = 25

    def alive(self, spec: SearchSpec) -> int:
        """P of a search."""
        return min(100, max(1, 2 * spec.budget // 5)) if self.population is None else self.population

    def check(self, spec: SearchSpec) -> None:
        if not 1 <= self.alive(spec) < spec.budget or not 1 <= self.sample <= MOST_SAMPLE:
            raise InputError(
                f"evolution needs a population of 1 or more, smaller than its {spec.budget} candidates, and "
                f"samples of 1 to {MOST_SAMPLE:,}, not {self.alive(spec)} and {self.sample}"
            )

    def rounds(self, spec: SearchSpec) -> tuple[int, ...]:
        return batches(min(self.alive(spec), spec.budget), spec)

    def round(self, history: Sequence[Trial], spec: SearchSpec) -> list[Proposal]:
        known = {trial.key for trial in history}
        if not history:
            return [Proposal(made.key) for made in drawn(spec, self.alive(spec), known, 0)]
        alive = [trial for trial in history if trial.state == DONE][-self.alive(spec) :]
        children = (self._child(alive, known, len(history) + n, spec) for n in range(spec.batch))
        return [Proposal(key) for key in children if key is not None]

    def _child(self, alive: Sequence[Trial], known: set[str], number: int, spec: SearchSpec) -> str | None:
        """The key of an unknown child, by more mutations where one gives a known architecture."""
        draws = Draws(spec.seed, number)
        sample = [alive[draws.below(len(alive))] for _ in range(self.sample)]
        made = spec.space.parse(max(sample, key=lambda trial: (trial.accuracy, trial.place)).key)
        child = mutated(spec, made, known, draws)
        return None if child is None else child.key
