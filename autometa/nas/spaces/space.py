"""The protocol of a search space: architectures with canonical keys, drawn, mutated, expanded and encoded."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Protocol, TypeVar

import numpy as np
from torch import Tensor

from autometa.nas.spaces.draws import Draws
from autometa.registry import Registry


class Architecture(Protocol):
    """A point of a space; equal architectures have equal keys. level: its size, from 1; depth: its longest path."""

    @property
    def key(self) -> str: ...

    @property
    def level(self) -> int: ...

    @property
    def depth(self) -> int: ...


A = TypeVar("A", bound=Architecture)


class Space(Protocol[A]):
    """Architectures of levels 1 to `levels`; those of the last one are of full size."""

    @property
    def levels(self) -> int: ...

    def count(self, level: int) -> int:
        """Different architectures of a level."""

    def parse(self, key: str) -> A:
        """The architecture of a key. Raises `ValueError` that says what is wrong with it."""

    def first(self) -> Iterator[A]:
        """All architectures of level 1."""

    def decisions(self, level: int) -> tuple[int, ...]:
        """How many options each choice has that makes an architecture of a level, in order; those of a level begin with
        those of the level before, so that further choices extend an architecture."""

    def decide(self, choices: Sequence[int]) -> A:
        """The architecture that these choices make, one for each decision of its level."""

    def choices(self, architecture: A) -> tuple[int, ...]:
        """Choices that make an architecture; the same for equal ones."""

    def sample(self, draws: Draws, level: int | None = None) -> A:
        """A random architecture, of full size where no level is given."""

    def mutate(self, architecture: A, draws: Draws) -> A:
        """A random neighbour of the same level, perhaps the architecture itself."""

    def neighbours(self, architecture: A) -> list[A]:
        """All different neighbours that `mutate` can give, without the architecture itself, sorted by key."""

    def expand(self, beam: Collection[A], parents: Collection[str] | None = None) -> Iterator[A]:
        """Every architecture of one level more that extends one of the beam, each once; with `parents` (keys) only
        what these of the beam yield."""

    def expansions_at_most(self, architecture: A) -> int:
        """How many architectures may extend this one."""

    def encode(self, architectures: Sequence[A]) -> np.ndarray:
        """Features for predictors that are not sequence models, float64 `[n, features]`."""

    def tokens(self, architectures: Sequence[A]) -> tuple[Tensor, Tensor]:
        """For sequence models: int64 `[n, parts, tokens of a part]`, padded with 0, and the numbers of parts `[n]`."""

    @property
    def vocabulary(self) -> int:
        """Tokens are below this."""


SPACES: Registry = Registry("search space", "autometa.spaces", {"blocks": "autometa.nas.spaces.block_space:BlockSpace"})
"""By name: a class that is made with the number of levels."""
