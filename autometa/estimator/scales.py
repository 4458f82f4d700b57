"""Which numbers are black and white in arrays of pictures, and whether others are of that scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autometa.errors import InputError

SLACK, FEW = 0.25, 0.005
"""Share of the taught range by which pictures may exceed it, and of numbers that may lie beyond that, up to one range
more; what lies outside is clipped."""
RINGING = 0.125
"""The same where nothing but the convention (0 .. 1, 0 .. 255) says what the range is: resizing overshoots."""
DARK = 8
"""Pictures whose greatest number is at most such a part of white would be black, or, where negative numbers were
taught, all one grey: they are of another scale."""
BYTE = (0.0, 255.0)


@dataclass(frozen=True)
class Levels:
    """Which numbers are black and white (0 and 255) in arrays that are not uint8; settled by the pictures taught."""

    low: float
    high: float

    @classmethod
    def of(cls, arrays: Sequence[np.ndarray]) -> Levels | None:
        """0 and 1 where everything lies between, else the least and the greatest number; None where all are uint8."""
        scaled = [array for array in arrays if array.dtype != np.uint8]
        if not scaled:
            return None
        low, high = _range(scaled)
        _check_alike(scaled, high)
        if 0 <= low and high <= 1:
            return cls(0.0, 1.0)
        return cls(low, high if high > low else low + 1.0)

    def to_uint8(self, values: np.ndarray) -> np.ndarray:
        """Numbers a little outside are clipped. Raises `InputError` where they are of another scale altogether."""
        width = self.high - self.low
        low, high = float(values.min()), float(values.max())
        if not (self.low - width <= low and high <= self.high + width):
            raise _unlike(low, high, self)
        return np.rint(((values.astype(np.float64) - self.low) * (255 / width)).clip(0, 255)).astype(np.uint8)

    @property
    def _unit(self) -> bool:
        """Whether it is 0 .. 1, or not much more."""
        return -0.5 <= self.low and self.high <= 2


def levels_at_prediction(taught: Levels | None, arrays: Sequence[np.ndarray]) -> Levels | None:
    """The levels of pictures that are asked about: those taught; after teaching from files or uint8 alone 0 and 1, or 0
    and 255. Raises `InputError` where the numbers are of another scale, or might be.
    """
    scaled = [array for array in arrays if array.dtype != np.uint8]
    if not scaled:
        _check_bytes(taught, arrays)
        return taught
    low, high = _range(scaled)
    _check_alike(scaled, high)
    if taught is None:
        if -RINGING <= low and high <= 1 + RINGING:
            return Levels(0.0, 1.0)
        if -RINGING * 255 <= low and 255 / DARK < high <= (1 + RINGING) * 255:
            return Levels(*BYTE)
        raise _unlike(low, high, Levels(*BYTE))
    if _reach_out(taught, scaled) or (not taught._unit and _might_be_other(taught, low, high)):
        raise _unlike(low, high, taught)
    return taught


def as_booleans(array: np.ndarray) -> np.ndarray:
    """A picture of uint8 that holds 0 and 1 alone as truth values: of 0 .. 255 it would be black. Others unchanged."""
    return array.astype(bool) if array.dtype == np.uint8 and array.size and array.max() == 1 else array


def _reach_out(taught: Levels, arrays: Sequence[np.ndarray]) -> bool:
    """Whether more than a few numbers lie further outside the taught range than `SLACK`."""
    slack = SLACK * (taught.high - taught.low)
    beyond = sum(int(((a < taught.low - slack) | (a > taught.high + slack)).sum()) for a in arrays)
    return beyond > FEW * sum(a.size for a in arrays)


def _might_be_other(taught: Levels, low: float, high: float) -> bool:
    """Whether numbers within the taught range are rather 0 .. 1 or -1 .. 1, or so small that they would be black or all
    one grey, or negative where none were."""
    if 0 <= low and high <= 1:
        return high > 0 or taught.low < 0
    if taught.low >= -RINGING:
        width = taught.high - taught.low
        return high <= taught.low + width / DARK or (low < -width / 32 and high <= width / 3)
    if max(-low, high) <= max(-taught.low, taught.high) / DARK:
        return True
    wider = taught.low < -1 - SLACK or taught.high > 1 + SLACK
    return wider and -1 <= low and high <= 1 and (low == -1 or high == 1)


def _check_bytes(taught: Levels | None, arrays: Sequence[np.ndarray]) -> None:
    """uint8 is 0 .. 255, unless small numbers were taught as another type and these are as small."""
    if taught is None or not arrays or taught.low < 0 or not 1 < taught.high <= 128:
        return
    low, high = min(int(a.min()) for a in arrays), max(int(a.max()) for a in arrays)
    if 0 < high <= (1 + SLACK) * taught.high:
        raise _unlike(low, high, taught)


def _check_alike(arrays: Sequence[np.ndarray], high: float) -> None:
    """Raises `InputError` where some pictures are of 0 .. 1 and others reach far beyond."""
    if high <= 255 / DARK:
        return
    for array in arrays:
        if array.dtype.kind == "f" and 0 <= array.min() and 0 < array.max() <= 1 and (array % 1).any():
            raise InputError(f"some images hold numbers from 0 to 1, others up to {high:g}; scale them alike")


def _range(arrays: Sequence[np.ndarray]) -> tuple[float, float]:
    low, high = float(min(np.min(a) for a in arrays)), float(max(np.max(a) for a in arrays))
    if not math.isfinite(low + high):
        raise InputError("images hold NaN or infinity; remove or replace them")
    return low, high


def _unlike(low: float, high: float, taught: Levels) -> InputError:
    return InputError(
        f"images hold numbers from {low:g} to {high:g}, those taught {taught.low:g} to {taught.high:g}; scale them "
        "alike: in the same way as those taught, or both as uint8"
    )
