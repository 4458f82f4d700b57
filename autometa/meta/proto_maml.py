"""Proto-MAML (Triantafillou et al. 2020, arXiv 1903.03096, section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from autometa.meta.heads import prototype_head
from autometa.meta.learner import TaskChunk
from autometa.meta.maml import EitherOrder


@dataclass(frozen=True)
class ProtoMAML(EitherOrder):
    """MAML whose last layer begins, in every task, as a prototypical network's: weights 2 c and bias -|c|^2 of the
    prototype c of each class. The meta-gradient goes through the prototypes.
    """

    any_ways: ClassVar[bool] = True

    def begin(self, phi: Tensor, head: Tensor, task: TaskChunk) -> Tensor:
        return prototype_head(phi, head, task, 0)
