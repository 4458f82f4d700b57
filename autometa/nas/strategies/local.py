"""Local search (White et al. 2021, Exploring the Loss Landscape in Neural Architecture Search, arXiv 2005.02960,
algorithm 1 and section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autometa.errors import InputError
from autometa.nas.spaces.draws import Draws
from autometa.nas.strategies.strategy import Proposal, SearchSpec, Strategy, Trial, batches, drawn, ranked


@dataclass(frozen=True)
class LocalSearch(Strategy):
    """Local search: random architectures first, then neighbours of the best one known until none of them is better.

    A neighbourhood is looked at in random order, a batch at a time, and left as soon as a batch holds something better
    (the paper's algorithm trains all of it before it moves). Where the paper's ends, at a local optimum, this one goes
    on with the neighbours of the next best architecture, until the budget is spent.

    Args:
        first: random architectures to begin with (paper: the best of a few, or of one).
    """

    first: int = 10

    def check(self, spec: SearchSpec) -> None:
        if self.first < 1:
            raise InputError(f"local search begins with 1 architecture or more, not {self.first}")

    def rounds(self, spec: SearchSpec) -> tuple[int, ...]:
        return batches(min(self.first, spec.budget), spec)

    def round(self, history: Sequence[Trial], spec: SearchSpec) -> list[Proposal]:
        known = {trial.key for trial in history}
        if not history:
            return [Proposal(made.key) for made in drawn(spec, self.first, known, 0)]
        for trial in ranked(history):
            near = spec.space.neighbours(spec.space.parse(trial.key))
            fresh = [made for made in near if made.key not in known and spec.fits(made)]
            if fresh:
                order = Draws(spec.seed, len(history)).shuffled(fresh)
                return [Proposal(made.key) for made in order[: spec.batch]]
        return [Proposal(made.key) for made in drawn(spec, spec.batch, known, len(history))]
