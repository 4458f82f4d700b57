"""Large-scale evolution (Real et al. 2017, Large-Scale Evolution of Image Classifiers, arXiv 1703.01041, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autometa.errors import InputError
from autometa.nas.spaces.draws import Draws
from autometa.nas.spaces.space import Architecture
from autometa.nas.strategies.strategy import (
    DONE,
    Proposal,
    SearchSpec,
    Strategy,
    Trial,
    batches,
    drawn,
    mutated,
    unknown,
)


@dataclass(frozen=True)
class LargeScaleEvolution(Strategy):
    """Large-scale evolution: of two random members the worse dies and the better has a child that inherits its weights.

    The population begins with architectures of one part, and a mutation may add a part (section 3.2; the paper's eleven
    mutations also remove layers and change step sizes). A child begins with its parent's weights where both have them
    (section 3.3) and trains as long as any other. No architecture is trained twice.

    Args:
        population: members (paper: 1,000). Where None 100, but at most an eighth of the search's budget.
        grow: how likely a mutation adds a part where one may be added.
        inherit: whether a child begins with its parent's weights, or anew.
    """

    population: int | None = None
    grow: float = 0.5
    inherit: bool = True

    def size(self, spec: SearchSpec) -> int:
        """Members of a search's population."""
        wanted = min(100, max(2, spec.budget // 8)) if self.population is None else self.population
        return min(wanted, spec.space.count(1))

    def check(self, spec: SearchSpec) -> None:
        if not 2 <= self.size(spec) <= spec.budget or not 0 <= self.grow <= 1:
            raise InputError(
                f"large-scale evolution needs a population of 2 to its {spec.budget} candidates and grow within 0 and "
                f"1, not {self.size(spec)} and {self.grow:g}"
            )

    def inherits(self, spec: SearchSpec) -> bool:
        return self.inherit

    def rounds(self, spec: SearchSpec) -> tuple[int, ...]:
        return batches(self.size(spec), spec)

    def workload(self, spec: SearchSpec) -> list[tuple[int, int, float]]:
        first, *rest = self.rounds(spec)
        return [(1, first, 1.0), (spec.space.levels, sum(rest), 1.0)]

    def round(self, history: Sequence[Trial], spec: SearchSpec) -> list[Proposal]:
        known = {trial.key for trial in history}
        if not history:
            return [Proposal(made.key) for made in drawn(spec, self.size(spec), known, 0, level=1)]
        members: list[Trial] = []
        for trial in history:  # deaths of the past again; a round's children join when all of it has ended
            if trial.round != 1:
                self._pair(members, Draws(spec.seed, trial.id))
            if trial.id + 1 == len(history) or history[trial.id + 1].round != trial.round:
                members += [own for own in history if own.round == trial.round and own.state == DONE]
        found: list[Proposal] = []
        for number in range(len(history), len(history) + spec.batch):
            draws = Draws(spec.seed, number)
            parent = self._pair(members, draws)
            child = self._child(parent, known, draws, spec)
            if child is None:
                break
            found.append(Proposal(child, parent=parent.id if self.inherit else None))
        return found

    def _pair(self, members: list[Trial], draws: Draws) -> Trial:
        """The better of two random members; the worse is removed, as long as two are left."""
        first = draws.below(len(members))
        second = (first + 1 + draws.below(max(1, len(members) - 1))) % len(members)
        worse, better = sorted((first, second), key=lambda n: (members[n].accuracy, -members[n].id))
        winner = members[better]
        if len(members) > 2:
            del members[worse]
        return winner

    def _child(self, parent: Trial, known: set[str], draws: Draws, spec: SearchSpec) -> str | None:
        """The key of an unknown child: larger where it may be and chance wants it, else one mutation away."""
        made = spec.space.parse(parent.key)
        grows = made.level < spec.space.levels and draws.uniform() < self.grow
        child = (self._larger if grows else mutated)(spec, made, known, draws)
        if child is None and made.level < spec.space.levels:
            child = self._larger(spec, made, known, draws)
        return None if child is None else child.key

    def _larger(self, spec: SearchSpec, made: Architecture, known: set[str], draws: Draws) -> Architecture | None:
        """With one random part more; None where none was found that fits and is not known."""
        before = spec.space.choices(made)
        options = spec.space.decisions(made.level + 1)[len(before) :]
        return unknown(spec, lambda: spec.space.decide([*before, *map(draws.below, options)]), known)
