"""Ink on paper: drawings and photographs of them, dark on light or light on dark, as ink 255 on paper 0."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

LEAST_CONTRAST = 0.15
"""Of white: what differs less from its paper is not stretched to full ink, so that an empty sheet stays empty."""
_SAMPLE = 64
"""Pixels a side, at most, to which the paper is fitted."""
_ALIKE = 1e-8
"""Least pivot of the equations of the paper's surface, of the largest: below, pixels lie so that many surfaces fit."""


def ink_of(grey: np.ndarray) -> np.ndarray:
    """uint8 `[H, W]`, any polarity and light -> uint8 `[H, W]`, ink 255 on paper 0.

    The paper is a smooth surface (a polynomial of degree 2: uneven light) through what looks like the border; ink is
    what differs from it, on the side where the difference is larger. Black on white of two levels is inverted exactly.
    """
    values = grey.astype(np.float64) / 255
    away = values - _middle(np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]]))
    for _ in range(2):
        size = np.abs(away)
        paper = size <= size.max() / 2
        away = values - _surface(values, paper)
    ink = away if away.max() > -away.min() else -away
    ink = ink.clip(min=0)
    full, most = _quantile(ink, 0.995), float(ink.max())
    full = full if full >= most / 2 else most
    among = np.abs(away[paper])
    rough = 3.0 * 1.4826 * _middle(among) if among.size else 0.0
    floor = min(rough, full / 3)
    stretched = (ink - floor) / (max(full, LEAST_CONTRAST) - floor)
    return np.rint(255 * stretched.clip(0, 1)).astype(np.uint8)


def _quantile(values: np.ndarray, share: float) -> float:
    """Between the two values on either side of this share of them, in order, as `numpy.quantile` puts it."""
    flat = values.ravel()
    place = share * (flat.size - 1)
    low = math.floor(place)
    high = min(low + 1, flat.size - 1)
    ordered = np.partition(flat, (low, high))
    return float(ordered[low] + (ordered[high] - ordered[low]) * (place - low))


def _middle(values: np.ndarray) -> float:
    """The median."""
    return _quantile(values, 0.5)


@lru_cache(maxsize=4)
def _terms(height: int, width: int) -> np.ndarray:
    """The terms of the surface at every pixel, float64 `[H, W, 6]`."""
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    terms.setflags(write=False)
    return terms


def _surface(values: np.ndarray, paper: np.ndarray) -> np.ndarray:
    """The polynomial of degree 2 nearest to the pixels of `paper`, at all pixels `[H, W]`; their mean where too few."""
    terms = _terms(*values.shape)
    steps = -(-values.shape[0] // _SAMPLE), -(-values.shape[1] // _SAMPLE)
    few = np.s_[:: steps[0], :: steps[1]]
    chosen = paper[few]
    if chosen.sum() < 4 * terms.shape[-1]:
        return np.full_like(values, values[paper].mean() if paper.any() else 0.0)
    return terms @ _nearest(terms[few][chosen], values[few][chosen])


def _nearest(terms: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Weights `[6]` of terms `[n, 6]` by least squares: by the normal equations, which small squares of polynomials on
    -1 .. 1 keep exact enough for 8 bits; where they do not tell the weights, the smallest ones."""
    square = terms.T @ terms
    try:
        pivots = np.diagonal(np.linalg.cholesky(square))
    except np.linalg.LinAlgError:
        pivots = np.zeros(1)
    if pivots.min() ** 2 <= _ALIKE * square.max():
        return np.linalg.lstsq(terms, values, rcond=None)[0]
    return np.linalg.solve(square, terms.T @ values)
