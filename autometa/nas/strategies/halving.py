"""Successive halving (Jamieson and Talwalkar 2016, arXiv 1502.07943, figure 1), one bracket of Hyperband."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from autometa.errors import InputError
from autometa.nas.spaces.space import Architecture
from autometa.nas.strategies.strategy import Proposal, SearchSpec, Strategy, Trial, drawn, ranked


@dataclass(frozen=True)
class Rung:
    """A round of trainings of one length: how many, the meta-iterations at their end, and those since the rung before
    of the same bracket."""

    count: int
    fidelity: int
    added: int

    @property
    def first(self) -> bool:
        """Whether its architectures are new."""
        return self.added == self.fidelity


@dataclass(frozen=True)
class SuccessiveHalving(Strategy):
    """Successive halving: many random architectures trained for a short time, the best 1 / eta of each rung go on.

    What goes on begins from the checkpoint of the trial before, so that the meta-iterations of all trials together are
    those of `budget` full trainings at most.

    Args:
        eta: what a rung's trainings are longer by than those of the rung before, and its share that goes on.
        rungs: of different lengths, the last one in full.
    """

    eta: int = 3
    rungs: int = 3

    def check(self, spec: SearchSpec) -> None:
        if self.eta < 2 or self.rungs < 1:
            raise InputError(f"halving needs eta of 2 or more and rungs of 1 or more, not {self.eta} and {self.rungs}")
        if spec.iterations // self.eta ** (self.rungs - 1) < 1:
            raise InputError(
                f"{spec.iterations} meta-iterations cannot be cut into {self.rungs} rungs by {self.eta}; "
                "take fewer rungs or more meta.iterations"
            )

    def plan(self, spec: SearchSpec) -> list[Rung]:
        """All rungs of the search, in order."""
        return self.bracket(self.rungs, spec.budget * spec.iterations, spec)

    def bracket(self, rungs: int, budget: int, spec: SearchSpec) -> list[Rung]:
        """The last `rungs` lengths, with as many trials as so many meta-iterations pay for."""
        lengths = [spec.iterations // self.eta**k for k in reversed(range(rungs))]

        def sized(first: int) -> list[Rung]:
            pairs = enumerate(zip(lengths, (0, *lengths), strict=False))
            return [Rung(max(1, first // self.eta**k), length, length - before) for k, (length, before) in pairs]

        first = 1
        while cost(sized(first + 1)) <= budget:
            first += 1
        return sized(first)

    def rounds(self, spec: SearchSpec) -> tuple[int, ...]:
        return tuple(rung.count for rung in self.plan(spec))

    def workload(self, spec: SearchSpec) -> list[tuple[int, int, float]]:
        return [(spec.space.levels, rung.count, rung.added / spec.iterations) for rung in self.plan(spec)]

    def room(self, history: Sequence[Trial], spec: SearchSpec) -> int:
        return sum(self.rounds(spec)) - len(history)

    def resumable(self, history: Sequence[Trial], spec: SearchSpec) -> tuple[int, ...]:
        return ()

    def round(self, history: Sequence[Trial], spec: SearchSpec) -> list[Proposal]:
        past = [list(own) for _, own in groupby(history, key=lambda trial: trial.round)]
        best: list[Trial] = []
        for rung in self.plan(spec):
            if not (rung.first or best):  # none of this bracket is left
                continue
            if past:
                best = ranked(past.pop(0))
            elif rung.first:
                return [Proposal(a.key, fidelity=rung.fidelity) for a in self.fresh(rung.count, history, spec)]
            else:
                return [Proposal(t.key, fidelity=rung.fidelity, parent=t.id) for t in best[: rung.count]]
        return []

    def fresh(self, count: int, history: Sequence[Trial], spec: SearchSpec) -> list[Architecture]:
        """Architectures that no trial has had, for the first rung of a bracket."""
        return drawn(spec, count, {trial.key for trial in history}, len(history))


def cost(rungs: Sequence[Rung]) -> int:
    """Meta-iterations of all trials together."""
    return sum(rung.count * rung.added for rung in rungs)
