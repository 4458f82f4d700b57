"""Prototypical networks (Snell et al. 2017, arXiv 1703.05175, sections 2.2 and 2.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from autometa.meta.heads import prototype_head
from autometa.meta.learner import TaskChunk
from autometa.meta.maml import FirstOrder


@dataclass(frozen=True)
class ProtoNet(FirstOrder):
    """Prototypical networks: a query belongs to the class whose mean of support features is nearest, by squared
    Euclidean distance; nothing is adapted. Support and queries are normalised each by their own batch while training.

    What answers is a linear layer, weights 2 c and bias -|c|^2 of each prototype c, so every export can carry it.
    """

    inner_loop: ClassVar[bool] = False
    any_ways: ClassVar[bool] = True

    def ready(self, phi: Tensor, head: Tensor, task: TaskChunk, step: int = 0) -> Tensor:
        return prototype_head(phi, head, task, step)
