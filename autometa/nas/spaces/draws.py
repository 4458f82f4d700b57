"""Random numbers of one numbered choice, drawn in order: Philox-4x32-10 by seed and number."""

from __future__ import annotations

from collections.abc import Sequence

from autometa.ops.philox import check_key, philox_words

STREAM = 4
"""Philox stream of a strategy's choices, beside those of tasks, batches, drop path and initialisations."""


class Draws:
    """Random numbers of one choice; (seed, item) decides them. Raises `ValueError` for a seed beyond 32 bits."""

    def __init__(self, seed: int, item: int) -> None:
        self._key, self._item, self._next = check_key(seed, STREAM), item, 0
        self._words: tuple[int, ...] = ()

    def _word(self) -> int:
        """The next 32 random bits, as `philox_uint32` gives them."""
        block, place = divmod(self._next, 4)
        if place == 0:
            self._words = philox_words(self._item & 0xFFFFFFFF, self._item >> 32, block, 0, *self._key)
        self._next += 1
        return self._words[place]

    def below(self, limit: int) -> int:
        """One of 0 .. limit - 1, a limit of at most 2^32."""
        return self._word() * limit >> 32

    def uniform(self) -> float:
        """In [0, 1), a multiple of 2^-32."""
        return self._word() / 2**32

    def weighted(self, weights: Sequence[float]) -> int:
        """A place, as likely as its weight says; weights are not below 0 and add up to more."""
        left = self.uniform() * sum(weights)
        for place, weight in enumerate(weights):
            left -= weight
            if left < 0:
                return place
        return max(place for place, weight in enumerate(weights) if weight > 0)

    def shuffled(self, items: Sequence) -> list:
        """All items in a random order (Fisher and Yates)."""
        found = list(items)
        for last in range(len(found) - 1, 0, -1):
            other = self.below(last + 1)
            found[last], found[other] = found[other], found[last]
        return found
