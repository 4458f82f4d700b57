"""Bayesian optimisation with a Gaussian process (Snoek et al. 2012, arXiv 1206.2944; batches as in Hutter et al. 2012,
Parallel Algorithm Configuration, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

from autometa.errors import InputError
from autometa.nas.predictors.gp import GaussianProcess
from autometa.nas.spaces.draws import Draws
from autometa.nas.strategies.choosing import candidates
from autometa.nas.strategies.strategy import Proposal, SearchSpec, Strategy, Trial, batches, drawn


@dataclass(frozen=True)
class GaussianProcessSearch(Strategy):
    """Bayesian optimisation: a Gaussian process on an architecture's features, and what might be best by it.

    Each proposal of a batch has the highest mean plus k standard deviations, k drawn from an exponential distribution
    of mean 1, which spreads the batch (Snoek et al.: expected improvement, one at a time). The process is on the
    space's features (`Space.encode`), its kernel and noise by marginal likelihood.

    Args:
        first: random architectures to begin with.
        pool: random architectures that a batch is chosen from, beside neighbours of the best.
    """

    first: int = 20
    pool: int = 500

    def check(self, spec: SearchSpec) -> None:
        if self.first < 1 or self.pool < 1:
            raise InputError(f"gaussian-process needs first and pool of 1 or more, not {self.first} and {self.pool}")

    def rounds(self, spec: SearchSpec) -> tuple[int, ...]:
        return batches(min(self.first, spec.budget), spec)

    def round(self, history: Sequence[Trial], spec: SearchSpec) -> list[Proposal]:
        known = {trial.key for trial in history}
        if not history:
            return [Proposal(made.key) for made in drawn(spec, self.first, known, 0)]
        scored = [trial for trial in history if trial.scored]
        process = GaussianProcess(spec.space, needs=())
        process.fit([spec.space.parse(t.key) for t in scored], [t.measured for t in scored], spec.seed)
        pool = candidates(history, spec, self.pool, known)
        mean, std = process.predict(pool)
        draws, found = Draws(spec.seed, len(history)), []
        for _ in range(min(spec.batch, len(pool))):
            place = int((mean - log(1 - draws.uniform()) * std).argmax())
            found.append(Proposal(pool[place].key, mean=float(mean[place]), std=float(std[place])))
            mean[place] = -float("inf")
        return found
