"""Meta-SGD (Li et al. 2017, arXiv 1707.09835): MAML that learns a rate for every weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from autometa.meta.maml import EitherOrder, Update, descent
from autometa.slots.arena import Arena

RATES = "rates"


@dataclass(frozen=True)
class MetaSGD(EitherOrder):
    """Meta-SGD: the inner loop descends with a rate for every weight, learned beside theta by the same outer optimiser
    (algorithm 1), of any sign.

    Kept are multiples of the run's `inner.lr`, 1 at first; the paper draws rates from 0.005 to 0.1 and takes one
    inner step.
    """

    learns: ClassVar[tuple[str, ...]] = (RATES,)
    adapts_with: ClassVar[tuple[str, ...]] = learns

    def begun(self, arena: Arena, steps: int) -> dict[str, Tensor]:
        return {RATES: torch.ones_like(arena.theta)}

    def update_of(self, arena: Arena, lr: Tensor, own: Mapping[str, Tensor]) -> Update:
        return descent(lr * own[RATES])
