"""Schedules of a meta step size over a run."""

from __future__ import annotations

import math
from dataclasses import dataclass

SHAPES = ("constant", "linear", "cosine")


@dataclass(frozen=True)
class Schedule:
    """A meta step size over the run: `constant`, `linear` or `cosine` from start to end.

    Reptile's falls linearly to 0 (appendix A), MetaNAS's search keeps it and its scaled-up training follows a cosine.
    """

    start: float
    end: float = 0.0
    shape: str = "linear"

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ValueError(f"schedule shape must be {' or '.join(SHAPES)}, not {self.shape!r}")

    def at(self, iteration: float, total: int) -> float:
        """The value at meta-iteration `iteration` of `total`, counted from 0, or at a share of 1."""
        if self.shape == "constant":
            return self.start
        done = iteration / max(total, 1)
        if self.shape == "linear":
            return self.start + (self.end - self.start) * done
        return self.end + (self.start - self.end) * 0.5 * (1.0 + math.cos(math.pi * done))
