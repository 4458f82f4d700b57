"""The inner loop: k steps of forward, backward and optimiser on every slot of an arena at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

from autometa.ops.adam import adam_
from autometa.ops.clip_grad import clip_grad_
from autometa.ops.sgd import sgd_
from autometa.slots.arena import Arena


class Objective(Protocol):
    """Losses of all slots: phi `[S, row]`, images `[S, N, C, H, W]`, labels `[S, N]`, inner step -> `[S]`."""

    def __call__(self, phi: Tensor, images: Tensor, labels: Tensor, step: int) -> Tensor: ...


class Batches(Protocol):
    """The data of inner step t: images `[S, N, C, H, W]` and int64 labels `[S, N]`."""

    def step(self, t: int) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True)
class PerKind:
    """One number for weights and one for architecture parameters."""

    weights: float
    architecture: float = 0.0

    def table(self, arena: Arena, frozen: tuple[bool, bool] = (False, False)) -> Tensor:
        """float64 `[groups, 2]`, to be read only; a frozen kind gets 0."""
        values = tuple(0.0 if f else v for v, f in zip((self.weights, self.architecture), frozen, strict=True))
        return _table(values, arena.groups, arena.phi.device)


@cache
def _table(values: tuple[float, ...], groups: int, device: torch.device) -> Tensor:
    """Made once: a copy to a GPU would wait for it, and may not stand in a captured graph."""
    return torch.tensor(values, dtype=torch.float64, device=device).expand(groups, len(values)).contiguous()


@dataclass(frozen=True)
class Adam:
    """Adam in the inner loop (Reptile and MetaNAS: beta1 = 0, so no first moment exists).

    `state` is `carry` (second moment and step count go on from task to task) or `reset`.
    """

    lr: PerKind
    weight_decay: PerKind = PerKind(0.0, 0.0)
    beta2: float = 0.999
    eps: float = 1e-8
    state: str = "carry"
    max_norm: PerKind | None = None

    def __post_init__(self) -> None:
        if self.state not in ("carry", "reset"):
            raise ValueError(f"Adam state must be 'carry' or 'reset', not {self.state!r}")

    def begin_(self, arena: Arena) -> None:
        """Before the first step of a task."""
        if self.state == "reset":
            arena.reset_moments_()

    def step_(self, arena: Arena, grad: Tensor, frozen: tuple[bool, bool] = (False, False)) -> None:
        """Update `arena` from `grad [S, row]`; a frozen kind neither moves nor counts."""
        where = (arena.bounds, arena.group_of_slot, arena.layout_of_slot)
        if self.max_norm is not None:
            clip_grad_(grad, self.max_norm.table(arena), *where)
        lr, decay = self.lr.table(arena, frozen), self.weight_decay.table(arena)
        adam_(arena.phi, grad, arena.second, arena.steps, lr, decay, *where, beta2=self.beta2, eps=self.eps)


@dataclass(frozen=True)
class SGD:
    """Plain gradient descent in the inner loop."""

    lr: PerKind
    weight_decay: PerKind = PerKind(0.0, 0.0)
    state: str = "reset"

    def begin_(self, arena: Arena) -> None:
        """Nothing to prepare: gradient descent has no state."""

    def step_(self, arena: Arena, grad: Tensor, frozen: tuple[bool, bool] = (False, False)) -> None:
        where = (arena.bounds, arena.group_of_slot, arena.layout_of_slot)
        sgd_(arena.phi, grad, self.lr.table(arena, frozen), self.weight_decay.table(arena), *where)


def slot_gradients(objective: Objective, phi: Tensor, images: Tensor, labels: Tensor, step: int):
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
    frozen: tuple[bool, bool] = (False, False),
) -> Tensor:
    """Take `steps` inner steps on `arena.phi`, in place; returns the losses before each step, `[steps, S]`.

    Weights and architecture move together, from one forward and backward on one batch (MetaNAS, section 3.2); a frozen
    kind stays as it is. `first_step` is the number of the first batch.

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
