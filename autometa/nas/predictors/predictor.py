"""The protocol of a predictor: learns accuracies of trained architectures and predicts those of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from autometa.nas.spaces.space import Architecture
from autometa.registry import Registry


class Predictor(Protocol):
    """A model of accuracy over the architectures of one space. Fits are deterministic by seed."""

    def fit(self, architectures: Sequence[Architecture], accuracies: Sequence[float], seed: int) -> None:
        """Learn anew. Raises `ValueError` without architectures or with accuracies that are not finite."""

    def predict(self, architectures: Sequence[Architecture]) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation, float64 `[n]` each, in the accuracies' unit."""


def checked(architectures: Sequence[Architecture], accuracies: Sequence[float]) -> list[float]:
    """The accuracies as floats. Raises `ValueError` unless there is one finite number for each architecture."""
    values = [float(a) for a in accuracies]
    if not architectures or len(architectures) != len(values) or not np.isfinite(values).all():
        raise ValueError(
            f"{len(architectures)} cells and {len(values)} accuracies: one finite accuracy per cell is needed"
        )
    return values


PREDICTORS: Registry = Registry(
    "predictor",
    "autometa.predictors",
    {"lstm": "autometa.nas.predictors.neural:LSTMPredictor", "mlp": "autometa.nas.predictors.neural:MLPPredictor"},
)
"""By name: a class that is made with (space, training settings)."""
