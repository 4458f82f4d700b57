"""Where each buffer stands in one arena: those that are alive together never overlap."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


class Uses(Protocol):
    """An instruction: which buffers it reads and writes."""

    def reads(self) -> Sequence[Hashable]: ...

    def writes(self) -> Sequence[Hashable]: ...


@dataclass(frozen=True)
class Life:
    """Number of the first and of the last instruction that touches a buffer, and its size."""

    first: int
    last: int
    size: int


@dataclass(frozen=True)
class Placed:
    """Offset of each buffer, and the size of the arena."""

    offsets: Mapping[Hashable, int]
    size: int


def lives(touched: Sequence[Sequence[Hashable]], sizes: Mapping[Hashable, int]) -> dict[Hashable, Life]:
    """touched: the buffers of each instruction."""
    found: dict[Hashable, Life] = {}
    for i, buffers in enumerate(touched):
        for buffer in buffers:
            first = found[buffer].first if buffer in found else i
            found[buffer] = Life(first, i, sizes[buffer])
    return found


def placed(lifetimes: Mapping[Hashable, Life], alignment: int = 1) -> Placed:
    """Largest first, each at the lowest place that is free all its life."""
    offsets: dict[Hashable, int] = {}
    total = 0
    for buffer, life in sorted(lifetimes.items(), key=lambda item: (-item[1].size, item[1].first)):
        taken = sorted(
            (offset, offset + lifetimes[other].size)
            for other, offset in offsets.items()
            if lifetimes[other].first <= life.last and life.first <= lifetimes[other].last
        )
        place = 0
        for start, stop in taken:
            if start - place >= life.size:
                break
            place = max(place, -(-stop // alignment) * alignment)
        offsets[buffer] = place
        total = max(total, place + life.size)
    return Placed(offsets, total)
