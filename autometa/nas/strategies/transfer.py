"""Hyperband with a transfer model (Valkov et al. 2018, A Simple Transfer-Learning Extension of Hyperband, NeurIPS
workshop on meta-learning)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autometa.nas.predictors.shared_bases import SharedBases
from autometa.nas.spaces.space import Architecture
from autometa.nas.strategies.choosing import candidates, one_thread
from autometa.nas.strategies.hyperband import Hyperband
from autometa.nas.strategies.strategy import SearchSpec, Trial, drawn

LEAST = 5
"""Accuracies at one length of training that are learned from at least."""


@dataclass(frozen=True)
class TransferHyperband(Hyperband):
    """Hyperband whose new architectures are chosen by a model that learns across lengths and earlier searches.

    Each length of training of each search is a Bayesian linear regression, on features that one network learns for all
    of them (`SharedBases`). A bracket's architectures are the best of as many functions drawn from the posterior
    (Thompson sampling) of the longest length that this search knows enough of; before it knows any, of the earlier
    searches in turn; without those they are random.

    Args:
        pool: random architectures that a bracket is chosen from, beside neighbours of the best.
        earlier: run folders of searches to learn from, of other images or settings too.
        passes: times that all brackets are gone through; the model has learned from all before.
    """

    passes: int = 2
    pool: int = 500
    earlier: tuple[str, ...] = ()

    def learns_from(self) -> tuple[str, ...]:
        return self.earlier

    def fresh(self, count: int, history: Sequence[Trial], spec: SearchSpec) -> list[Architecture]:
        known = {trial.key for trial in history}
        own, earlier = tasks(history, spec), [tasks(past, spec) for past in spec.earlier]
        sources = [own] if own else [found for found in earlier if found]
        pool = candidates(history, spec, max(self.pool, 2 * count), known) if sources else []
        if not pool:
            return drawn(spec, count, known, len(history))
        every = [*own.values(), *(task for found in earlier for task in found.values())]
        longest = [found[max(found)] for found in sources]
        model, found = SharedBases(), []
        generator = np.random.Generator(np.random.Philox([spec.seed, len(history)]))
        with one_thread():
            model.fit(every, spec.seed)
            x, free = spec.space.encode(pool), np.ones(len(pool), dtype=bool)
            for n in range(min(count, len(pool))):
                task = next(i for i, one in enumerate(every) if one is longest[n % len(longest)])
                place = int(np.where(free, model.drawn(task, x, generator), -np.inf).argmax())
                free[place] = False
                found.append(pool[place])
        return found


def tasks(history: Sequence[Trial], spec: SearchSpec) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Features and accuracies by the meta-iterations after which they were measured, where there are enough."""
    by_length: dict[int, list[Trial]] = {}
    for trial in history:
        if trial.scored:
            by_length.setdefault(max(trial.reports, default=trial.fidelity or 0), []).append(trial)
    return {
        length: (spec.space.encode([spec.space.parse(t.key) for t in own]), np.array([t.accuracy for t in own]))
        for length, own in sorted(by_length.items())
        if len(own) >= LEAST
    }
