"""A finite part of a space, every architecture of which is listed, such as those that a table holds."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Generic

import numpy as np
from torch import Tensor

from autometa.nas.networks.network import Network
from autometa.nas.networks.side_by_side import Macro, SideBySide
from autometa.nas.spaces.draws import Draws
from autometa.nas.spaces.genotype import Genotype
from autometa.nas.spaces.space import A, Space

TRIES = 20
"""Draws from the whole space in search of an architecture of the part."""


class FiniteSpace(Generic[A]):
    """The listed architectures of a space as a space of their own; where all are listed, the same space, faster.

    Draws and neighbours are those of the whole space until one of the part is met: a part keeps the whole's
    distribution, and a mutation may take several steps.

    Args:
        whole: the space.
        listed: its architectures by key, those that expansions of a part go through included.
        part: keys of the part, all listed ones where None.
    """

    def __init__(self, whole: Space[A], listed: Mapping[str, A], part: Collection[str] | None = None) -> None:
        self.whole, self.listed = whole, listed
        self.part = frozenset(listed) if part is None else frozenset(part)
        self._expansions: dict[str, list[A]] = {}
        self._neighbours: dict[str, list[A]] = {}

    @property
    def levels(self) -> int:
        return self.whole.levels

    @property
    def unit(self) -> str:
        return self.whole.unit

    @property
    def about_units(self) -> str:
        return self.whole.about_units

    @property
    def vocabulary(self) -> int:
        return self.whole.vocabulary

    @cached_property
    def by_level(self) -> dict[int, list[A]]:
        """The part's architectures by level, sorted by key."""
        found: dict[int, list[A]] = {level: [] for level in range(1, self.levels + 1)}
        for key in sorted(self.part):
            found[self.listed[key].level].append(self.listed[key])
        return found

    def count(self, level: int) -> int:
        return len(self.by_level[level])

    def parse(self, key: str) -> A:
        return self.listed[key] if key in self.listed else self.whole.parse(key)

    def first(self) -> Iterator[A]:
        return (made for made in self.whole.first() if made.key in self.part)

    def decisions(self, level: int) -> tuple[int, ...]:
        return self.whole.decisions(level)

    def decide(self, choices: Sequence[int]) -> A:
        """One of the whole space, perhaps not of the part."""
        made = self.whole.decide(choices)
        return self.listed.get(made.key, made)

    def choices(self, architecture: A) -> tuple[int, ...]:
        return self.whole.choices(architecture)

    def sample(self, draws: Draws, level: int | None = None) -> A:
        """As in the whole space until one of the part comes; after `TRIES` others evenly from the part."""
        for _ in range(TRIES):
            made = self.whole.sample(draws, level)
            if made.key in self.part:
                return self.listed[made.key]
        own = self.by_level[level or self.levels]
        return own[draws.below(len(own))] if own else made

    def mutate(self, architecture: A, draws: Draws) -> A:
        """Mutations of the whole space until one of the part is met; after `TRIES` the architecture itself."""
        made = architecture
        for _ in range(TRIES):
            made = self.whole.mutate(made, draws)
            if made.key in self.part:
                return self.listed[made.key]
        return architecture

    def neighbours(self, architecture: A) -> list[A]:
        key = architecture.key
        if key not in self._neighbours:
            own = [made for made in self.whole.neighbours(architecture) if made.key in self.part]
            self._neighbours[key] = [self.listed[made.key] for made in own]
        return list(self._neighbours[key])

    def expand(self, beam: Collection[A], parents: Collection[str] | None = None) -> Iterator[A]:
        wanted = {made.key for made in beam} if parents is None else set(parents)
        seen: set[str] = set()
        for key in sorted({made.key for made in beam}):
            for made in self._expanded(key):
                if made.key not in seen:
                    seen.add(made.key)
                    if key in wanted:
                        yield made

    def _expanded(self, key: str) -> list[A]:
        if key not in self._expansions:
            every = self.whole.expand([self.parse(key)])
            self._expansions[key] = [self.listed[made.key] for made in every if made.key in self.part]
        return self._expansions[key]

    def expansions_at_most(self, architecture: A) -> int:
        return self.whole.expansions_at_most(architecture)

    def encode(self, architectures: Sequence[A]) -> np.ndarray:
        if not architectures or any(made.key not in self._place for made in architectures):
            return self.whole.encode(architectures)
        return self._encoded[[self._place[made.key] for made in architectures]]

    @cached_property
    def _place(self) -> dict[str, int]:
        return {key: n for n, key in enumerate(self.listed)}

    @cached_property
    def _encoded(self) -> np.ndarray:
        return self.whole.encode(list(self.listed.values()))

    def tokens(self, architectures: Sequence[A]) -> tuple[Tensor, Tensor]:
        return self.whole.tokens(architectures)

    def network(self, architecture: A, macro: Macro) -> Network:
        return self.whole.network(architecture, macro)

    def networks(self, architectures: Sequence[A], macro: Macro) -> SideBySide:
        return self.whole.networks(architectures, macro)

    def genotype(self, architecture: A) -> Genotype | None:
        return self.whole.genotype(architecture)
