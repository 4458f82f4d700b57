"""Grid search (as Bergstra and Bengio 2012, JMLR 13, section 1, describe it), the oldest baseline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import gcd, prod

from autometa.nas.spaces.draws import Draws
from autometa.nas.spaces.space import Architecture
from autometa.nas.strategies.strategy import Proposal, SearchSpec, Strategy, Trial


@dataclass(frozen=True)
class GridSearch(Strategy):
    """Grid search: architectures of full size at even distances in the order of their choices, all in one round.

    A grid of few options for each choice needs a budget that is a product; here the list of all combinations, the last
    choice changing fastest, is walked in steps that reach each of them once, from a random one on. The step is what the
    budget leaves; combinations that make the same architecture count once.
    """

    def round(self, history: Sequence[Trial], spec: SearchSpec) -> list[Proposal]:
        if history:
            return []
        found: dict[str, None] = {}
        for made in self._walk(spec):
            if made.key not in found and spec.fits(made):
                found[made.key] = None
                if len(found) == spec.budget:
                    break
        return [Proposal(key) for key in found]

    def _walk(self, spec: SearchSpec) -> Iterator[Architecture]:
        options = spec.space.decisions(spec.space.levels)
        total, draws, place = prod(options), Draws(spec.seed, 0), 0
        step = max(1, total // spec.budget)
        while gcd(step, total) > 1:
            step += 1
        for many in options:
            place = place * many + draws.below(many)
        for _ in range(total):
            left, choices = place, []
            for many in reversed(options):
                left, chosen = divmod(left, many)
                choices.append(chosen)
            yield spec.space.decide(choices[::-1])
            place = (place + step) % total
