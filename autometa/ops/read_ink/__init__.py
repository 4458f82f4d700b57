"""Ink on paper: drawings and photographs of them, dark on light or light on dark, as ink 255 on paper 0."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from autometa.ops._checks import check_numbers, require
from autometa.ops.backend import dispatch, implements
from autometa.ops.read_ink import cpp as cpp

LEAST_CONTRAST = 0.15
"""Of white: what differs less from its paper is not stretched to full ink, so that an empty sheet stays empty."""
SAMPLE = 64
"""Pixels a side, at most, to which the paper is fitted."""
ALIKE = 1e-8
"""Of the largest eigenvalue of the equations of the paper's surface: below, pixels say nothing of that direction."""
TERMS = 6
FLAT = 4
"""One pixel of so many in one grey: paper of that grey, in even light."""


def read_ink(images: Tensor, *, backend: str | None = None) -> Tensor:
    """Ink of grey pictures, each by itself.

    The paper is a smooth surface (a polynomial of degree 2: uneven light) through what looks like the border; ink is
    what differs from it, on the side where the difference is larger. Where a quarter of the pixels or more have one
    grey, as in drawings and scans, that is the paper (of two such greys the one that is more of the border), and ink
    may reach the border. Black on white of two levels is inverted exactly.

    Args:
        images: uint8 `[n, H, W]` on the CPU, contiguous, of any polarity and light.

    Returns:
        uint8 `[n, H, W]`, ink 255 on paper 0. Computed in float64: backends may differ by a level where a value lies
        between two.

    Raises:
        ValueError: a tensor of another shape or dtype.
        BackendError: the forced backend cannot run.
    """
    require(
        images.dim() == 3 and images.dtype == torch.uint8 and images.is_contiguous(),
        f"images must be contiguous uint8 [n, H, W], they are {images.dtype} {list(images.shape)}",
    )
    check_numbers("read_ink", *images.shape)
    return dispatch("read_ink", images.device, images.dtype, backend)(images)


@implements("read_ink", "reference")
def _reference(images: Tensor) -> Tensor:
    found = [_read(image) if image.size else image for image in images.cpu().numpy()]
    return torch.from_numpy(np.stack(found)).to(images.device) if found else torch.empty_like(images)


def _read(grey: np.ndarray) -> np.ndarray:
    values = grey.astype(np.float64) / 255
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    papers = np.flatnonzero(np.bincount(grey.ravel(), minlength=256) * FLAT >= grey.size)
    flat = len(papers) > 0
    on_border = np.bincount(border, minlength=256)[papers]
    away = values - (papers[on_border.argmax()] / 255 if flat else _quantile(border / 255, 0.5))
    paper = np.zeros(0, bool)
    for _ in range(2):
        size = np.abs(away)
        paper = size <= size.max() / 2
        if flat:
            break
        away = values - _surface(values, paper)
    among = np.abs(away[paper])
    rough = 3.0 * 1.4826 * _quantile(among, 0.5) if among.size else 0.0
    ink = (away if away.max() > -away.min() else -away).clip(min=0)
    full, most = _quantile(ink, 0.995), float(ink.max())
    full = full if full >= most / 2 else most
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


@lru_cache(maxsize=4)
def _terms(height: int, width: int) -> np.ndarray:
    """The terms of the surface at every pixel, float64 `[H, W, TERMS]`."""
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    terms.setflags(write=False)
    return terms


def _surface(values: np.ndarray, paper: np.ndarray) -> np.ndarray:
    """The polynomial of degree 2 nearest to the pixels of `paper`, at all pixels `[H, W]`; their mean where too few."""
    terms = _terms(*values.shape)
    steps = -(-values.shape[0] // SAMPLE), -(-values.shape[1] // SAMPLE)
    few = np.s_[:: steps[0], :: steps[1]]
    chosen = paper[few]
    if chosen.sum() < 4 * TERMS:
        return np.full_like(values, values[paper].mean() if paper.any() else 0.0)
    return terms @ _nearest(terms[few][chosen], values[few][chosen])


def _nearest(terms: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Weights `[TERMS]` of terms `[n, TERMS]` by least squares, the smallest where pixels do not tell them: by the
    normal equations, which polynomials on -1 .. 1 keep exact enough for 8 bits."""
    eigenvalues, vectors = np.linalg.eigh(terms.T @ terms)
    known = eigenvalues > ALIKE * eigenvalues.max()
    along = vectors[:, known].T @ (terms.T @ values)
    return vectors[:, known] @ (along / eigenvalues[known])
