"""Auto-Meta's search space (Kim et al. 2018, section 3; Liu et al. 2018, PNAS): cells of up to five blocks.

A block adds up two operands, each an op on an earlier state. Two cells are the same where renumbering the blocks and
swapping the operands of blocks turns one into the other; `BlockCell.key` is the same for just these. A block may use
one state twice, even with the same op: two instances, two sets of parameters.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, combinations_with_replacement
from math import factorial, gcd

from autometa.brief import brief
from autometa.nas.spaces.cells import INPUT_STATES, Cell, discrete_cell
from autometa.nas.spaces.genotype import CellGenotype

OPS = ("full_conv_3x3", "conv_1x5_5x1", "skip_connect", "avg_pool_3x3", "max_pool_3x3")
LETTERS = "cfiam"
"""One letter per op for keys: convolution, factorised, identity, average, maximum."""

MOST_BLOCKS = 15
"""Of a cell: the smallest of all orders of its blocks is looked for."""

_BLOCK = re.compile(rf"(\d{{1,4}})([{LETTERS}])(\d{{1,4}})([{LETTERS}])")


@dataclass(frozen=True, order=True)
class Operand:
    """op: index into `OPS`; state: 0 and 1 are the two cells before, 2, 3, ... the blocks of this cell in order."""

    op: int
    state: int

    def __str__(self) -> str:
        return f"{self.state}{LETTERS[self.op]}"


@dataclass(frozen=True, order=True)
class Block:
    """The sum of two operands; their order means nothing."""

    first: Operand
    second: Operand

    @property
    def states(self) -> tuple[int, int]:
        return self.first.state, self.second.state

    def renamed(self, names: Mapping[int, int]) -> Block:
        """With states renamed and operands sorted; input states keep their numbers."""
        pair = sorted(Operand(o.op, names.get(o.state, o.state)) for o in (self.first, self.second))
        return Block(*pair)


@brief
@dataclass(frozen=True)
class BlockCell:
    """Blocks in order; block b is state b + 2 and reads states 0 .. b + 1. The states nobody reads are the output."""

    blocks: tuple[Block, ...]

    def __post_init__(self) -> None:
        if not self.blocks:
            raise ValueError("a cell needs at least one block")
        for b, block in enumerate(self.blocks):
            for operand in (block.first, block.second):
                if not 0 <= operand.op < len(OPS):
                    raise ValueError(f"block {b} uses op {operand.op}; there are {len(OPS)}, counted from 0")
                if not 0 <= operand.state < b + INPUT_STATES:
                    raise ValueError(f"block {b} reads state {operand.state}, but only 0 to {b + 1} come before it")

    @property
    def level(self) -> int:
        """Number of blocks."""
        return len(self.blocks)

    @cached_property
    def unused(self) -> tuple[int, ...]:
        """The block states that no block reads, in order; the last one at least."""
        read = {state for block in self.blocks for state in block.states}
        return tuple(s for s in range(INPUT_STATES, INPUT_STATES + self.level) if s not in read)

    def canonical(self) -> BlockCell:
        """The equal cell that stands for all: of every order of blocks that dependencies allow, the smallest."""
        if "_stands_for_all" in self.__dict__:
            return self
        made = BlockCell(_smallest(self.blocks, {}))
        made.__dict__["_stands_for_all"] = True  # expansions ask thousands of canonical cells again
        return made

    @cached_property
    def numbers(self) -> tuple[int, ...]:
        """State and op of each operand of the canonical cell, block by block."""
        blocks = self.canonical().blocks
        return tuple(n for b in blocks for o in (b.first, b.second) for n in (o.state, o.op))

    @cached_property
    def key(self) -> str:
        """The canonical cell as text: state and op of each operand, blocks parted by `|`, such as `0c0m|2i1a`."""
        return str(self.canonical())

    def __str__(self) -> str:
        return "|".join(f"{block.first}{block.second}" for block in self.blocks)

    @classmethod
    def parse(cls, text: str) -> BlockCell:
        """What `str` wrote, blocks in that order. Raises `ValueError` that says which block is wrong."""
        blocks = []
        if text.count("|") >= MOST_BLOCKS:
            raise ValueError(f"cell {text[:20]!r}... has more than {MOST_BLOCKS} blocks")
        for b, part in enumerate(text.split("|")):
            match = _BLOCK.fullmatch(part)
            if match is None:
                raise ValueError(f"cell {text!r}: block {b} must read like 0c1m: state and one of {LETTERS}, twice")
            first, one, second, other = match.groups()
            blocks.append(Block(Operand(LETTERS.index(one), int(first)), Operand(LETTERS.index(other), int(second))))
        return cls(tuple(blocks))

    def genotype(self, concat: Sequence[int] | None = None) -> CellGenotype:
        """As a genotype; `concat` are the states put out, those unused where None."""
        nodes = tuple(tuple((OPS[o.op], o.state) for o in (b.first, b.second)) for b in self.blocks)
        return CellGenotype(nodes, self.unused if concat is None else tuple(concat))

    def cell(self, concat: Sequence[int] | None = None) -> Cell:
        """As a cell of a network; `concat` as in `genotype`."""
        made = self.genotype(concat)
        return discrete_cell(made.nodes, made.concat)

    @property
    def depth(self) -> int:
        """Blocks on the longest way through the cell (the paper's figure 2 shows its distribution)."""
        depths: list[int] = []
        for block in self.blocks:
            depths.append(1 + max(0 if s < INPUT_STATES else depths[s - INPUT_STATES] for s in block.states))
        return max(depths)

    def parents(self) -> list[BlockCell]:
        """The canonical cells of one block less that expand to this one, each once, sorted by key."""
        if self.level == 1:
            return []
        found = {made.key: made for made in (self._without(state) for state in self.unused)}
        return [found[key] for key in sorted(found)]

    def _without(self, unused: int) -> BlockCell:
        names = {s: s - 1 for s in range(unused + 1, INPUT_STATES + self.level)}
        rest = [block for s, block in enumerate(self.blocks, INPUT_STATES) if s != unused]
        return BlockCell(tuple(block.renamed(names) for block in rest)).canonical()


def _smallest(blocks: Sequence[Block], names: dict[int, int]) -> tuple[Block, ...]:
    """The lexicographically smallest order of the blocks not yet named, in their new names.

    Of the blocks that may come next only those that read smallest can lead there; where several read alike, all that
    are read are followed, since their readers tell them apart, and one of the others.
    """
    next_name = INPUT_STATES + len(names)
    ready = {}
    for state, block in enumerate(blocks, INPUT_STATES):
        if state not in names and all(s < INPUT_STATES or s in names for s in block.states):
            ready[state] = block.renamed(names)
    if not ready:
        return ()
    first = min(ready.values())
    ways = [state for state, block in ready.items() if block == first]
    if len(ways) > 1:
        read = {state for block in blocks for state in block.states}
        ways = [state for state in ways if state in read] + [state for state in ways if state not in read][:1]
    return (first, *min(_smallest(blocks, {**names, state: next_name}) for state in ways))


def blocks_after(blocks: int) -> Iterator[Block]:
    """Every block that may follow `blocks` others, each once, in a fixed order."""
    operands = (Operand(op, state) for op in range(len(OPS)) for state in range(INPUT_STATES + blocks))
    for first, second in combinations_with_replacement(list(operands), 2):
        yield Block(first, second)


def level_one() -> Iterator[BlockCell]:
    """All 55 cells of one block, canonical."""
    for block in blocks_after(0):
        yield BlockCell((block,))


def expansions(cell: BlockCell) -> Iterator[BlockCell]:
    """Every cell that has one block more, canonical, each once, in a fixed order."""
    cell, seen = cell.canonical(), set()
    for block in blocks_after(cell.level):
        made = BlockCell((*cell.blocks, block)).canonical()
        if made.key not in seen:
            seen.add(made.key)
            yield made


def expand(beam: Collection[BlockCell], parents: Collection[str] | None = None) -> Iterator[BlockCell]:
    """Every expansion of every cell of the beam, each once, without keeping them: a cell is yielded by the first of
    its parents that stand in the beam. With `parents` (keys) only what these cells of the beam yield."""
    canonical = {cell.key: cell for cell in beam}
    for key in sorted(canonical if parents is None else parents):
        for made in expansions(canonical[key]):
            if key == next(parent.key for parent in made.parents() if parent.key in canonical):
                yield made


def count_ordered(level: int, ops: int = len(OPS)) -> int:
    """Cells of `level` blocks in order, operands unordered: the product of k (k + 1) / 2 over k = ops (b + 1)."""
    total = 1
    for b in range(1, level + 1):
        k = ops * (b + 1)
        total *= k * (k + 1) // 2
    return total


def count(level: int, ops: int = len(OPS)) -> int:
    """Distinct cells of `level` blocks, by Burnside's lemma over all renumberings of the blocks.

    The cells that a renumbering leaves as they are depend on the lengths of its cycles alone, see `_fixed`.
    """
    found = sum(_renumberings(cycles) * _fixed(cycles, ops) for cycles in _partitions(level, level))
    return found // factorial(level)


def _partitions(total: int, largest: int) -> Iterator[tuple[int, ...]]:
    if total == 0:
        yield ()
    for part in range(min(total, largest), 0, -1):
        for rest in _partitions(total - part, part):
            yield (part, *rest)


def _renumberings(cycles: tuple[int, ...]) -> int:
    """How many permutations have cycles of these lengths."""
    ways = factorial(sum(cycles))
    for length, often in Counter(cycles).items():
        ways //= length**often * factorial(often)
    return ways


def _fixed(cycles: tuple[int, ...], ops: int) -> int:
    """Numberings of cells, acyclic and in any order, that a permutation with these cycles maps to themselves.

    Blocks of one cycle cannot read each other, so cycles form an acyclic graph; counted by inclusion and exclusion
    over the cycles that nobody reads. One block of a cycle decides the others.
    """
    if not cycles:
        return 1
    total = 0
    for unread in range(1, len(cycles) + 1):
        for chosen in combinations(range(len(cycles)), unread):
            rest = tuple(c for i, c in enumerate(cycles) if i not in chosen)
            ways = _fixed(rest, ops)
            for i in chosen:
                ways *= _fixed_pairs(cycles[i], rest, ops)
            total += ways if unread % 2 else -ways
    return total


def _fixed_pairs(length: int, others: tuple[int, ...], ops: int) -> int:
    """Pairs of operands of a block in a cycle of `length` that this power of the permutation maps to themselves: two
    operands that stay, or two that it exchanges."""
    stay = ops * (INPUT_STATES + sum(m for m in others if length % m == 0))
    exchanged = ops * sum(m // 2 for m in others if m // gcd(m, length) == 2)
    return stay * (stay + 1) // 2 + exchanged


PUBLISHED = BlockCell.parse("1c1m|2f2m|2c3f|3c3c|3f2c")
"""The paper's cell as the MetaNAS authors rebuilt it, for normal and reduction cells alike. They concatenate all of its
blocks (`PUBLISHED_CONCAT`; the paper's figure even the inputs), where this space puts out 4, 5 and 6 alone."""
PUBLISHED_CONCAT = (2, 3, 4, 5, 6)
