"""Random search (Li and Talwalkar 2019, arXiv 1902.07638): as many different random architectures of full size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autometa.nas.strategies.strategy import Proposal, SearchSpec, Strategy, Trial, drawn


@dataclass(frozen=True)
class RandomSearch(Strategy):
    """Random search: different random architectures of full size, all in one round."""

    def round(self, history: Sequence[Trial], spec: SearchSpec) -> list[Proposal]:
        if history:
            return []
        return [Proposal(made.key) for made in drawn(spec, spec.budget, set(), 0)]
