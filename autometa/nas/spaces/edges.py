"""MetaNAS's space of discrete cells (Elsken et al. 2020, section 4; DARTS, Liu et al. 2019, section 2.1) as a `Space`.

A node adds up an op on each of two different states before it: what hard pruning leaves. A normal and a reduction cell
grow in turn by a node.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

from autometa.nas.networks.cell_network import CellNetwork
from autometa.nas.networks.many_cells import ManyCells
from autometa.nas.networks.one_cell import TrimmedNetwork
from autometa.nas.networks.side_by_side import Macro
from autometa.nas.spaces.cells import INPUT_STATES, METANAS_PRIMITIVES
from autometa.nas.spaces.choices import Choices, ChoiceSpace
from autometa.nas.spaces.genotype import CellGenotype, Genotype
from autometa.nas.spaces.space import MOST_LEVELS

LETTERS = "maifcsd"
"""One letter per op of `METANAS_PRIMITIVES` for keys: maximum, average, identity, factorised, convolution, separable,
dilated."""
STAGES = 2
"""Reductions of a network, as in MetaNAS's of four cells."""

_NODE = re.compile(rf"(\d{{1,2}})([{LETTERS}])(\d{{1,2}})([{LETTERS}])")


def pairs(node: int) -> list[tuple[int, int]]:
    """The two states that node number `node` may read, the smaller first, in order."""
    return list(combinations(range(node + INPUT_STATES), 2))


@dataclass(frozen=True)
class EdgeCells(Choices):
    """A normal and a reduction cell. Part 2i is node i of the normal cell, part 2i + 1 of the reduction cell: which
    pair of states it reads, and the op on each. With one part alone the normal cell serves as both.

    Nodes have their order: cells that differ by it alone count as different, as DARTS counts them.
    """

    @property
    def key(self) -> str:
        """State and op of both edges of each part, parted by `|`, such as `0c1m|0i1s`."""
        return "|".join(
            "".join(f"{state}{LETTERS[op]}" for state, op in self.edges(place)) for place in range(self.level)
        )

    def edges(self, place: int) -> list[tuple[int, int]]:
        """(state, op) of both edges of a part."""
        pair, *ops = self.parts[place]
        return list(zip(pairs(place // 2)[pair], ops, strict=True))

    @property
    def genotype(self) -> Genotype:
        normal, reduction = self._cell(0), self._cell(1)
        return Genotype(normal, reduction if self.level > 1 else normal)

    def _cell(self, kind: int) -> CellGenotype:
        places = range(kind if self.level > 1 else 0, self.level, 2)
        nodes = tuple(tuple((METANAS_PRIMITIVES[op], state) for state, op in self.edges(place)) for place in places)
        return CellGenotype(nodes, tuple(range(INPUT_STATES, INPUT_STATES + len(nodes))))

    @property
    def depth(self) -> int:
        """Nodes on the longest way through either cell."""
        found = []
        for cell in (self.genotype.normal, self.genotype.reduction):
            depths = [0] * INPUT_STATES
            for node in cell.nodes:
                depths.append(1 + max(depths[state] for _, state in node))
            found.append(max(depths))
        return max(found)


@dataclass(frozen=True)
class EdgeSpace(ChoiceSpace):
    """Normal and reduction cells of DARTS's edges as MetaNAS prunes them, `levels` nodes in both together.

    Their network is MetaNAS's: a stem to 3 F channels, then twice N + 1 normal cells and a reduction.
    """

    architecture: ClassVar[type[Choices]] = EdgeCells
    unit: ClassVar[str] = "node"
    about_units: ClassVar[str] = (
        "Each node adds up two operations, each on an earlier state; all nodes of a cell are its output."
    )

    def options(self, place: int) -> tuple[int, ...]:
        """Pairs of states, and ops for either."""
        return (len(pairs(place // 2)), len(METANAS_PRIMITIVES), len(METANAS_PRIMITIVES))

    def parse(self, key: str) -> EdgeCells:
        parts = []
        for place, text in enumerate(key.split("|")[: MOST_LEVELS + 1]):
            match = _NODE.fullmatch(text)
            known = pairs(place // 2)
            states = (int(match[1]), int(match[3])) if match else None
            if match is None or states not in known:
                most = place // 2 + INPUT_STATES - 1
                raise ValueError(
                    f"cells {key[:60]!r}: node {place} must read like 0c1m: a state and one of {LETTERS}, twice, the "
                    f"states rising and at most {most}"
                )
            parts.append((known.index(states), LETTERS.index(match[2]), LETTERS.index(match[4])))
        return self.checked(tuple(parts))

    def genotype(self, architecture: EdgeCells) -> Genotype:
        return architecture.genotype

    def network(self, architecture: EdgeCells, macro: Macro) -> TrimmedNetwork:
        return TrimmedNetwork(whole(architecture.genotype, macro), macro.ways)

    def networks(self, architectures: Sequence[EdgeCells], macro: Macro) -> ManyCells:
        """In one batch."""
        return ManyCells([whole(made.genotype, macro) for made in architectures])


def whole(genotype: Genotype, macro: Macro) -> CellNetwork:
    """The network of two cells, with everything that it does not use."""
    depth = macro.repeats + 2
    return CellNetwork(
        normal=genotype.normal.cell(),
        reduction=genotype.reduction.cell(),
        cells=STAGES * depth,
        reductions=tuple(range(depth - 1, STAGES * depth, depth)),
        channels=macro.filters,
        ways=macro.ways,
        image_shape=macro.image_shape,
        scale_rate=macro.scale_rate,
    )
