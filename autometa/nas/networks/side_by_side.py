"""Networks of several architectures side by side in one arena, a group of slots for each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autometa.nas.networks.network import Network
from autometa.ops.cross_entropy import cross_entropy
from autometa.slots.init import initial_row
from autometa.slots.layout import Layout
from autometa.slots.statistics import BatchStatistics


@dataclass(frozen=True)
class Macro:
    """What stands around a cell, and how large a network is in general.

    filters: F, channels of the first layers; repeats: N, normal cells before each reduction; scale_rate: what F is
    multiplied by at reductions; ways: classes; image_shape: (channels, height, width).
    """

    filters: int
    repeats: int
    scale_rate: int
    ways: int
    image_shape: tuple[int, int, int]


class SideBySide(ABC):
    """Networks over one arena; the rows of network g are laid out as `layouts[g]` says.

    What a network computes does not depend on those beside it.
    """

    def __init__(self, layouts: Sequence[Layout], ways: Sequence[int]) -> None:
        if not layouts:
            raise ValueError("networks side by side need at least one architecture")
        self.layouts, self.ways = tuple(layouts), ways[0]

    @property
    def row(self) -> int:
        """Columns of a row, the same for all."""
        return max(layout.row for layout in self.layouts)

    def initial(self, seed_of_network: int | Sequence[int]) -> Tensor:
        """Freshly initialised rows `[networks, row]`, from one seed for all or one for each."""
        seeds = [seed_of_network] * len(self.layouts) if isinstance(seed_of_network, int) else seed_of_network
        rows = torch.zeros(len(self.layouts), self.row, dtype=torch.float32, device="cpu")
        for row, layout, seed in zip(rows, self.layouts, seeds, strict=True):
            row[: layout.row] = initial_row(layout, seed)
        return rows

    def parameters(self, g: int) -> int:
        """Scalar weights of network g."""
        return self.layouts[g].count()

    @abstractmethod
    def macs(self, g: int) -> int:
        """Its multiply-accumulates of convolutions and linear layer for one image."""

    @abstractmethod
    def alone(self, g: int) -> SideBySide:
        """Network g without the others."""

    @abstractmethod
    def logits(
        self,
        phi: Tensor,
        images: Tensor,
        network_of_slot: Tensor,
        statistics: BatchStatistics | None = None,
        features: bool = False,
    ) -> Tensor:
        """phi `[S, row]`, images `[S, N, C, H, W]`, network_of_slot int64 `[S]` -> logits `[S, N, ways]`, or the
        features that the last layer reads, 0 behind those of a slot with fewer.

        Raises `ValueError` where network_of_slot is too short, or, where that can be seen without waiting for a GPU,
        names a network that does not exist.
        """

    def losses(self, phi: Tensor, images: Tensor, labels: Tensor, network_of_slot: Tensor) -> Tensor:
        """Cross-entropies `[S]` of the same; labels int64 `[S, N]`."""
        return cross_entropy(self.logits(phi, images, network_of_slot), labels)

    def numbers(self, phi: Tensor, network_of_slot: Tensor) -> list[int]:
        """`network_of_slot` on the host. Raises `ValueError` where it does not name a network for each slot."""
        found, count = network_of_slot.tolist(), len(self.layouts)
        if len(found) != len(phi) or not all(0 <= g < count for g in found):
            raise ValueError(f"network_of_slot must name one of {count} networks for each of {len(phi)} slots")
        return found


class Separate(SideBySide):
    """Networks of any kind, computed one after another, all slots of one at once.

    On a GPU the slots of each are looked up on the host, so that a meta-iteration is not captured as a graph.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        super().__init__([network.layout for network in networks], [network.ways for network in networks])
        self.networks = tuple(networks)

    def macs(self, g: int) -> int:
        return self.networks[g].macs()

    def alone(self, g: int) -> Separate:
        return Separate([self.networks[g]])

    def logits(
        self,
        phi: Tensor,
        images: Tensor,
        network_of_slot: Tensor,
        statistics: BatchStatistics | None = None,
        features: bool = False,
    ) -> Tensor:
        numbers = self.numbers(phi, network_of_slot)
        order, found = [], []
        for g in sorted(set(numbers)):
            slots = [slot for slot, number in enumerate(numbers) if number == g]
            at = torch.tensor(slots, dtype=torch.int64, device=phi.device)
            own = phi.index_select(0, at)[:, : self.layouts[g].row]
            found.append(self.networks[g].logits(own, images.index_select(0, at), statistics, features=features))
            order += slots
        widest = max(part.shape[-1] for part in found)
        found = [torch.nn.functional.pad(part, (0, widest - part.shape[-1])) for part in found]
        back = torch.tensor(order, dtype=torch.int64, device=phi.device).argsort()
        return torch.cat(found).index_select(0, back)
