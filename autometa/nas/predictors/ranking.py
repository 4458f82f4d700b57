"""Rank correlations of what was predicted with what was measured."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def ranks(values: ArrayLike) -> np.ndarray:
    """Ranks from 0, float64 `[n]`; equal values share their mean rank."""
    _, inverse, counts = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts + 1) / 2)[inverse]


def spearman(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's rank correlation, Pearson's of the ranks; nan where it does not exist."""
    x, y = (r - r.mean() if len(r) else r for r in (ranks(a), ranks(b)))
    norm = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum() / norm) if norm > 0 else float("nan")


def kendall(a: ArrayLike, b: ArrayLike) -> float:
    """Kendall's tau-b, which takes ties into account; nan where it does not exist. Memory and time grow as n * n."""
    x, y = (np.sign(np.subtract.outer(v, v)) for v in (np.asarray(a, dtype=np.float64), np.asarray(b, np.float64)))
    norm = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum() / norm) if norm > 0 else float("nan")
