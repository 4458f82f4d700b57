"""MAML and its relatives: gradients of the query loss through an inner loop of gradient descent.

MAML and first-order MAML: Finn et al. 2017, arXiv 1703.03400, algorithm 1 and section 5.2.  ANIL, whose inner loop
changes the head alone: Raghu et al. 2020, arXiv 1909.09157, section 4.  Slots are tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from autometa.errors import InputError
from autometa.meta import differences
from autometa.meta.inner_loop import Batches, Objective
from autometa.meta.learner import Adapted, InnerLoop, State, TaskChunk
from autometa.meta.optimisers import PerKind
from autometa.meta.outer_gradient import OuterGradient
from autometa.ops import backend
from autometa.slots.arena import Arena

EXACT, DIFFERENCES = "exact", "differences"
GRADIENTS = ("first-order", EXACT, DIFFERENCES)


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
    """support_losses `[steps, S]` before each inner step; query_loss `[S]` after the last; adapted `[S, row]`; gradient
    `[S, row]` of each slot's query loss for its initial row, and for what stands `beside` it."""

    support_losses: Tensor
    query_loss: Tensor
    adapted: Tensor
    gradient: Tensor
    beside: tuple[Tensor, ...] = ()


Update = differences.Update
"""Rows `[S, row]`, their gradient, number of the inner step -> the next rows, differentiable."""


def descent(lr: float | Tensor) -> Update:
    """Gradient descent; lr: one for all, or of each column, `[S, row]`."""
    return lambda row, grad, t: row - lr * grad


def descend(
    objective: Objective, row: Tensor, batches: Batches, steps: range, update: Update, *, second_order: bool = False
) -> Iterator[tuple[Tensor, Tensor]]:
    """The rows after each of these inner steps, and the losses `[S]` before it.

    Rows are functions of those before them and of what `update` takes; of their gradients too with `second_order`.
    """
    for t in steps:
        images, labels = batches.step(t)
        here = row if second_order else row.detach().requires_grad_(True)
        with backend.second_order() if second_order else nullcontext():
            loss = objective(here, images, labels, t)
        (grad,) = torch.autograd.grad(loss.sum(), here, create_graph=second_order)
        row = update(row, grad, t)
        yield row, loss.detach()


def adapt(
    objective: Objective,
    phi: Tensor,
    batches: Batches,
    steps: int,
    lr: float | Tensor | Update,
    *,
    second_order: bool = False,
) -> Adaptation:
    """`steps` steps of gradient descent from phi `[S, row]`; lr: as of `descent`, or another update."""
    update = lr if callable(lr) else descent(lr)
    done = list(descend(objective, phi, batches, range(steps), update, second_order=second_order))
    losses = torch.stack([loss for _, loss in done]) if done else phi.new_zeros(0, phi.shape[0])
    return Adaptation((phi, *(row for row, _ in done)), losses)


def meta_gradient(
    objective: Objective,
    phi: Tensor,
    support: Batches,
    query: tuple[Tensor, Tensor],
    *,
    steps: int,
    lr: float | Tensor | Update,
    second_order: bool = True,
    begin: Callable[[Tensor], Tensor] | None = None,
    at: int | None = None,
    weights: Tensor | None = None,
    beside: Sequence[Tensor] = (),
) -> MetaGradient:
    """Adapt phi `[S, row]` to each slot's support batches, and differentiate the query loss.

    objective(phi, images, labels, step) gives losses `[S]`, each of which may depend on its own row alone; it is called
    with step = `at` for the query, the number of steps before it where None. begin(phi) gives the rows of the first
    step, wider perhaps; the gradient goes through it. query: images `[S, Q, C, H, W]`, labels `[S, Q]`. lr: as of
    `adapt`; columns with lr 0 stay as they are. The exact gradient (`second_order`) goes through every inner step and
    needs ops that can be differentiated twice; the first-order one takes inner gradients for constants. weights
    `[S, steps]`: of the query losses after each step, the last one alone where None. beside: what `lr` takes.

    Raises `ValueError` for a negative number of steps.
    """
    if steps < 0:
        raise ValueError(f"steps must not be negative, it is {steps}")
    learned = phi.detach().clone().requires_grad_(True)
    start = learned if begin is None else begin(learned)
    path = adapt(objective, start, support, steps, lr, second_order=second_order)
    rows = path.rows[-1:] if weights is None or not steps else path.rows[1:]
    first = steps + 1 - len(rows)
    losses = [objective(row, *query, t if at is None else at) for t, row in enumerate(rows, first)]
    total = losses[-1] if weights is None else (weights[:, -len(rows) :] * torch.stack(losses, dim=1)).sum(dim=1)
    wanted = (learned, *beside)
    found = torch.autograd.grad(total.sum(), wanted, allow_unused=True)
    gradient, *own = (torch.zeros_like(v) if g is None else g for v, g in zip(wanted, found, strict=True))
    return MetaGradient(path.losses, losses[-1].detach(), rows[-1].detach(), gradient.contiguous(), tuple(own))


