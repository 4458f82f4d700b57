"""The gradient of T-NAS (Lian et al. 2020, ICLR, algorithm 1): the query loss of the adapted network."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from autometa.nas.relax.held_out import HeldOut
from autometa.nas.relax.relaxation import Loss, Task, joined, split


@dataclass(frozen=True)
class Query(HeldOut):
    """Architecture learns once a task, from the query loss at the last inner step: T-NAS, first order.

    T-NAS also adapts it on the support set before; here that happens at meta-testing alone.
    """

    def guided(self, loss: Loss, task: Task) -> Loss:
        if task.held_out is None:
            return loss
        held = super().guided(loss, task)

        def objective(phi: Tensor, images: Tensor, labels: Tensor, step: int) -> Tensor:
            if step >= task.steps - 1:  # the last one, or the query loss of the adapted network
                return held(phi, images, labels, step)
            weights, architecture = split(phi, task)
            return loss(joined(weights, architecture.detach()), images, labels, step)

        return objective
