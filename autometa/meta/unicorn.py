"""UNICORN-MAML (Ye and Chao 2022, arXiv 2106.16245, section 5): one vector for the head of every class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from autometa.meta.heads import shared_head
from autometa.meta.learner import TaskChunk
from autometa.meta.maml import EitherOrder


@dataclass(frozen=True)
class Unicorn(EitherOrder):
    """MAML with one shared head vector: the last layer begins as copies of its first class's weights and bias, so that
    the order of classes says nothing and their number is free. The paper takes 15 to 20 inner steps.

    A softmax cancels what all classes share: the vector moves no answer and gets no gradient, and a last layer that
    begins at 0 is the same (Kao et al. 2022, the zeroing trick).
    """

    any_ways: ClassVar[bool] = True

    def begin(self, phi: Tensor, head: Tensor, task: TaskChunk) -> Tensor:
        return shared_head(phi, head)
