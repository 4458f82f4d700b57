"""Discrete networks: cells from a genotype, every BN affine, trained like any fixed network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from autometa.brief import brief
from autometa.nas.networks.cell_network import CellNetwork
from autometa.nas.networks.counting import map_sizes, network_macs
from autometa.nas.networks.drop_path import drop_masks
from autometa.nas.spaces.genotype import Genotype
from autometa.slots.init import initial_row
from autometa.slots.layout import Layout
from autometa.slots.statistics import BatchStatistics


@brief
@dataclass(frozen=True)
class DiscreteNetwork:
    """A network of `cells` cells with `channels` channels; reductions at 1 and 3 as in MetaNAS unless told."""

    genotype: Genotype
    channels: int
    ways: int
    image_shape: tuple[int, int, int]
    cells: int = 4
    reductions: tuple[int, ...] = (1, 3)
    stem_stride: int = 1

    @cached_property
    def network(self) -> CellNetwork:
        return CellNetwork(
            normal=self.genotype.normal.cell(),
            reduction=self.genotype.reduction.cell(),
            cells=self.cells,
            reductions=tuple(r for r in self.reductions if r < self.cells),
            channels=self.channels,
            ways=self.ways,
            image_shape=self.image_shape,
            stem_stride=self.stem_stride,
        )

    @property
    def layout(self) -> Layout:
        return self.network.layout

    def initial(self, seed: int) -> Tensor:
        """A freshly initialised row `[row]`."""
        return initial_row(self.layout, seed)

    def logits(
        self,
        phi: Tensor,
        images: Tensor,
        statistics: BatchStatistics | None = None,
        *,
        drop: Mapping[tuple[int, int], Tensor] | None = None,
        features: bool = False,
    ) -> Tensor:
        """phi `[S, row]`, images `[S, N, C, H, W]` -> logits `[S, N, ways]`, or the last layer's `features`; drop: what
        `drop` gave."""
        return self.network.forward(phi, images, statistics=statistics, drop=drop, features=features)

    def drop(
        self, keep: float, seed: int, task_ids: Tensor, step: int, batch: int, dtype: torch.dtype
    ) -> dict[tuple[int, int], Tensor] | None:
        """Drop-path masks of one inner step, see `drop_masks`: op instances survive with probability `keep`."""
        return drop_masks(self.network, keep, seed, task_ids, step, batch, dtype)

    @property
    def smallest_map(self) -> tuple[int, int]:
        """Height and width of the smallest feature map that a BN normalises."""
        return map_sizes(self.network)[-1]

    def macs(self) -> int:
        """Multiply-accumulates of convolutions and linear layer for one image."""
        return network_macs(self.network)
