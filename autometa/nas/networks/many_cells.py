"""Networks of cells, a different cell in every group of slots, side by side in one batch.

What a network does not use it does not have: a preprocessing whose state no block reads, a cell whose output no later
one reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from autometa.nas.networks.cell_network import CellNetwork
from autometa.nas.networks.counting import network_macs
from autometa.nas.networks.program import program_of
from autometa.nas.networks.side_by_side import Macro, SideBySide
from autometa.nas.spaces.blocks import BlockCell
from autometa.nas.spaces.cells import Cell
from autometa.ops.cell_stack import Program, cell_stack, evaluate, slotwise, tables_cost_nothing
from autometa.slots.layout import Layout, LayoutBuilder
from autometa.slots.statistics import BatchStatistics

STAGES = 3
KEPT_PROGRAMS = 64


def in_stages(cell: Cell, macro: Macro) -> CellNetwork:
    """The network around one of Auto-Meta's cells, with everything that it does not use.

    Kim et al. 2018 give no macro-structure; as PNAS stacks its cells: a 3x3 stem to F channels, then three times N
    normal cells and a reduction, mean, linear layer; one cell serves both kinds.
    """
    depth = macro.repeats + 1
    return CellNetwork(
        normal=cell,
        reduction=cell,
        cells=STAGES * depth,
        reductions=tuple(range(depth - 1, STAGES * depth, depth)),
        channels=macro.filters,
        ways=macro.ways,
        image_shape=macro.image_shape,
        stem_multiplier=1,
        scale_rate=macro.scale_rate,
    )


class ManyCells(SideBySide):
    """Networks of cells alike but for the cells, one batch of slots for all of them.

    A cell's parameters are named, initialised and computed on independently of the cells beside it; only the columns
    where its blocks begin depend on them.
    """

    def __init__(self, networks: Sequence[CellNetwork]) -> None:
        self.networks = tuple(networks)
        self.parts = tuple(parts_used(network) for network in self.networks)
        blocks = [list(_blocks(n, p)) for n, p in zip(self.networks, self.parts, strict=True)]
        super().__init__(_side_by_side(blocks), [network.ways for network in networks])
        self._programs: dict[tuple, Program] = {}

    def macs(self, g: int) -> int:
        return network_macs(self.networks[g], parts=self.parts[g])

    def alone(self, g: int) -> ManyCells:
        return ManyCells([self.networks[g]])

    def logits(
        self,
        phi: Tensor,
        images: Tensor,
        network_of_slot: Tensor,
        statistics: BatchStatistics | None = None,
        features: bool = False,
    ) -> Tensor:
        program, of_slot = self._program_for(phi, network_of_slot)
        blocks, statistics = self.layouts[0].split(phi), statistics or BatchStatistics()
        return evaluate(program, blocks, images, of_slot, statistics, features=features)

    def _program_for(self, phi: Tensor, network_of_slot: Tensor) -> tuple[Program, Tensor]:
        """A program that has rows for the cells of these slots, and the row of each slot."""
        if tables_cost_nothing(phi.device, phi.dtype):
            if len(network_of_slot) != len(phi):
                raise ValueError(f"network_of_slot must name a network for each of {len(phi)} slots")
            return self._program(tuple(range(len(self.networks))), phi.device), network_of_slot.to(phi.device)
        present = sorted(set(self.numbers(phi, network_of_slot)))
        of_network = torch.zeros(len(self.networks), dtype=torch.int64, device="cpu")
        of_network[present] = torch.arange(len(present), device="cpu")
        of_slot = of_network.to(phi.device).index_select(0, network_of_slot.to(phi.device))
        return self._program(tuple(present), phi.device), of_slot

    def losses(self, phi: Tensor, images: Tensor, labels: Tensor, network_of_slot: Tensor) -> Tensor:
        """As of any networks; slot by slot where the compiled op can run."""
        if not slotwise(phi.device, phi.dtype):
            return super().losses(phi, images, labels, network_of_slot)
        numbers = self.numbers(phi, network_of_slot)
        present = sorted(set(numbers))
        programs = [self._program((g,), phi.device) for g in present]
        place = {g: k for k, g in enumerate(present)}
        return cell_stack(phi, images, labels, programs, [place[g] for g in numbers])[0]

    def _program(self, numbers: tuple[int, ...], device: torch.device) -> Program:
        """Of these networks; programs of single ones are kept, and the last few of others."""
        key = (device, *numbers)
        if key not in self._programs:
            several = [known for known in self._programs if len(known) > 2]
            if len(several) >= KEPT_PROGRAMS:
                del self._programs[several[0]]
            networks, parts = [self.networks[g] for g in numbers], [self.parts[g] for g in numbers]
            self._programs[key] = program_of(networks, parts, self.layouts[0], device)
        return self._programs[key]


class BlockNetwork(ManyCells):
    """The networks of several of Auto-Meta's cells.

    A `Cell` may stand for a `BlockCell` where it puts out other states than the unused ones.
    """

    def __init__(self, macro: Macro, cells: Sequence[BlockCell | Cell]) -> None:
        self.macro = macro
        super().__init__([in_stages(c if isinstance(c, Cell) else c.canonical().cell(), macro) for c in cells])


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
