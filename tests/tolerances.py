"""The tolerance table: one bound per dtype and depth of the computation, and the worst error seen.

An error is `max |a - b| / max |b|` with b the expected array.  Arrays that are 0 up to rounding have an absolute bound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

ZERO = 1e-16
ABSOLUTE = {torch.float64: 1e-12, torch.float32: 1e-6}


@dataclass(frozen=True)
class Tolerance:
    """bound: what is allowed; worst: the largest error measured; where: on which check."""

    bound: float
    worst: float
    where: str


_FLOAT64 = {
    "exact": Tolerance(0.0, 0.0, "integers, names"),
    "vector": Tolerance(1e-9, 0, ""),
    "primitive": Tolerance(1e-9, 0, ""),
    "forward": Tolerance(1e-9, 0, ""),
    "cell": Tolerance(1e-9, 0, ""),
    "supernet_28 gradient": Tolerance(1e-9, 0, ""),
    "supernet_28 gradient, pruned": Tolerance(1e-9, 0, ""),
    "supernet_84 gradient": Tolerance(1e-9, 0, ""),
    "discrete gradient": Tolerance(1e-9, 0, ""),
    "meta-gradient": Tolerance(1e-9, 0, ""),
    "formula": Tolerance(1e-11, 0, ""),
    "slots, node": Tolerance(1e-11, 0, ""),
    "slots, network": Tolerance(1e-11, 0, ""),
    "slots, inner loop": Tolerance(1e-11, 0, ""),
    "shifted": Tolerance(1e-11, 0, ""),
}
_FLOAT32 = {
    "exact": Tolerance(0.0, 0.0, "integers, names"),
    "vector": Tolerance(1.1e-5, 0, ""),
    "primitive": Tolerance(1.1e-5, 0, ""),
    "forward": Tolerance(1.1e-5, 0, ""),
    "cell": Tolerance(2e-5, 0, ""),
    "supernet_28 gradient": Tolerance(2e-4, 0, ""),
    "supernet_28 gradient, pruned": Tolerance(6e-4, 0, ""),
    "supernet_84 gradient": Tolerance(5e-3, 0, ""),
    "discrete gradient": Tolerance(1.5e-2, 0, ""),
    "meta-gradient": Tolerance(1.1e-5, 0, ""),
    "formula": Tolerance(1e-4, 0, ""),
    "slots, node": Tolerance(1e-4, 0, ""),
    "slots, network": Tolerance(1e-4, 0, ""),
    "slots, inner loop": Tolerance(1e-4, 0, ""),
    "shifted": Tolerance(5e-4, 0, ""),
}
TABLE: dict[tuple[torch.dtype, str], Tolerance] = {
    **{(torch.float64, depth): found for depth, found in _FLOAT64.items()},
    **{(torch.float32, depth): found for depth, found in _FLOAT32.items()},
}


def tolerance(dtype: torch.dtype, depth: str) -> float:
    """The bound of a row of the table."""
    return TABLE[dtype, depth].bound


def distance(actual: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """max |a - b| and max |b|; infinite where shapes differ or a number is not finite."""
    if actual.shape != expected.shape:
        return float("inf"), 1.0
    if expected.size == 0:
        return 0.0, 1.0
    if expected.dtype.kind not in "fiub" or actual.dtype.kind not in "fiub":
        return (0.0 if bool((actual == expected).all()) else float("inf")), 1.0
    gap = np.abs(actual.astype(np.float64) - expected.astype(np.float64)).max()
    scale = np.abs(expected).max()
    if not (np.isfinite(gap) and np.isfinite(scale)):
        return float("inf"), 1.0
    return float(gap), float(scale)


def array(value: Tensor | np.ndarray) -> np.ndarray:
    """A tensor as an array."""
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else value


def relative_error(actual: Tensor | np.ndarray, expected: Tensor | np.ndarray) -> float:
    """The error as the table measures it; the absolute one where `expected` is 0 up to rounding."""
    gap, scale = distance(array(actual), array(expected))
    return gap if scale < ZERO else gap / scale


def assert_agree(actual: Tensor | np.ndarray, expected: Tensor | np.ndarray, depth: str, dtype: torch.dtype) -> None:
    """Fail where `actual` is further from `expected` than the table allows."""
    gap, scale = distance(array(actual), array(expected))
    if scale < ZERO:
        assert gap <= ABSOLUTE[dtype], f"{depth}: should be 0, is up to {gap:.2e}"
    else:
        assert gap <= tolerance(dtype, depth) * scale, f"{depth}: relative error {gap / scale:.2e}"
