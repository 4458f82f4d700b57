"""The block space as a `Space`: cells of up to five blocks drawn, mutated, expanded, and encoded for predictors."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from autometa.nas.networks.many_cells import BlockNetwork, in_stages
from autometa.nas.networks.one_cell import TrimmedNetwork
from autometa.nas.networks.side_by_side import Macro
from autometa.nas.spaces import blocks
from autometa.nas.spaces.blocks import OPS, Block, BlockCell, Operand
from autometa.nas.spaces.cells import INPUT_STATES
from autometa.nas.spaces.draws import Draws
from autometa.nas.spaces.genotype import Genotype
from autometa.nas.spaces.space import PADDING

TOKENS = 4
"""Of a block: state and op of either operand."""


@dataclass(frozen=True)
class BlockSpace:
    """Cells of up to `levels` blocks, each the sum of two operands (Kim et al. 2018, section 3; PNAS)."""

    unit: ClassVar[str] = "block"
    about_units: ClassVar[str] = (
        "Each block adds up two operations, each on an earlier state; blocks that nothing reads are the output."
    )

    levels: int = 5

    def count(self, level: int) -> int:
        return blocks.count(level)

    def parse(self, key: str) -> BlockCell:
        return BlockCell.parse(key)

    def first(self) -> Iterator[BlockCell]:
        return blocks.level_one()

    def decisions(self, level: int) -> tuple[int, ...]:
        """Op and state of each operand, block by block."""
        return tuple(n for b in range(level) for n in (len(OPS), b + INPUT_STATES) * 2)

    def decide(self, choices: Sequence[int]) -> BlockCell:
        operands = [Operand(op, state) for op, state in zip(choices[::2], choices[1::2], strict=True)]
        return BlockCell(tuple(map(Block, operands[::2], operands[1::2]))).canonical()

    def choices(self, architecture: BlockCell) -> tuple[int, ...]:
        states, ops = architecture.numbers[::2], architecture.numbers[1::2]
        return tuple(n for pair in zip(ops, states, strict=True) for n in pair)

    def sample(self, draws: Draws, level: int | None = None) -> BlockCell:
        """Every block draws two operands evenly from all ops on all states before it; canonical."""
        return self.decide([draws.below(options) for options in self.decisions(level or self.levels)])

    def mutate(self, architecture: BlockCell, draws: Draws) -> BlockCell:
        """With one operand changed: its op or its state, evenly, to another one (Real et al. 2019, section 3, where
        cells may also stay as they are)."""
        b, side = draws.below(architecture.level), draws.below(2)
        block = architecture.blocks[b]
        op, state = (block.first, block.second)[side].op, (block.first, block.second)[side].state
        if draws.below(2):
            op = (op + 1 + draws.below(len(OPS) - 1)) % len(OPS)
        else:
            states = b + INPUT_STATES
            state = (state + 1 + draws.below(states - 1)) % states
        return _with_operand(architecture, b, side, Operand(op, state))

    def neighbours(self, architecture: BlockCell) -> list[BlockCell]:
        found = {}
        for b, block in enumerate(architecture.blocks):
            for side, own in enumerate((block.first, block.second)):
                others = [Operand(op, own.state) for op in range(len(OPS)) if op != own.op]
                others += [Operand(own.op, state) for state in range(b + INPUT_STATES) if state != own.state]
                for made in (_with_operand(architecture, b, side, other) for other in others):
                    found[made.key] = made
        found.pop(architecture.key, None)
        return [found[key] for key in sorted(found)]

    def expand(self, beam: Collection[BlockCell], parents: Collection[str] | None = None) -> Iterator[BlockCell]:
        return blocks.expand(beam, parents)

    def expansions_at_most(self, architecture: BlockCell) -> int:
        operands = len(OPS) * (architecture.level + INPUT_STATES)
        return operands * (operands + 1) // 2

    def encode(self, architectures: Sequence[BlockCell]) -> np.ndarray:
        """What means the same in cells of any size, so that a fit on small cells says something of larger ones: of each
        op the root of its count and whether it is there; weighted layers on the longest way, the longest of the
        shortest and the shortest way to an output; pixels that the widest way reaches on either side; whether
        either input is read, how large a share of operands reads the last cell, and whether a weighted op does; outputs
        and depth: float64 `[n, 20]`."""
        rows = [_features(cell) for cell in architectures]
        return np.array(rows, dtype=np.float64).reshape(len(rows), FEATURES)

    def tokens(self, architectures: Sequence[BlockCell]) -> tuple[Tensor, Tensor]:
        """int64 `[n, blocks, 4]`, padded with 0 behind a cell's last block, and the numbers of blocks `[n]`.

        Cells are taken in canonical form, so equal cells read the same. Ops come before states, shifted by one.
        """
        levels = np.array([cell.level for cell in architectures], dtype=np.int64)
        made = np.zeros((len(architectures), int(levels.max()) * TOKENS), dtype=np.int64)
        there = np.arange(made.shape[1]) < TOKENS * levels[:, None]
        made[there] = np.fromiter(chain.from_iterable(c.numbers for c in architectures), np.int64, int(there.sum()))
        made[:, 0::2] += 1 + len(OPS)
        made[:, 1::2] += 1
        made[~there] = PADDING
        return torch.from_numpy(made).view(len(architectures), -1, TOKENS), torch.from_numpy(levels)

    @property
    def vocabulary(self) -> int:
        return 1 + len(OPS) + INPUT_STATES + self.levels

    def network(self, architecture: BlockCell, macro: Macro) -> TrimmedNetwork:
        return TrimmedNetwork(in_stages(architecture.canonical().cell(), macro), macro.ways)

    def networks(self, architectures: Sequence[BlockCell], macro: Macro) -> BlockNetwork:
        """In one batch."""
        return BlockNetwork(macro, architectures)

    def genotype(self, architecture: BlockCell) -> Genotype:
        """The cell as both kinds."""
        made = architecture.genotype()
        return Genotype(made, made)


def _with_operand(cell: BlockCell, b: int, side: int, operand: Operand) -> BlockCell:
    """The canonical cell with one operand of block b replaced."""
    pair = [cell.blocks[b].first, cell.blocks[b].second]
    pair[side] = operand
    return BlockCell((*cell.blocks[:b], Block(*pair), *cell.blocks[b + 1 :])).canonical()


FEATURES = 20
LAYERS, REACH = (1, 2, 0, 0, 0), (1, 2, 0, 1, 1)
"""Weighted layers of each op, and pixels that it reaches on either side."""


def _features(cell: BlockCell) -> list[float]:
    """A row of `BlockSpace.encode`."""
    longest, shortest, reach = [0, 0], [0, 0], [0, 0]
    for block in cell.blocks:
        pair = (block.first, block.second)
        longest.append(max(longest[o.state] + LAYERS[o.op] for o in pair))
        shortest.append(min(shortest[o.state] + LAYERS[o.op] for o in pair))
        reach.append(max(reach[o.state] + REACH[o.op] for o in pair))
    operands = [operand for block in cell.blocks for operand in (block.first, block.second)]
    ops, read = np.bincount([o.op for o in operands], minlength=len(OPS)), [o.state for o in operands]
    out, last = cell.unused, INPUT_STATES - 1
    ways = [max(longest[s] for s in out), max(shortest[s] for s in out), min(shortest[s] for s in out)]
    weighted = any(o.state == last and LAYERS[o.op] for o in operands)
    inputs = [0 in read, last in read, read.count(last) / len(read), weighted]
    return [*np.sqrt(ops), *(ops > 0), *ways, max(reach[s] for s in out), *inputs, len(out), cell.depth]
