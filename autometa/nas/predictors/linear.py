"""Ridge regression (Hoerl and Kennard 1970), its strength by leaving one out (Allen 1974)."""

from __future__ import annotations

import numpy as np

from autometa.nas.predictors.features import FeaturePredictor

STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


class RidgePredictor(FeaturePredictor):
    """Ridge regression on counts of ops, ways through the cell, and sizes; it goes on beyond what it has seen.

    The standard deviation is that of a Bayesian linear model with the errors of leaving one out as its noise.
    """

    def _learn(self, x: np.ndarray, y: np.ndarray, seed: int) -> None:
        x = np.column_stack([x, np.ones(len(x))])
        fits = [self._fit(x, y, strength) for strength in STRENGTHS]
        self._noise, self._weights, self._inverse = min(fits, key=lambda fit: fit[0])

    @staticmethod
    def _fit(x: np.ndarray, y: np.ndarray, strength: float) -> tuple[float, np.ndarray, np.ndarray]:
        """Mean squared error of leaving one out, weights, and the inverse of the regularised second moments."""
        penalty = np.append(np.full(x.shape[1] - 1, strength), 1e-9)  # the constant is free
        inverse = np.linalg.inv(x.T @ x + np.diag(penalty))
        weights = inverse @ x.T @ y
        leverage = np.einsum("nd,de,ne->n", x, inverse, x)
        return float((((y - x @ weights) / np.maximum(1 - leverage, 1e-6)) ** 2).mean()), weights, inverse

    def _answer(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = np.column_stack([x, np.ones(len(x))])
        spread = np.einsum("nd,de,ne->n", x, self._inverse, x)
        return x @ self._weights, np.sqrt(self._noise * (1 + spread))
