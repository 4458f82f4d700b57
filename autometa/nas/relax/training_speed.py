"""Training-speed gradient (Ru et al. 2021, arXiv 2006.04492, section 5: summed training loss in DARTS)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from autometa.nas.relax.relaxation import Loss, Relaxation, Task, joined, split, with_gradient_of
from autometa.nas.relax.unrolled import looking_ahead


@dataclass(frozen=True)
class TrainingSpeed(Relaxation):
    """Architecture learns what makes the training loss fall: its sum before and after one step.

    Its gradient goes through that step, one of gradient descent on the batch, as of `unrolled`. No images are held out.

    Args:
        rate: of the step looked ahead; that of the inner loop where 0.
        epsilon: of the difference, as of `unrolled`.
    """

    rate: float = 0.0
    epsilon: float = 0.01

    def guided(self, loss: Loss, task: Task) -> Loss:
        after = looking_ahead(loss, task, lambda images, labels: (images, labels), self.rate or task.lr, self.epsilon)

        def objective(phi: Tensor, images: Tensor, labels: Tensor, step: int) -> Tensor:
            weights, architecture = split(phi, task)
            now = loss(joined(weights.detach(), architecture), images, labels, step)
            return with_gradient_of(after(phi, images, labels, step), now)

        return objective
