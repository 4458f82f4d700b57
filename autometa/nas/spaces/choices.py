"""Spaces whose architectures are rows of independent choices, part by part: all but what the choices mean."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from autometa.nas.networks.network import Network
from autometa.nas.networks.side_by_side import Macro, Separate, SideBySide
from autometa.nas.spaces.draws import Draws
from autometa.nas.spaces.genotype import Genotype
from autometa.nas.spaces.space import MOST_LEVELS


@dataclass(frozen=True)
class Choices:
    """An architecture as the choices of each of its parts; of level n are those of n parts."""

    parts: tuple[tuple[int, ...], ...]

    @property
    def key(self) -> str:
        """Choices parted by `.`, parts by `|`, such as `0.2|1.0`."""
        return "|".join(".".join(map(str, part)) for part in self.parts)

    @property
    def level(self) -> int:
        return len(self.parts)

    @property
    def depth(self) -> int:
        """Parts one after another."""
        return len(self.parts)


@dataclass(frozen=True)
class ChoiceSpace(ABC):
    """Base of spaces of up to `levels` parts, each a few choices; other choices are another architecture.

    A space says what may be chosen (`options`) and which network that makes. architecture: the class of its points.
    """

    architecture: ClassVar[type[Choices]] = Choices
    unit: ClassVar[str] = "part"
    about_units: ClassVar[str] = ""

    levels: int = 5

    @abstractmethod
    def options(self, place: int) -> tuple[int, ...]:
        """How many options each choice of the part at a place has, counted from 0."""

    @abstractmethod
    def network(self, architecture: Any, macro: Macro) -> Network:
        """The network of an architecture."""

    def networks(self, architectures: Sequence[Any], macro: Macro) -> SideBySide:
        """Those of several: one after another, where a space knows no better."""
        return Separate([self.network(made, macro) for made in architectures])

    def genotype(self, architecture: Any) -> Genotype | None:
        """Its cells, where it has such."""
        return None

    def count(self, level: int) -> int:
        return prod(self.decisions(level))

    def parse(self, key: str) -> Any:
        words = [part.split(".") for part in key.split("|")]
        if not all(word.isdecimal() and len(word) < 10 for part in words for word in part):
            raise ValueError(f"architecture {key[:60]!r} must read like 0.2|1.0: numbers of choices, part by part")
        return self.checked(tuple(tuple(map(int, part)) for part in words))

    def checked(self, parts: tuple[tuple[int, ...], ...]) -> Any:
        """The architecture of these choices. Raises `ValueError` where one of them does not exist."""
        if not 1 <= len(parts) <= MOST_LEVELS:
            raise ValueError(f"an architecture has 1 to {MOST_LEVELS} {self.unit}s, not {len(parts)}")
        for place, part in enumerate(parts):
            options = self.options(place)
            if len(part) != len(options) or any(not 0 <= own < n for own, n in zip(part, options, strict=False)):
                raise ValueError(f"{self.unit} {place} chooses {list(part)}; its choices have {list(options)} options")
        return self.architecture(parts)

    def first(self) -> Iterator[Any]:
        return (self.decide(choices) for choices in product(*map(range, self.options(0))))

    def decisions(self, level: int) -> tuple[int, ...]:
        return tuple(n for place in range(level) for n in self.options(place))

    def decide(self, choices: Sequence[int]) -> Any:
        parts, rest = list[tuple[int, ...]](), list(choices)
        while rest:
            width = len(self.options(len(parts)))
            parts.append(tuple(rest[:width]))
            rest = rest[width:]
        return self.checked(tuple(parts))

    def choices(self, architecture: Any) -> tuple[int, ...]:
        return tuple(own for part in architecture.parts for own in part)

    def sample(self, draws: Draws, level: int | None = None) -> Any:
        """Every choice evenly."""
        return self.decide([draws.below(n) for n in self.decisions(level or self.levels)])

    def mutate(self, architecture: Any, draws: Draws) -> Any:
        """With another option for one choice that has several, both evenly."""
        options, own = self.decisions(architecture.level), list(self.choices(architecture))
        free = [i for i, n in enumerate(options) if n > 1]
        if free:
            i = free[draws.below(len(free))]
            own[i] = (own[i] + 1 + draws.below(options[i] - 1)) % options[i]
        return self.decide(own)

    def neighbours(self, architecture: Any) -> list[Any]:
        own, options = self.choices(architecture), self.decisions(architecture.level)
        changed = ((*own[:i], other, *own[i + 1 :]) for i, n in enumerate(options) for other in range(n))
        found = {made.key: made for made in map(self.decide, changed) if made.key != architecture.key}
        return [found[key] for key in sorted(found)]

    def expand(self, beam: Collection[Any], parents: Collection[str] | None = None) -> Iterator[Any]:
        by_key = {made.key: made for made in beam}
        for key in sorted(by_key if parents is None else parents):
            parts = by_key[key].parts
            for added in product(*map(range, self.options(len(parts)))):
                yield self.checked((*parts, added))

    def expansions_at_most(self, architecture: Any) -> int:
        return prod(self.options(architecture.level))

    def encode(self, architectures: Sequence[Any]) -> np.ndarray:
        """Choices one-hot, all 0 of parts that an architecture lacks."""
        options = self.decisions(self.levels)
        found = np.zeros((len(architectures), sum(options)), dtype=np.float64)
        starts = np.concatenate([[0], np.cumsum(options)[:-1]])
        for row, made in zip(found, architectures, strict=True):
            own = self.choices(made)
            row[starts[: len(own)] + own] = 1.0
        return found

    def tokens(self, architectures: Sequence[Any]) -> tuple[Tensor, Tensor]:
        starts, parts = self._starts, max(made.level for made in architectures)
        found = torch.zeros(len(architectures), parts, len(starts) - 1, dtype=torch.int64, device="cpu")
        for row, made in zip(found, architectures, strict=True):
            for place, part in enumerate(made.parts):
                row[place, : len(part)] = torch.tensor(part, device="cpu") + torch.tensor(starts[: len(part)])
        return found, torch.tensor([made.level for made in architectures], dtype=torch.int64, device="cpu")

    @property
    def vocabulary(self) -> int:
        return self._starts[-1]

    @property
    def _starts(self) -> list[int]:
        """The first token of each choice of a part, and the number of tokens."""
        parts = [self.options(place) for place in range(self.levels)]
        most = [max(part[i] for part in parts if i < len(part)) for i in range(max(map(len, parts)))]
        return [1 + sum(most[:i]) for i in range(len(most) + 1)]
