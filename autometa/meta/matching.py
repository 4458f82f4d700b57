"""Matching networks (Vinyals et al. 2016, arXiv 1606.04080, section 2.1, equations 1 and 2).

Without full-context embeddings (section 2.1.2): support and query images are embedded each by itself, by one network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from autometa.errors import InputError
from autometa.meta.heads import classes_of
from autometa.meta.learner import TaskChunk
from autometa.meta.maml import FirstOrder
from autometa.ops.cross_entropy import cross_entropy
from autometa.slots.layout import Layout

TINY = 1e-30
"""The least weight of a class, which has a finite logarithm."""


@dataclass(frozen=True)
class Matching(FirstOrder):
    """Matching networks: a class is as probable as the sum of the attention on its support images, a softmax of the
    cosines between their features and the query's; nothing is adapted.

    What answers keeps the features of the support images, and cannot be exported.

    Args:
        scale: what cosines are multiplied by before the softmax (paper: 1).
    """

    scale: float = 1.0

    inner_loop: ClassVar[bool] = False
    any_ways: ClassVar[bool] = True
    linear: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.scale <= 64:
            raise InputError(f"learner.scale must be above 0 and at most 64, not {self.scale:g}")

    def ready(self, phi: Tensor, head: Tensor, task: TaskChunk, step: int = 0) -> Tensor:
        """phi, then the features of length 1 of the support images, `[S, M * F]`, then their classes, `[S, M]`."""
        assert task.features is not None, "given wherever a learner may want them"
        images, labels = task.batches.support()
        memory = F.normalize(task.features(phi, images, step), dim=2)
        return torch.cat([phi, memory.flatten(1), labels.to(phi.dtype)], dim=1)

    def classifier(self, network: Any, row: int) -> Attention:
        return Attention(network, row, self.scale)


@dataclass(frozen=True)
class Attention:
    """A network that answers by attention; its rows are those of `network`, `row` columns, then what `Matching.ready`
    keeps."""

    network: Any
    row: int
    scale: float

    @property
    def ways(self) -> int:
        return self.network.ways

    @property
    def layout(self) -> Layout:
        return self.network.layout

    def logits(self, phi: Tensor, images: Tensor, *statistics: Any, features: bool = False, **how: Any) -> Tensor:
        """Logarithms of the classes' attention, but for a constant, `[S, N, ways]`.

        Raises `ValueError` where phi does not hold what a support set leaves.
        """
        row = phi[:, : self.row].contiguous()
        found = self.network.logits(row, images, *statistics, features=True, **how)
        return found if features else self._attended(F.normalize(found, dim=2), phi[:, self.row :])

    def _attended(self, queries: Tensor, kept: Tensor) -> Tensor:
        """queries `[S, N, F]` of length 1, kept `[S, M * F + M]` -> `[S, N, ways]`."""
        slots, _, width = queries.shape
        count, odd = divmod(kept.shape[1], width + 1)
        if odd or not count:
            raise ValueError(f"a row of {self.row + kept.shape[1]} columns holds no support set of {width} features")
        memory, labels = kept.split([count * width, count], dim=1)
        cosines = queries @ memory.reshape(slots, count, width).transpose(1, 2)
        members = classes_of(labels, self.ways).to(queries.dtype)
        weights = (self.scale * (cosines - 1)).exp() @ members
        return weights.clamp(min=TINY).log()

    def loss(self, phi: Tensor, images: Tensor, labels: Tensor, step: int) -> Tensor:
        """The objective of slots with different cells."""
        return cross_entropy(self.logits(phi, images), labels)
