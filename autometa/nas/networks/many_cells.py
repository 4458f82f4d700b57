"""Networks of Auto-Meta's cells, a different cell in every group of slots, side by side in one batch.

Macro-structure (Kim et al. 2018 give none; as PNAS stacks its cells): a 3x3 stem to F channels, then three times N
normal cells and a reduction, mean, linear layer; one cell serves both kinds.  What a network does not use it does not
have: a preprocessing whose state no block reads, a cell whose output no later one reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autometa.nas.networks.cell_network import CellNetwork
from autometa.nas.networks.counting import network_macs
from autometa.nas.networks.program import program_of
from autometa.nas.spaces.blocks import BlockCell
from autometa.nas.spaces.cells import Cell
from autometa.ops.cell_stack import Program, cell_stack, evaluate, slotwise, tables_cost_nothing
from autometa.ops.cross_entropy import cross_entropy
from autometa.slots.init import initial_row
from autometa.slots.layout import Layout, LayoutBuilder
from autometa.slots.statistics import BatchStatistics

STAGES = 3
KEPT_PROGRAMS = 64


@dataclass(frozen=True)
class BlockMacro:
    """What stands around a cell.

    filters: F, channels of the stem and the first cells; repeats: N, normal cells before each reduction; scale_rate:
    what F is multiplied by at reductions; ways: classes; image_shape: (channels, height, width).
    """

    filters: int
    repeats: int
    scale_rate: int
    ways: int
    image_shape: tuple[int, int, int]

    def network(self, cell: Cell) -> CellNetwork:
        """The network of one cell, with everything that it does not use."""
        depth = self.repeats + 1
        return CellNetwork(
            normal=cell,
            reduction=cell,
            cells=STAGES * depth,
            reductions=tuple(range(depth - 1, STAGES * depth, depth)),
            channels=self.filters,
            ways=self.ways,
            image_shape=self.image_shape,
            stem_multiplier=1,
            scale_rate=self.scale_rate,
        )


class BlockNetwork:
    """The networks of several cells over one arena, a group of slots for each.

    A cell's parameters are named, initialised and computed on independently of the cells beside it; only the columns
    where its blocks begin depend on them.  A `Cell` may stand for a `BlockCell` where it puts out other states than
    the unused ones.
    """

    def __init__(self, macro: BlockMacro, cells: Sequence[BlockCell | Cell]) -> None:
        if not cells:
            raise ValueError("a block network needs at least one cell")
        self.macro = macro
        self.cells = tuple(c if isinstance(c, Cell) else c.canonical().cell() for c in cells)
        self.networks = tuple(macro.network(cell) for cell in self.cells)
        self.parts = tuple(parts_used(network) for network in self.networks)
        self.layouts = _side_by_side([list(_blocks(n, p)) for n, p in zip(self.networks, self.parts, strict=True)])
        self._programs: dict[tuple, Program] = {}

    @property
    def ways(self) -> int:
        return self.macro.ways

    @property
    def row(self) -> int:
        """Columns of a row, the same for all cells."""
        return self.layouts[0].row

    def initial(self, seed_of_cell: int | Sequence[int]) -> Tensor:
        """Freshly initialised rows `[cells, row]`, from one seed for all cells or one for each."""
        seeds = [seed_of_cell] * len(self.cells) if isinstance(seed_of_cell, int) else seed_of_cell
        return torch.stack([initial_row(layout, seed) for layout, seed in zip(self.layouts, seeds, strict=True)])

    def parameters(self, g: int) -> int:
        """Scalar weights of the network of cell g."""
        return self.layouts[g].count()

    def macs(self, g: int) -> int:
        """Its multiply-accumulates of convolutions and linear layer for one image."""
        return network_macs(self.networks[g], parts=self.parts[g])

    def logits(
        self,
        phi: Tensor,
        images: Tensor,
        cell_of_slot: Tensor,
        statistics: BatchStatistics | None = None,
        features: bool = False,
    ) -> Tensor:
        """phi `[S, row]`, images `[S, N, C, H, W]`, cell_of_slot int64 `[S]` -> logits `[S, N, ways]`, or the features
        that the last layer reads, 0 behind those of a slot with fewer.

        Raises `ValueError` where cell_of_slot is too short, or, where that can be seen without waiting for a GPU,
        names a cell that does not exist.
        """
        program, of_slot = self._program_for(phi, cell_of_slot)
        blocks, statistics = self.layouts[0].split(phi), statistics or BatchStatistics()
        return evaluate(program, blocks, images, of_slot, statistics, features=features)

    def _program_for(self, phi: Tensor, cell_of_slot: Tensor) -> tuple[Program, Tensor]:
        """A program that has rows for the cells of these slots, and the row of each slot."""
        if tables_cost_nothing(phi.device, phi.dtype):
            if len(cell_of_slot) != len(phi):
                raise ValueError(f"cell_of_slot must name a cell for each of {len(phi)} slots")
            return self._program(tuple(range(len(self.cells))), phi.device), cell_of_slot.to(phi.device)
        present = sorted(set(self._cells(phi, cell_of_slot)))
        of_cell = torch.zeros(len(self.cells), dtype=torch.int64, device="cpu")
        of_cell[present] = torch.arange(len(present), device="cpu")
        of_slot = of_cell.to(phi.device).index_select(0, cell_of_slot.to(phi.device))
        return self._program(tuple(present), phi.device), of_slot

    def losses(self, phi: Tensor, images: Tensor, labels: Tensor, cell_of_slot: Tensor) -> Tensor:
        """Cross-entropies `[S]` of the same; labels int64 `[S, N]`.  Slot by slot where the compiled op can run."""
        if not slotwise(phi.device, phi.dtype):
            return cross_entropy(self.logits(phi, images, cell_of_slot), labels)
        cells = self._cells(phi, cell_of_slot)
        present = sorted(set(cells))
        programs = [self._program((g,), phi.device) for g in present]
        place = {g: k for k, g in enumerate(present)}
        return cell_stack(phi, images, labels, programs, [place[g] for g in cells])[0]

    def _cells(self, phi: Tensor, cell_of_slot: Tensor) -> list[int]:
        found = cell_of_slot.tolist()
        if len(found) != len(phi) or not all(0 <= g < len(self.cells) for g in found):
            raise ValueError(f"cell_of_slot must name one of {len(self.cells)} cells for each of {len(phi)} slots")
        return found

    def _program(self, cells: tuple[int, ...], device: torch.device) -> Program:
        """Of the networks of these cells; those of single cells are kept, and the last few of others."""
        key = (device, *cells)
        if key not in self._programs:
            several = [known for known in self._programs if len(known) > 2]
            if len(several) >= KEPT_PROGRAMS:
                del self._programs[several[0]]
            networks, parts = [self.networks[g] for g in cells], [self.parts[g] for g in cells]
            self._programs[key] = program_of(networks, parts, self.layouts[0], device)
        return self._programs[key]


def parts_used(network: CellNetwork) -> dict[int, tuple[int, ...]]:
    """The cells that lead to the classifier, and of each the inputs (0, 1) that its blocks read."""
    used, found = {network.cells - 1}, {}
    for c in reversed(range(network.cells)):
        if c in used:
            read = {instance.state for node in network.cell(c).nodes for instance in node}
            found[c] = tuple(p for p in (0, 1) if p in read)
            used.update(c - 2 + p for p in found[c])
    return dict(sorted(found.items()))


def _blocks(network: CellNetwork, parts: Mapping[int, Sequence[int]]) -> Iterator[tuple[str, list]]:
    """The network's blocks, those that it does not use without entries."""
    unused = set()
    for c in range(network.cells):
        unused |= {f"cell{c}.pre{p}" for p in (0, 1) if p not in parts.get(c, ())}
        unused |= {f"cell{c}.node{i}" for i in range(len(network.cell(c).nodes)) if c not in parts}
    for name, entries in network.parameter_blocks():
        yield name, [] if name in unused else entries


def _side_by_side(networks: Sequence[Sequence[tuple[str, list]]]) -> tuple[Layout, ...]:
    """Layouts in which blocks of one name begin at one column, each as wide as the widest network's."""
    alone = []
    for blocks in networks:
        builder = LayoutBuilder()
        for name, entries in blocks:
            builder.block(name)
            if name == "head":
                builder.head()
            for entry in entries:
                builder.add(*entry)
        alone.append(builder.build())
    widths: dict[str, int] = {}
    for layout in alone:
        for block in layout.blocks:
            widths[block.name] = max(widths.get(block.name, 0), block.stop - block.start)
    return tuple(layout.spread({name: widths[name] for name in sorted(widths, key=_place)}) for layout in alone)


def _place(block: str) -> tuple[int, int, int]:
    """Where a block stands in a forward pass."""
    if block == "stem":
        return (-1, 0, 0)
    if block == "head":
        return (1_000_000, 0, 0)
    cell, part = block.split(".")
    return int(cell[4:]), part.startswith("node"), int(part.lstrip("prenod"))