def meta_gradient_by_differences(
    objective: Objective,
    phi: Tensor,
    support: Batches,
    query: tuple[Tensor, Tensor],
    *,
    steps: int,
    lr: float | Tensor | Update,
    begin: Callable[[Tensor], Tensor] | None = None,
    at: int | None = None,
    weights: Tensor | None = None,
    beside: Sequence[Tensor] = (),
) -> MetaGradient:
    """The exact `meta_gradient` to within a percent, without second derivatives: see `differences`."""
    learned = phi.detach().clone().requires_grad_(True)
    start = learned if begin is None else begin(learned)
    update = lr if callable(lr) else descent(lr)
    rows, gradients, losses = [start.detach()], [], []
    for t in range(steps):
        grad, loss = differences.gradient_of(objective, rows[-1], *support.step(t), t)
        with torch.no_grad():
            rows.append(update(rows[-1], grad, t))
        gradients.append(grad)
        losses.append(loss)
    last: list[Tensor] = []

    def of_row(t: int) -> Tensor:
        if t < steps and weights is None:
            return torch.zeros_like(rows[t])
        grad, loss = differences.gradient_of(objective, rows[t], *query, t if at is None else at)
        last.append(loss)
        share = weights[:, t - 1, None] if weights is not None and steps else 1.0
        return share * grad

    found, own = differences.gradients_through(objective, rows, gradients, support, update, of_row, beside)
    gradient = torch.autograd.grad(start, learned, found)[0] if begin is not None else found
    told = torch.stack(losses) if losses else phi.new_zeros(0, phi.shape[0])
    return MetaGradient(told, last[0], rows[-1], gradient.contiguous(), tuple(own))


