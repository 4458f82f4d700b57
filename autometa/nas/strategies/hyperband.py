"""Hyperband (Li et al. 2018, arXiv 1603.06560, algorithm 1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from autometa.errors import InputError
from autometa.nas.strategies.halving import SuccessiveHalving
from autometa.nas.strategies.strategy import Proposal, SearchSpec, Trial


@dataclass(frozen=True)
class Hyperband(SuccessiveHalving):
    """Hyperband: brackets of successive halving one after another, each with fewer and longer trainings to begin with.

    The first bracket has all rungs, the last one trains in full at once; the budget is divided among them, so that a
    search does not depend on how much a short training tells.
    """

    def brackets(self, spec: SearchSpec) -> Iterator[tuple[SuccessiveHalving, SearchSpec]]:
        """Each with its part of the budget."""
        for k in range(self.rungs):
            share = (spec.budget * (k + 1)) // self.rungs - spec.budget * k // self.rungs
            yield SuccessiveHalving(self.eta, self.rungs - k), replace(spec, budget=share)

    def check(self, spec: SearchSpec) -> None:
        super().check(spec)
        if spec.budget < self.rungs:
            raise InputError(f"hyperband needs a candidate for each of its {self.rungs} brackets, not {spec.budget}")

    def rounds(self, spec: SearchSpec) -> tuple[int, ...]:
        return tuple(size for bracket, share in self.brackets(spec) for size in bracket.rounds(share))

    def workload(self, spec: SearchSpec) -> list[tuple[int, int, float]]:
        return [part for bracket, share in self.brackets(spec) for part in bracket.workload(share)]

    def round(self, history: Sequence[Trial], spec: SearchSpec) -> list[Proposal]:
        done = history[-1].round if history else 0
        for bracket, share in self.brackets(spec):
            if done < bracket.rungs:
                return bracket.rung(done, history, share)
            done -= bracket.rungs
        return []
