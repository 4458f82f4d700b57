"""Successive halving (Jamieson and Talwalkar 2016, arXiv 1502.07943, figure 1), one bracket of Hyperband
(Li et al. 2018, arXiv 1603.06560, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autometa.errors import InputError
from autometa.nas.strategies.strategy import Proposal, SearchSpec, Strategy, Trial, drawn, ranked


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
        if self.fidelities(spec)[0] < 1:
            raise InputError(
                f"{spec.iterations} meta-iterations cannot be cut into {self.rungs} rungs by {self.eta}; "
                "take fewer rungs or more meta.iterations"
            )

    def fidelities(self, spec: SearchSpec) -> tuple[int, ...]:
        """Meta-iterations at the end of each rung."""
        return tuple(spec.iterations // self.eta ** (self.rungs - 1 - k) for k in range(self.rungs))

    def rounds(self, spec: SearchSpec) -> tuple[int, ...]:
        """As many trials as the budget pays for: each trains for what its rung adds to the one before."""
        lengths = self.fidelities(spec)
        added = [length - before for length, before in zip(lengths, (0, *lengths), strict=False)]

        def sizes(first: int) -> tuple[int, ...]:
            return tuple(max(1, first // self.eta**k) for k in range(self.rungs))

        def cost(first: int) -> int:
            return sum(count * more for count, more in zip(sizes(first), added, strict=True))

        first = 1
        while cost(first + 1) <= spec.budget * spec.iterations:
            first += 1
        return sizes(first)

    def workload(self, spec: SearchSpec) -> list[tuple[int, int, float]]:
        lengths = self.fidelities(spec)
        added = [length - before for length, before in zip(lengths, (0, *lengths), strict=False)]
        sizes = self.rounds(spec)
        return [(spec.space.levels, n, more / spec.iterations) for n, more in zip(sizes, added, strict=True)]

    def room(self, history: Sequence[Trial], spec: SearchSpec) -> int:
        return sum(self.rounds(spec)) - len(history)

    def resumable(self, history: Sequence[Trial], spec: SearchSpec) -> tuple[int, ...]:
        return ()

    def round(self, history: Sequence[Trial], spec: SearchSpec) -> list[Proposal]:
        return self.rung(history[-1].round if history else 0, history, spec)

    def rung(self, rung: int, history: Sequence[Trial], spec: SearchSpec) -> list[Proposal]:
        """What comes after so many rungs, the last of which ends the history."""
        sizes, lengths = self.rounds(spec), self.fidelities(spec)
        if rung == self.rungs:
            return []
        if rung == 0:
            fresh = drawn(spec, sizes[0], {trial.key for trial in history}, len(history))
            return [Proposal(made.key, fidelity=lengths[0]) for made in fresh]
        best = ranked([trial for trial in history if trial.round == history[-1].round])[: sizes[rung]]
        return [Proposal(trial.key, fidelity=lengths[rung], parent=trial.id) for trial in best]
