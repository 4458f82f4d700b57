"""Hyperband (Li et al. 2018, JMLR 18(185), arXiv 1603.06560, section 3, algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass

from autometa.errors import InputError
from autometa.nas.strategies.halving import Rung, SuccessiveHalving, cost
from autometa.nas.strategies.strategy import SearchSpec


@dataclass(frozen=True)
class Hyperband(SuccessiveHalving):
    """Hyperband: brackets of successive halving, from many short trainings to few that are all full, of equal cost.

    All brackets of a pass share the budget, so that each is as large as it pays for (the paper's B; its loop without
    end repeats small brackets: `passes`).

    Args:
        passes: times that all brackets are gone through.
    """

    passes: int = 1

    def check(self, spec: SearchSpec) -> None:
        super().check(spec)
        if not 1 <= self.passes * self.rungs <= spec.budget:
            raise InputError(
                f"hyperband needs passes of 1 or more, and a full training for each of their {self.rungs} brackets: "
                f"{self.passes} passes do not fit in {spec.budget}"
            )

    def plan(self, spec: SearchSpec) -> list[Rung]:
        brackets = [*range(self.rungs, 0, -1)] * self.passes
        found: list[Rung] = []
        for done, rungs in enumerate(brackets):
            left = spec.budget * spec.iterations - cost(found)
            found += self.bracket(rungs, left // (len(brackets) - done), spec)
        return found
