"""What meta-training needs of a network."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from autometa.slots.layout import Layout
from autometa.slots.statistics import BatchStatistics


class Network(Protocol):
    """What meta-training needs of a network."""

    @property
    def layout(self) -> Layout: ...

    @property
    def ways(self) -> int: ...

    @property
    def image_shape(self) -> tuple[int, int, int]: ...

    def macs(self) -> int: ...

    @property
    def smallest_map(self) -> tuple[int, int]: ...

    def initial(self, seed: int) -> Tensor: ...

    def logits(
        self, phi: Tensor, images: Tensor, statistics: BatchStatistics | None = None, *, features: bool = False
    ) -> Tensor: ...
