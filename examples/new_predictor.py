"""A predictor of your own in one file: the mean of the nearest trained architectures.

    autometa search auto-meta --preset quick --plugin examples/new_predictor.py --surrogate.kind nearest

or, here, on made-up accuracies that cost nothing:

    python examples/new_predictor.py
"""

from __future__ import annotations

import numpy as np

from autometa.nas.predictors.predictor import PREDICTORS
from autometa.nas.predictors.ranking import spearman
from autometa.nas.spaces.block_space import BlockSpace


class Nearest:
    """Mean accuracy of the five trained architectures whose features are nearest, and how far these lie apart."""

    def __init__(self, space, how=None):
        self.space, self.count = space, 5

    def fit(self, architectures, accuracies, seed):
        self.known, self.accuracies = self.space.encode(architectures), np.array(accuracies)

    def predict(self, architectures):
        away = np.square(self.space.encode(architectures)[:, None] - self.known).sum(axis=2)
        nearest = self.accuracies[np.argsort(away, axis=1, kind="stable")[:, : self.count]]
        return nearest.mean(axis=1), nearest.std(axis=1)


PREDICTORS.register("nearest", Nearest)


def main() -> None:
    """From the cells of one block to some of two; the more convolutions the better."""
    space = BlockSpace(2)
    small = list(space.first())
    predictor = PREDICTORS["nearest"](space)
    predictor.fit(small, [float(cell.key.count("c")) for cell in small], seed=0)
    large = list(space.expand(small[::11]))
    mean, _ = predictor.predict(large)
    found = spearman(mean, [float(cell.key.count("c")) for cell in large])
    print(f"rank correlation on {len(large)} cells of two blocks: {found:.2f}")


if __name__ == "__main__":
    main()
