"""Base of predictors from numbers about an architecture: what the space tells of it, its size, early measurements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from autometa.errors import InputError
from autometa.nas.predictors.predictor import Measure, checked
from autometa.nas.spaces.space import Architecture, Space


class FeaturePredictor(ABC):
    """Standardised features in, standardised accuracies out; a feature that no learned architecture varies in is left
    out.

    Args:
        space: encodes architectures.
        how: training settings of neural predictors, unused here.
        measure: gives what `needs` names.
        needs: other measurements than those of the class.

    Raises:
        InputError: measurements that nobody can give.
    """

    alone: ClassVar[bool] = True
    needs: tuple[str, ...] = ("sizes",)

    def __init__(
        self, space: Space, how: Any = None, measure: Measure | None = None, needs: tuple[str, ...] | None = None
    ) -> None:
        self.space, self.measure = space, measure
        self.needs = type(self).needs if needs is None else tuple(needs)
        if self.needs and measure is None:
            raise InputError(
                f"a predictor of this kind needs {' and '.join(self.needs)}, which this search cannot give"
            )
        self._fitted = False

    def features(self, architectures: Sequence[Architecture]) -> np.ndarray:
        """float64 `[n, features]`, sizes as logarithms."""
        parts, measure = [self.space.encode(architectures)], self.measure
        for need in self.needs:
            assert measure is not None, "a predictor that needs measures is made with one"
            part = np.asarray(measure(need, architectures), dtype=np.float64).reshape(len(architectures), -1)
            parts.append(np.log(np.maximum(part, 1.0)) if need == "sizes" else part)
        return np.concatenate(parts, axis=1)

    def fit(self, architectures: Sequence[Architecture], accuracies: Sequence[float], seed: int) -> None:
        y, x = np.array(checked(architectures, accuracies)), self.features(architectures)
        spread = x.std(axis=0)
        self._varies = spread > 1e-9
        self._middle, self._spread = x.mean(axis=0)[self._varies], spread[self._varies]
        self._centre, self._scale = float(y.mean()), float(y.std()) or 1.0
        self._learn((x[:, self._varies] - self._middle) / self._spread, (y - self._centre) / self._scale, seed)
        self._fitted = True

    def predict(self, architectures: Sequence[Architecture]) -> tuple[np.ndarray, np.ndarray]:
        if not self._fitted:
            raise ValueError("this predictor has learned nothing yet; fit it first")
        if not architectures:
            return np.zeros(0), np.zeros(0)
        x = (self.features(architectures)[:, self._varies] - self._middle) / self._spread
        mean, std = self._answer(x)
        return mean * self._scale + self._centre, std * self._scale

    @abstractmethod
    def _learn(self, x: np.ndarray, y: np.ndarray, seed: int) -> None:
        """From standardised features `[n, d]` and accuracies `[n]`."""

    @abstractmethod
    def _answer(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation, `[n]` each."""
