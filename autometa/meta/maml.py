"""MAML and its relatives: gradients of the query loss through an inner loop of gradient descent.

MAML and first-order MAML: Finn et al. 2017, arXiv 1703.03400, algorithm 1 and section 5.2.  ANIL, whose inner loop
changes the head alone: Raghu et al. 2020, arXiv 1909.09157, section 4.  Slots are tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import nullcontext
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from autometa.errors import InputError
from autometa.meta.inner_loop import Batches, Objective
from autometa.meta.learner import Adapted, State, TaskChunk
from autometa.meta.optimisers import NONE, SGD, Adam, PerKind
from autometa.meta.outer_gradient import OuterGradient
from autometa.ops import backend
from autometa.slots.arena import Arena

GRADIENTS = ("first-order", "exact")


@dataclass(frozen=True)
class WholeSet:
    """Batches that are the same in every step: images `[S, N, C, H, W]`, labels `[S, N]`."""

    images: Tensor
    labels: Tensor

    def step(self, t: int) -> tuple[Tensor, Tensor]:
        return self.images, self.labels

    def support(self) -> tuple[Tensor, Tensor]:
        return self.images, self.labels


@dataclass(frozen=True)
class Adaptation:
    """rows: `[S, row]` before the first step and after each; losses `[steps, S]` before each step."""

    rows: tuple[Tensor, ...]
    losses: Tensor


@dataclass(frozen=True)
class MetaGradient:
    """support_losses `[steps, S]` before each inner step; query_loss `[S]`; adapted `[S, row]`; gradient `[S, row]` of
    each slot's query loss for its initial row."""

    support_losses: Tensor
    query_loss: Tensor
    adapted: Tensor
    gradient: Tensor


def adapt(
    objective: Objective,
    phi: Tensor,
    batches: Batches,
    steps: int,
    lr: float | Tensor,
    *,
    second_order: bool = False,
) -> Adaptation:
    """`steps` steps of gradient descent from phi `[S, row]`; lr: one for all, or of each column, `[S, row]`.

    With `second_order` the rows remain functions of `phi`, which must then require gradients; otherwise they are
    detached.
    """
    if not second_order:
        phi = phi.detach()
    rows, losses = [phi], []
    for t in range(steps):
        images, labels = batches.step(t)
        row = rows[-1] if second_order else rows[-1].detach().requires_grad_(True)
        with backend.second_order() if second_order else nullcontext():
            loss = objective(row, images, labels, t)
        (grad,) = torch.autograd.grad(loss.sum(), row, create_graph=second_order)
        rows.append(row - lr * grad if second_order else (row - lr * grad).detach())
        losses.append(loss.detach())
    return Adaptation(tuple(rows), torch.stack(losses) if losses else phi.new_zeros(0, phi.shape[0]))


def meta_gradient(
    objective: Objective,
    phi: Tensor,
    support: Batches,
    query: tuple[Tensor, Tensor],
    *,
    steps: int,
    lr: float | Tensor,
    second_order: bool = True,
    begin: Callable[[Tensor], Tensor] | None = None,
    at: int | None = None,
) -> MetaGradient:
    """Adapt phi `[S, row]` to each slot's support batches, and differentiate the query loss.

    objective(phi, images, labels, step) gives losses `[S]`, each of which may depend on its own row alone; it is called
    with step = `at` for the query, `steps` where None. begin(phi) gives the rows of the first step, wider perhaps; the
    gradient goes through it. query: images `[S, Q, C, H, W]`, labels `[S, Q]`. lr: as of `adapt`; columns with
    lr 0 stay as they are. The exact gradient (`second_order`) goes through every inner step and needs ops that can be
    differentiated twice; the first-order one is the query loss's gradient at the adapted row.

    Raises `ValueError` for a negative number of steps.
    """
    if steps < 0:
        raise ValueError(f"steps must not be negative, it is {steps}")
    learned = phi.detach().clone().requires_grad_(True)
    start = learned if begin is None else begin(learned)
    path = adapt(objective, start, support, steps, lr, second_order=second_order)
    last = path.rows[-1] if second_order else path.rows[-1].detach().requires_grad_(True)
    loss = objective(last, *query, steps if at is None else at)
    (gradient,) = torch.autograd.grad(loss.sum(), learned if second_order else last)
    if start is not learned and not second_order:
        (gradient,) = torch.autograd.grad(start, learned, gradient)
    return MetaGradient(path.losses, loss.detach(), last.detach(), gradient.contiguous())


@dataclass(frozen=True)
class QueryGradient(OuterGradient):
    """What MAML's relatives share: gradient descent in the inner loop, the query loss's gradient outside; the same
    gradient without an inner loop."""

    needs_queries: ClassVar[bool] = True
    second_order: ClassVar[bool] = True

    def train_(
        self,
        arena: Arena,
        task: TaskChunk,
        optimiser: Adam | SGD,
        steps: int,
        state: State,
        *,
        frozen: Collection[str] = NONE,
    ) -> Adapted:
        """Leaves theta minus the meta-gradient in `arena.phi`."""
        lr = optimiser.lr.columns(arena, (*frozen, *self.still))
        start, head = arena.phi.clone(), arena.head_of_slot
        assert task.queries is not None, "drawn for a learner that needs them"

        def begin(phi: Tensor) -> Tensor:
            return self.begin(phi, head, task) if self.inner_loop else self.ready(phi, head, task, steps - 1)

        found = meta_gradient(
            task.objective,
            start,
            task.batches,
            task.queries(),
            steps=steps if self.inner_loop else 0,
            lr=lr,
            second_order=self.second_order,
            begin=begin,
            at=steps if self.inner_loop else steps - 1,
        )
        moving, adapted = PerKind(1.0, 1.0).columns(arena, frozen), found.adapted[:, : start.shape[1]]
        arena.phi.copy_(torch.where(torch.isfinite(adapted), start - moving * found.gradient, adapted))
        losses = found.support_losses if self.inner_loop else found.query_loss.expand(steps, -1)
        return Adapted(losses)


@dataclass(frozen=True)
class MAML(QueryGradient):
    """Model-agnostic meta-learning, the exact gradient through all inner steps (Finn et al. 2017, algorithm 1)."""

    order: ClassVar[int] = 2


@dataclass(frozen=True)
class FirstOrder(QueryGradient):
    """Those that take no second derivatives."""

    order: ClassVar[int] = 1
    second_order: ClassVar[bool] = False


@dataclass(frozen=True)
class EitherOrder(QueryGradient):
    """Those that do so where asked.

    Args:
        gradient: `first-order`, or `exact` through all inner steps, by the reference and many times slower.
    """

    gradient: str = GRADIENTS[0]

    order: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gradient not in GRADIENTS:
            raise InputError(f"learner.gradient must be {' or '.join(GRADIENTS)}, not {self.gradient}")

    @property
    def second_order(self) -> bool:  # type: ignore[override]  # a setting here
        return self.gradient == GRADIENTS[1]


@dataclass(frozen=True)
class FOMAML(FirstOrder):
    """First-order MAML: the query loss's gradient at the adapted weights (Finn et al. 2017, section 5.2)."""


@dataclass(frozen=True)
class ANIL(QueryGradient):
    """Almost no inner loop: MAML whose inner loop changes the last layer alone (Raghu et al. 2020, section 4)."""

    order: ClassVar[int] = 2
    still: ClassVar[tuple[str, ...]] = ("body",)
