"""Prototypical networks (Snell et al. 2017, arXiv 1703.05175, sections 2.2 and 2.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from autometa.errors import InputError
from autometa.meta.heads import prototype_head
from autometa.meta.learner import TaskChunk
from autometa.meta.maml import FirstOrder


def check_scale(scale: float) -> None:
    """Raise `InputError` where distances cannot be multiplied by this number."""
    if not 0 < scale <= 64:
        raise InputError(f"learner.scale must be above 0 and at most 64, not {scale:g}")


@dataclass(frozen=True)
class ProtoNet(FirstOrder):
    """Prototypical networks: a query belongs to the class whose mean of support features is nearest, by squared
    Euclidean distance; nothing is adapted. Support and queries are normalised each by their own batch while training.

    What answers is a linear layer, weights 2 c and bias -|c|^2 of each prototype c, so every export can carry it.

    Args:
        scale: what squared distances are multiplied by before the softmax (paper: 1). Distances grow with the number of
            features, and where they are large at first a network learns slowly: a fraction of 1 over the features of
            wide ones learns in half the steps.
    """

    scale: float = 1.0

    inner_loop: ClassVar[bool] = False
    any_ways: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_scale(self.scale)

    def ready(self, phi: Tensor, head: Tensor, task: TaskChunk, step: int = 0) -> Tensor:
        return prototype_head(phi, head, task, step, self.scale)

    @property
    def distance_scale(self) -> float:
        return self.scale
