"""The protocol of a predictor: learns accuracies of trained architectures and predicts those of others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from autometa.nas.spaces.space import Architecture, Space
from autometa.registry import Registry

Measure = Callable[[str, Sequence[Any]], np.ndarray]
"""What a search knows of architectures beside accuracies, by name, float64 `[n, numbers]`: `sizes`, weights and
multiply-accumulates, without training; `early`, after an eighth of a training, the loss summed up to there (nats) and
the accuracy there (percent)."""


class Predictor(Protocol):
    """A model of accuracy over the architectures of one space. Fits are deterministic by seed.

    A class may say `needs`, names of measurements that it is made with (`Measure`), and `alone`: that it says by itself
    how sure it is, so that no ensemble of it is made.
    """

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


def made(kind: type, space: Space, how: Any = None, measure: Measure | None = None) -> Predictor:
    """A predictor of a registered class that has learned nothing; `measure` where the class needs any."""
    return kind(space, how, measure) if getattr(kind, "needs", ()) else kind(space, how)


PREDICTORS: Registry = Registry(
    "predictor",
    "autometa.predictors",
    {
        "lstm": "autometa.nas.predictors.neural:LSTMPredictor",
        "mlp": "autometa.nas.predictors.neural:MLPPredictor",
        "ridge": "autometa.nas.predictors.linear:RidgePredictor",
        "gp": "autometa.nas.predictors.gp:GaussianProcess",
        "trees": "autometa.nas.predictors.trees:BoostedTrees",
        "curve": "autometa.nas.predictors.curves:CurvePredictor",
    },
)
"""By name: a class that is made with (space, training settings), and with a `Measure` where it has `needs`."""
