"""Prototypical networks, fine-tuned on every task (Hu et al. 2022, arXiv 2204.07305, section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from autometa.meta.heads import prototype_head
from autometa.meta.learner import Adapted, InnerLoop, TaskChunk
from autometa.meta.maml import FirstOrder
from autometa.meta.protonet import ProtoNet, check_scale
from autometa.slots.arena import Arena


@dataclass(frozen=True)
class TunedProtoNet(FirstOrder):
    """Prototypical networks that are fine-tuned: meta-trained as `protonet`, with the same weights at the end; at tests
    and when adapted the last layer begins as prototypes say and the whole network then takes gradient steps on the
    support set, as Proto-MAML does.

    Meta-training costs what prototypes cost, adaptation its steps.

    Args:
        scale: what squared distances are multiplied by before the softmax, as of `protonet`.
    """

    scale: float = 1.0

    any_ways: ClassVar[bool] = True
    by_prototypes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_scale(self.scale)

    def begin(self, phi: Tensor, head: Tensor, task: TaskChunk) -> Tensor:
        return prototype_head(phi, head, task, 0, self.scale)

    @property
    def distance_scale(self) -> float:
        return self.scale

    def train_(self, arena: Arena, task: TaskChunk, inner: InnerLoop) -> Adapted:
        """That of prototypes, without an inner loop."""
        return ProtoNet(outer=self.outer, scale=self.scale).train_(arena, task, inner)
