"""Gradient-boosted trees (Friedman 2001), as scikit-learn makes them: needs `pip install 'autometa-nas[sklearn]'`."""

from __future__ import annotations

import numpy as np

from autometa.errors import InputError
from autometa.nas.predictors.features import FeaturePredictor


class BoostedTrees(FeaturePredictor):
    """Gradient-boosted trees on counts of ops, ways through the cell, and sizes; between what it has seen, not beyond.

    The standard deviation is that of its errors on what it learned, the same for all.
    """

    def _learn(self, x: np.ndarray, y: np.ndarray, seed: int) -> None:
        try:
            from sklearn.ensemble import HistGradientBoostingRegressor
        except ImportError as error:
            raise InputError(
                "trees need scikit-learn; get it by: pip install 'autometa-nas[sklearn]', or take ridge"
            ) from error
        self._trees = HistGradientBoostingRegressor(
            max_iter=100, learning_rate=0.1, max_leaf_nodes=8, min_samples_leaf=4, random_state=seed % 2**32
        )
        self._trees.fit(x, y)
        self._error = float((y - self._trees.predict(x)).std())

    def _answer(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._trees.predict(x), np.full(len(x), self._error)
