"""Draw Bezier strokes with a round pen: four times oversampled, then averaged (a box filter)."""

from __future__ import annotations

import numpy as np

OVERSAMPLING = 4
_CURVE_POINTS = 48
_CHUNK = 256


def draw_strokes(points: np.ndarray, radius: np.ndarray, size: int) -> np.ndarray:
    """Ink coverage uint8 `[n, size, size]` of n drawings.

    Args:
        points: float64 `[n, strokes, 7, 2]`, control points (x, y) of two cubic Bezier curves per stroke,
            which share the fourth; the image is the unit square, ink outside it is cut off.
        radius: float64 `[n]`, of the pen, in units of the image's height.
    """
    out = np.empty((len(points), size, size), dtype=np.uint8)
    order = np.argsort(-radius, kind="stable")
    for start in range(0, len(points), _CHUNK):
        rows = order[start : start + _CHUNK]
        out[rows] = _draw(points[rows], radius[rows] * size * OVERSAMPLING, size)
    return out


def _draw(points: np.ndarray, radius: np.ndarray, size: int) -> np.ndarray:
    """One chunk, sorted by falling pen radius (in fine pixels)."""
    fine = size * OVERSAMPLING
    margin = int(radius[0]) + 1
    side = fine + 2 * margin
    x, y = (_trace(points[..., axis], fine) for axis in (0, 1))
    inside = (x >= -margin) & (x < fine + margin) & (y >= -margin) & (y < fine + margin)
    drawing = np.broadcast_to(np.arange(len(points))[:, None], x.shape)[inside]
    spine = np.zeros((len(points), side, side), dtype=bool)
    spine[drawing, y[inside] + margin, x[inside] + margin] = True
    return _average(_widen(spine, radius, margin), size)


def _trace(control: np.ndarray, fine: int) -> np.ndarray:
    """Fine pixel numbers int64 `[n, strokes * 2 * _CURVE_POINTS]` along the curves of one coordinate."""
    t = np.arange(_CURVE_POINTS) / (_CURVE_POINTS - 1)
    weights = ((1 - t) * (1 - t) * (1 - t), 3 * t * (1 - t) * (1 - t), 3 * t * t * (1 - t), t * t * t)
    halves = []
    for first in (0, 3):
        curve = np.zeros((*control.shape[:2], _CURVE_POINTS))
        for k, weight in enumerate(weights):  # summed in this order, so that every machine rounds alike
            curve = curve + control[:, :, first + k, None] * weight
        halves.append(curve)
    traced = np.stack(halves, axis=2).reshape(len(control), -1)
    return np.floor(traced * fine).astype(np.int64)


def _widen(spine: np.ndarray, radius: np.ndarray, margin: int) -> np.ndarray:
    """Ink bool `[n, side - 2 margin, ...]`: every pixel within `radius` of the spine."""
    fine = spine.shape[1] - 2 * margin
    ink = np.zeros((len(spine), fine, fine), dtype=bool)
    square = radius * radius
    for dy in range(-margin, margin + 1):
        for dx in range(-margin, margin + 1):
            reached = int((square >= dy * dy + dx * dx).sum())
            rows, columns = slice(margin + dy, margin + dy + fine), slice(margin + dx, margin + dx + fine)
            ink[:reached] |= spine[:reached, rows, columns]
    return ink


def _average(ink: np.ndarray, size: int) -> np.ndarray:
    blocks = ink.reshape(len(ink), size, OVERSAMPLING, size, OVERSAMPLING)
    total = blocks.sum(axis=(2, 4), dtype=np.int64)
    cells = OVERSAMPLING * OVERSAMPLING
    return ((total * 255 + cells // 2) // cells).astype(np.uint8)
