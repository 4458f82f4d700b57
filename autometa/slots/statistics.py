"""Whose statistics normalise a forward pass: the batch's own, or those recorded from a support set."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


class BatchStatistics:
    """The usual case: every batch normalisation uses the batch at hand."""

    record = False

    def take(self) -> Tensor | None:
        """The statistics that the next op must use, None for those of its batch."""
        return None

    def keep(self, statistics: Tensor | None) -> None:
        """Called by every op with what it measured."""


class Recorder(BatchStatistics):
    """Uses the batch's statistics and keeps them, in the order of the forward pass."""

    record = True

    def __init__(self) -> None:
        self.kept: list[Tensor] = []

    def keep(self, statistics: Tensor | None) -> None:
        self.kept.append(statistics)


class Given(BatchStatistics):
    """Replays recorded statistics (mean and biased variance of each BN input) in the same order."""

    def __init__(self, kept: Sequence[Tensor | None]) -> None:
        self._kept = iter(kept)

    def take(self) -> Tensor | None:
        return next(self._kept)
