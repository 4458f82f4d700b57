"""The inner loop: k steps of forward, backward and optimiser on every slot of an arena at once."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

import torch
from torch import Tensor

from autometa.meta.optimisers import NONE, SGD, Adam
from autometa.slots.arena import Arena


class Objective(Protocol):
    """Losses of all slots: phi `[S, row]`, images `[S, N, C, H, W]`, labels `[S, N]`, inner step -> `[S]`."""

    def __call__(self, phi: Tensor, images: Tensor, labels: Tensor, step: int, /) -> Tensor: ...


class Batches(Protocol):
    """The data of inner step t: images `[S, N, C, H, W]` and int64 labels `[S, N]`; and all of the support sets."""

    def step(self, t: int) -> tuple[Tensor, Tensor]: ...

    def support(self) -> tuple[Tensor, Tensor]: ...


def slot_gradients(
    objective: Objective, phi: Tensor, images: Tensor, labels: Tensor, step: int
) -> tuple[Tensor, Tensor]:
    """Losses `[S]` and the gradient of each slot's loss for its own row, `[S, row]`."""
    leaf = phi.detach().requires_grad_(True)
    losses = objective(leaf, images, labels, step)
    (grad,) = torch.autograd.grad(losses, leaf, torch.ones_like(losses))
    return losses.detach(), grad.contiguous()


def adapt_(
    arena: Arena,
    objective: Objective,
    batches: Batches,
    optimiser: Adam | SGD,
    steps: int,
    *,
    first_step: int = 0,
    frozen: Collection[str] = NONE,
) -> Tensor:
    """Take `steps` inner steps on `arena.phi`, in place; returns the losses before each step, `[steps, S]`.

    Weights and architecture move together, from one forward and backward on one batch (MetaNAS, section 3.2); kinds of
    columns that are frozen stay as they are. `first_step` is the number of the first batch.

    Raises:
        ValueError: from the ops, where the shapes of arena, batches and network do not fit.
    """
    losses = []
    for t in range(first_step, first_step + steps):
        images, labels = batches.step(t)
        loss, grad = slot_gradients(objective, arena.phi, images, labels, t)
        optimiser.step_(arena, grad, frozen)
        losses.append(loss)
    return torch.stack(losses) if losses else arena.phi.new_zeros(0, arena.slots)
