"""Axes: scales between numbers and coordinates, ticks at round numbers, their labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

ROUND = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Scale:
    """Numbers `low` to `high` to coordinates `start` to `end`, evenly or (`log`) by ratio; ticks at round numbers."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    wanted: int = 4

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return self.start + (self.end - self.start) * (value - low) / (high - low)

    @property
    def ticks(self) -> list[float]:
        return log_ticks(self.low, self.high, self.wanted) if self.log else ticks(self.low, self.high, self.wanted)

    @property
    def labels(self) -> list[str]:
        return [tick_labels([t])[0] for t in self.ticks] if self.log else tick_labels(self.ticks)


def scale(
    values: Sequence[float], start: float, end: float, *, log: bool = False, wanted: int = 4, zero: bool = False
) -> Scale:
    """A scale that holds all values, its ends at ticks where it is even; `zero`: begins at 0.

    Without values it holds 0 to 1; where all are equal, a little to both sides.
    """
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if log and low > 0:
        room = (high / low) ** 0.04 if high > low else 1.5
        return Scale(low / room, high * room, start, end, log=True, wanted=wanted)
    low = min(low, 0.0) if zero else low
    if not high > low:
        margin = abs(high) * 0.1 or 1.0
        low, high = (low, high + margin) if zero and low == 0 else (low - margin, high + margin)
    step = round_step(high - low, wanted)
    low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return Scale(low, high, start, end, wanted=wanted)


def round_step(span: float, wanted: int) -> float:
    """1, 2, 2.5 or 5 times a power of ten: the smallest that cuts `span` into at most about `wanted` parts."""
    rough = span / max(wanted, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in ROUND if factor * power >= rough * (1 - 1e-9))


def ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Multiples of a round step within low to high."""
    step = round_step(high - low, wanted)
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    decimals = max(0, 1 - math.floor(math.log10(step)))
    return [round(n * step, decimals) for n in range(first, last + 1)]


def log_ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """1, 2 and 5 times powers of ten within low to high, thinned; round numbers of `ticks` over a short range."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        found = [f * 10.0**d for d in decades for f in factors if low <= f * 10.0**d <= high]
        if 2 <= len(found) <= wanted + 1:
            return found
    if len(found) > wanted + 1:
        return found[:: -(-len(found) // (wanted + 1))]
    return [t for t in ticks(low, high, wanted) if t > 0]


def tick_labels(values: Sequence[float]) -> list[str]:
    """Labels of one axis, all with as many decimals as the finest needs; thousands as k, millions as M."""
    largest = max((abs(v) for v in values), default=0)
    unit, suffix = next(((u, s) for u, s in ((1e6, "M"), (1e4, "k")) if largest >= u), (1.0, ""))
    unit = 1e3 if suffix == "k" else unit
    scaled = [v / unit for v in values]
    decimals = next((d for d in range(5) if all(abs(round(v, d) - v) < 1e-9 * max(1, abs(v)) for v in scaled)), 5)
    return [f"{v:,.{decimals}f}{suffix if v else ''}" for v in scaled]
