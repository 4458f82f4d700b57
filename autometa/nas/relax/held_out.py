"""First-order DARTS (Liu et al. 2019, arXiv 1806.09055, section 2.3 with xi = 0) inside a task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from autometa.nas.relax.relaxation import Loss, Relaxation, Task, joined, split, with_gradient_of


@dataclass(frozen=True)
class HeldOut(Relaxation):
    """Architecture learns from images that the weights are not trained on, in every inner step: first-order DARTS.

    Held out are the task's query images while meta-training; at meta-testing it learns from the support batches.
    """

    needs_queries: ClassVar[bool] = True

    def guided(self, loss: Loss, task: Task) -> Loss:
        if task.held_out is None:
            return loss
        images, labels = task.held_out()

        def objective(phi: Tensor, own: Tensor, own_labels: Tensor, step: int) -> Tensor:
            weights, architecture = split(phi, task)
            trained = loss(joined(weights, architecture.detach()), own, own_labels, step)
            held = loss(joined(weights.detach(), architecture), images, labels, step)
            return with_gradient_of(trained, held)

        return objective
