"""A network of one of Auto-Meta's cells, alone: what the search found, trained like any fixed network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from autometa.brief import brief
from autometa.nas.networks.counting import map_sizes
from autometa.nas.networks.many_cells import BlockMacro, BlockNetwork
from autometa.nas.spaces.blocks import BlockCell
from autometa.slots.layout import Layout
from autometa.slots.statistics import BatchStatistics


@brief
@dataclass(frozen=True)
class BlockCellNetwork:
    """The macro-structure of the search (`BlockMacro`) around one cell, normal and reduction cells alike.

    concat: the states that a cell puts out, those nobody reads where None.
    """

    cell: BlockCell
    filters: int
    repeats: int
    scale_rate: int
    ways: int
    image_shape: tuple[int, int, int]
    concat: tuple[int, ...] | None = None

    @cached_property
    def network(self) -> BlockNetwork:
        macro = BlockMacro(self.filters, self.repeats, self.scale_rate, self.ways, self.image_shape)
        return BlockNetwork(macro, [self.cell if self.concat is None else self.cell.cell(self.concat)])

    @property
    def layout(self) -> Layout:
        return self.network.layouts[0]

    def initial(self, seed: int) -> Tensor:
        """A freshly initialised row `[row]`."""
        return self.network.initial(seed)[0]

    def logits(
        self, phi: Tensor, images: Tensor, statistics: BatchStatistics | None = None, *, features: bool = False
    ) -> Tensor:
        """phi `[S, row]`, images `[S, N, C, H, W]` -> logits `[S, N, ways]`, or the last layer's `features`."""
        cell_of_slot = torch.zeros(phi.shape[0], dtype=torch.int64, device=phi.device)
        return self.network.logits(phi, images, cell_of_slot, statistics, features)

    @property
    def smallest_map(self) -> tuple[int, int]:
        """Height and width of the smallest feature map that a BN normalises."""
        return map_sizes(self.network.networks[0])[-1]

    def macs(self) -> int:
        """Multiply-accumulates of convolutions and linear layer for one image."""
        return self.network.macs(0)