@dataclass(frozen=True)
class QueryGradient(OuterGradient):
    """What MAML's relatives share: gradient descent in the inner loop, the query loss's gradient outside, for theta and
    what is learned beside it; the same gradient without an inner loop."""

    needs_queries: ClassVar[bool] = True
    second_order: ClassVar[bool] = True
    gradient: ClassVar[str] = EXACT

    @property
    def in_pairs(self) -> bool:  # type: ignore[override]  # follows from settings
        return self.second_order and self.gradient == DIFFERENCES

    def update_of(self, arena: Arena, lr: Tensor, own: Mapping[str, Tensor]) -> Update:
        """An inner step, from the run's rates of each column `[S, row]` and what is learned beside theta `[S, ...]`."""
        return descent(lr)

    def query_weights(self, arena: Arena, state: State) -> Tensor | None:
        """Of the query losses after each inner step, `[S, steps]`; that after the last step alone where None."""
        return None

    def steps_(self, arena: Arena, task: TaskChunk, inner: InnerLoop) -> Tensor:
        own = self.of_slots(arena, inner.state)
        if not own:
            return super().steps_(arena, task, inner)
        update = self.update_of(arena, inner.optimiser.lr.columns(arena, inner.frozen), own)
        numbers, losses = range(inner.first_step, inner.first_step + inner.steps), []
        for row, loss in descend(task.objective, arena.phi.clone(), task.batches, numbers, update):
            arena.phi.copy_(row)
            losses.append(loss)
        return torch.stack(losses) if losses else arena.phi.new_zeros(0, arena.slots)

    def train_(self, arena: Arena, task: TaskChunk, inner: InnerLoop) -> Adapted:
        """Leaves theta minus the meta-gradient in `arena.phi`; moves: the gradient for what is learned beside it."""
        steps = inner.steps
        lr = inner.optimiser.lr.columns(arena, (*inner.frozen, *self.still))
        start, head = arena.phi.clone(), arena.head_of_slot
        own = {name: value.requires_grad_(True) for name, value in self.of_slots(arena, inner.state).items()}
        assert task.queries is not None, "drawn for a learner that needs them"

        def begin(phi: Tensor) -> Tensor:
            return self.begin(phi, head, task) if self.inner_loop else self.ready(phi, head, task, steps - 1)

        how: dict[str, Any] = {} if self.in_pairs else {"second_order": self.second_order}
        found = (meta_gradient_by_differences if self.in_pairs else meta_gradient)(
            task.objective,
            start,
            task.batches,
            task.queries(),
            steps=steps if self.inner_loop else 0,
            lr=self.update_of(arena, lr, own),
            begin=begin,
            at=None if self.inner_loop else steps - 1,
            weights=self.query_weights(arena, inner.state),
            beside=tuple(own.values()),
            **how,
        )
        moving, adapted = PerKind(1.0, 1.0).columns(arena, inner.frozen), found.adapted[:, : start.shape[1]]
        arena.phi.copy_(torch.where(torch.isfinite(adapted), start - moving * found.gradient, adapted))
        losses = found.support_losses if self.inner_loop else found.query_loss.expand(steps, -1)
        return Adapted(losses, dict(zip(own, found.beside, strict=True)))


@dataclass(frozen=True)
class SecondOrder(QueryGradient):
    """Those whose gradient goes through all inner steps.

    Args:
        gradient: `exact`, by second derivatives of the reference, many times slower than a first-order step, or
            `differences` of the compiled first-order step, within a percent of it (`meta.differences`).
    """

    gradient: str = EXACT  # type: ignore[misc]  # a setting here

    order: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gradient not in GRADIENTS[1:]:
            raise InputError(f"learner.gradient must be {' or '.join(GRADIENTS[1:])}, not {self.gradient}")


@dataclass(frozen=True)
class MAML(SecondOrder):
    """Model-agnostic meta-learning, the exact gradient through all inner steps (Finn et al. 2017, algorithm 1)."""


@dataclass(frozen=True)
class FirstOrder(QueryGradient):
    """Those that take no second derivatives."""

    order: ClassVar[int] = 1
    second_order: ClassVar[bool] = False


@dataclass(frozen=True)
class EitherOrder(QueryGradient):
    """Those that do so where asked.

    Args:
        gradient: `first-order`, or through all inner steps: `exact`, by second derivatives of the reference and many
            times slower, or `differences` of the compiled first-order step, within a percent of it
            (`meta.differences`).
    """

    gradient: str = GRADIENTS[0]  # type: ignore[misc]  # a setting here

    order: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gradient not in GRADIENTS:
            raise InputError(f"learner.gradient must be {', '.join(GRADIENTS)}, not {self.gradient}")

    @property
    def second_order(self) -> bool:  # type: ignore[override]  # a setting here
        return self.gradient != GRADIENTS[0]


@dataclass(frozen=True)
class FOMAML(FirstOrder):
    """First-order MAML: the query loss's gradient at the adapted weights (Finn et al. 2017, section 5.2)."""


@dataclass(frozen=True)
class ANIL(SecondOrder):
    """Almost no inner loop: MAML whose inner loop changes the last layer alone (Raghu et al. 2020, section 4)."""

    still: ClassVar[tuple[str, ...]] = ("body",)
