"""An ensemble of predictors: mean and spread of what its members say."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from autometa.nas.predictors.predictor import Predictor, checked
from autometa.nas.spaces.space import Architecture


class Ensemble:
    """Several predictors with seeds of their own, each of which leaves out its share of the cells (PNAS, section 4.2:
    five, four fifths each). Mean and standard deviation are those of their predictions."""

    def __init__(self, of: Callable[[], Predictor], members: int = 5):
        if members < 2:
            raise ValueError(f"an ensemble has at least 2 members, not {members}")
        self.members = [of() for _ in range(members)]

    def fit(self, cells: Sequence[Architecture], accuracies: Sequence[float], seed: int) -> None:
        accuracies, many = checked(cells, accuracies), len(self.members)
        fold = np.random.Generator(np.random.Philox(seed)).permutation(len(cells)) % many
        for m, member in enumerate(self.members):
            kept = [i for i in range(len(cells)) if len(cells) < 2 * many or fold[i] != m]
            member.fit([cells[i] for i in kept], [accuracies[i] for i in kept], seed * many + m)

    def predict(self, cells: Sequence[Architecture]) -> tuple[np.ndarray, np.ndarray]:
        means = np.stack([member.predict(cells)[0] for member in self.members])
        return means.mean(axis=0), means.std(axis=0)
