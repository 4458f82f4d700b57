"""A network of cells, alone: what a search found, trained like any fixed network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from autometa.brief import brief
from autometa.nas.networks.cell_network import CellNetwork
from autometa.nas.networks.counting import map_sizes
from autometa.nas.networks.many_cells import ManyCells
from autometa.slots.layout import Layout
from autometa.slots.statistics import BatchStatistics


@brief
@dataclass(frozen=True)
class TrimmedNetwork:
    """A network of cells without what leads nowhere (`many_cells`); whole: with it, for as many `ways` as are said."""

    whole: CellNetwork
    ways: int

    def __post_init__(self) -> None:
        if self.whole.ways != self.ways:
            object.__setattr__(self, "whole", replace(self.whole, ways=self.ways))

    @cached_property
    def network(self) -> ManyCells:
        return ManyCells([self.whole])

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.whole.image_shape

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
        network_of_slot = torch.zeros(phi.shape[0], dtype=torch.int64, device=phi.device)
        return self.network.logits(phi, images, network_of_slot, statistics, features)

    @property
    def smallest_map(self) -> tuple[int, int]:
        """Height and width of the smallest feature map that a BN normalises."""
        return map_sizes(self.whole)[-1]

    def macs(self) -> int:
        """Multiply-accumulates of convolutions and linear layer for one image."""
        return self.network.macs(0)
