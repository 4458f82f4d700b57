"""Second-order DARTS (Liu et al. 2019, arXiv 1806.09055, section 2.3): the architecture's gradient through one step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from autometa.nas.relax.held_out import HeldOut
from autometa.nas.relax.relaxation import Loss, Task, joined, split, with_gradient_of

TINY = 1e-12


@dataclass(frozen=True)
class Unrolled(HeldOut):
    """Architecture learns from the held-out loss after one step of the weights on the batch: second-order DARTS.

    Three more forward and backward passes a step: the product with the Hessian is a central difference.

    Args:
        rate: of the step looked ahead, gradient descent; that of the inner loop where 0. DARTS takes the weights' own.
        epsilon: length of the difference, over the norm of the held-out gradient of the weights (DARTS: 0.01).
    """

    rate: float = 0.0
    epsilon: float = 0.01

    def guided(self, loss: Loss, task: Task) -> Loss:
        if task.held_out is None:
            return loss
        held_out = task.held_out
        return looking_ahead(loss, task, lambda images, labels: held_out(), self.rate or task.lr, self.epsilon)


Judged = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Images and labels of a batch -> those that the architecture is judged by."""


def looking_ahead(loss: Loss, task: Task, judged: Judged, rate: float, epsilon: float) -> Loss:
    """An objective whose gradient of the architecture is that of the loss on `judged(images, labels)` after one step of
    the weights on the batch (DARTS, equations 7 and 8)."""

    def gradients(weights: Tensor, architecture: Tensor, images: Tensor, labels: Tensor, step: int) -> tuple:
        leaves = [part.detach().requires_grad_(True) for part in (weights, architecture)]
        with torch.enable_grad():
            losses = loss(joined(*leaves), images, labels, step)
        return torch.autograd.grad(losses, leaves, torch.ones_like(losses))

    def objective(phi: Tensor, images: Tensor, labels: Tensor, step: int) -> Tensor:
        weights, architecture = split(phi, task)
        trained = loss(joined(weights, architecture.detach()), images, labels, step)
        (down,) = torch.autograd.grad(trained, weights, torch.ones_like(trained), retain_graph=True)
        seen, told = judged(images, labels)
        ahead, direct = gradients(weights - rate * down, architecture, seen, told, step)
        size = epsilon / torch.linalg.vector_norm(ahead, dim=1, keepdim=True).clamp(min=TINY)
        _, above = gradients(weights + size * ahead, architecture, images, labels, step)
        _, below = gradients(weights - size * ahead, architecture, images, labels, step)
        wanted = direct - rate * (above - below) / (2 * size)
        return with_gradient_of(trained, (wanted.detach() * architecture).sum(dim=1))

    return objective
