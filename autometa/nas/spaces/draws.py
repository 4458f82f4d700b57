"""Random integers of one numbered choice, drawn in order: Philox-4x32-10 by seed and number."""

from __future__ import annotations

from autometa.ops.philox import bounded, philox_uint32

STREAM = 4
"""Philox stream of a strategy's choices, beside those of tasks, batches, drop path and initialisations."""


class Draws:
    """Random integers of one choice; (seed, item) decides them."""

    def __init__(self, seed: int, item: int) -> None:
        self._seed, self._item, self._next = seed, item, 0

    def below(self, limit: int) -> int:
        """One of 0 .. limit - 1."""
        number = philox_uint32(self._seed, STREAM, self._item, self._next)
        self._next += 1
        return int(bounded(number, limit))
