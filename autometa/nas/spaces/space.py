"""The protocol of a search space: architectures with canonical keys, drawn, mutated, expanded and encoded."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from torch import Tensor

from autometa.nas.networks.network import Network
from autometa.nas.networks.side_by_side import Macro, SideBySide
from autometa.nas.spaces.draws import Draws
from autometa.nas.spaces.genotype import Genotype
from autometa.registry import Registry

MOST_LEVELS = 15
PADDING = 0
"""The token that stands where an architecture has no part."""


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
    """Architectures of levels 1 to `levels`; those of the last one are of full size.

    unit: what an architecture of level n has n of, in a word; about_units: what these do in a network, in a sentence.
    """

    @property
    def levels(self) -> int: ...

    @property
    def unit(self) -> str: ...

    @property
    def about_units(self) -> str: ...

    def count(self, level: int) -> int:
        """Different architectures of a level."""

    def parse(self, key: str) -> A:
        """The architecture of a key, of whatever level. Raises `ValueError` that says what is wrong with it."""

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

    def network(self, architecture: A, macro: Macro) -> Network:
        """The network of an architecture, alone."""

    def networks(self, architectures: Sequence[A], macro: Macro) -> SideBySide:
        """The networks of several, trained side by side; each has the parameters of `network` by name and shape."""

    def genotype(self, architecture: A) -> Genotype | None:
        """The cells of an architecture, to be drawn and kept as a file; None where it has none."""


SPACES: Registry[Any] = Registry(
    "search space",
    "autometa.spaces",
    {
        "blocks": "autometa.nas.spaces.block_space:BlockSpace",
        "edges": "autometa.nas.spaces.edges:EdgeSpace",
    },
)
"""By name: a class that is made with the number of levels, at most `MOST_LEVELS`."""
