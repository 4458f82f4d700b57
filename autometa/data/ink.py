"""Ink on paper: drawings and photographs of them, dark on light or light on dark, as ink 255 on paper 0."""

from __future__ import annotations

import numpy as np

LEAST_CONTRAST = 0.15
"""Of white: what differs less from its paper is not stretched to full ink, so that an empty sheet stays empty."""
_SAMPLE = 64
"""Pixels a side, at most, to which the paper is fitted."""


def ink_of(grey: np.ndarray) -> np.ndarray:
    """uint8 `[H, W]`, any polarity and light -> uint8 `[H, W]`, ink 255 on paper 0.

    The paper is a smooth surface (a polynomial of degree 2: uneven light) through what looks like the border; ink is
    what differs from it, on the side where the difference is larger. Black on white of two levels is inverted exactly.
    """
    values = grey.astype(np.float64) / 255
    away = values - np.median(np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]]))
    for _ in range(2):
        paper = np.abs(away) <= np.abs(away).max() / 2
        away = values - _surface(values, paper)
    ink = away if away.max() > -away.min() else -away
    ink = ink.clip(min=0)
    full, most = float(np.percentile(ink, 99.5)), float(ink.max())
    full = full if full >= most / 2 else most
    rough = 3.0 * 1.4826 * float(np.median(np.abs(away[paper]))) if paper.any() else 0.0
    floor = min(rough, full / 3)
    stretched = (ink - floor) / (max(full, LEAST_CONTRAST) - floor)
    return np.rint(255 * stretched.clip(0, 1)).astype(np.uint8)


def _surface(values: np.ndarray, paper: np.ndarray) -> np.ndarray:
    """The polynomial of degree 2 nearest to the pixels of `paper`, at all pixels `[H, W]`; their mean where too few."""
    height, width = values.shape
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    steps = -(-height // _SAMPLE), -(-width // _SAMPLE)
    few = np.s_[:: steps[0], :: steps[1]]
    chosen = paper[few]
    if chosen.sum() < 4 * terms.shape[-1]:
        return np.full_like(values, values[paper].mean() if paper.any() else 0.0)
    weights = np.linalg.lstsq(terms[few][chosen], values[few][chosen], rcond=None)[0]
    return terms @ weights
