"""MAML and its relatives: gradients of the query loss through an inner loop of gradient descent.

MAML and first-order MAML: Finn et al. 2017, arXiv 1703.03400, algorithm 1 and section 5.2.  ANIL, whose inner loop
changes the head alone: Raghu et al. 2020, arXiv 1909.09157, section 4.  Slots are tasks; nothing here is in place.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from autometa.meta.inner_loop import Batches, Objective
from autometa.ops import backend
from autometa.slots.layout import Layout


@dataclass(frozen=True)
class Variant:
    """Which member of the family.

    second_order: differentiate through the inner steps, or treat what they subtract as constant.
    adapts: names of entries, or beginnings of names up to a dot, that the inner loop changes; all where None.
    """

    second_order: bool
    adapts: tuple[str, ...] | None = None

    def columns(self, layout: Layout) -> Tensor | None:
        """What `meta_gradient` takes as `columns`."""
        return None if self.adapts is None else adapted_columns(layout, self.adapts)


MAML = Variant(second_order=True)
FOMAML = Variant(second_order=False)
ANIL = Variant(second_order=True, adapts=("head",))
ANIL_FIRST_ORDER = Variant(second_order=False, adapts=("head",))


@dataclass(frozen=True)
class WholeSet:
    """Batches that are the same in every step: images `[S, N, C, H, W]`, labels `[S, N]`."""

    images: Tensor
    labels: Tensor

    def step(self, t: int) -> tuple[Tensor, Tensor]:
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


def adapted_columns(layout: Layout, names: tuple[str, ...]) -> Tensor:
    """bool `[row]`: the columns of entries with one of these names, or that begin with one of them and a dot.

    Raises `ValueError` where a name fits no entry.
    """
    chosen = torch.zeros(layout.row, dtype=torch.bool, device="cpu")
    for name in names:
        fitting = [e for e in layout.entries if e.name == name or e.name.startswith(f"{name}.")]
        if not fitting:
            raise ValueError(f"no parameter is called {name!r} or begins with '{name}.'")
        for e in fitting:
            chosen[e.offset : e.offset + e.size] = True
    return chosen


def adapt(
    objective: Objective,
    phi: Tensor,
    batches: Batches,
    steps: int,
    lr: float,
    *,
    columns: Tensor | None = None,
    second_order: bool = False,
) -> Adaptation:
    """`steps` steps of gradient descent from phi `[S, row]`, on `columns` (bool `[row]`, all where None).

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
        if columns is not None:
            grad = torch.where(columns.to(grad.device), grad, torch.zeros_like(grad))
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
    lr: float,
    columns: Tensor | None = None,
    second_order: bool = True,
) -> MetaGradient:
    """Adapt phi `[S, row]` to each slot's support batches, and differentiate the query loss.

    objective(phi, images, labels, step) gives losses `[S]`, each of which may depend on its own row alone; it is called
    with step = `steps` for the query. query: images `[S, Q, C, H, W]`, labels `[S, Q]`. columns: bool `[row]`, what
    the inner loop changes (ANIL: `ANIL.columns(layout)`). The exact gradient (`second_order`) goes through every inner
    step and needs ops that can be differentiated twice; the first-order one is the query loss's gradient at the
    adapted row.

    Raises `ValueError` for a negative number of steps or a mask of the wrong size.
    """
    if steps < 0:
        raise ValueError(f"steps must not be negative, it is {steps}")
    if columns is not None and (columns.shape != phi.shape[1:] or columns.dtype != torch.bool):
        raise ValueError(f"columns must be bool {list(phi.shape[1:])}, not {columns.dtype} {list(columns.shape)}")
    start = phi.detach().clone().requires_grad_(True)
    path = adapt(objective, start, support, steps, lr, columns=columns, second_order=second_order)
    last = path.rows[-1] if second_order else path.rows[-1].detach().requires_grad_(True)
    loss = objective(last, *query, steps)
    (gradient,) = torch.autograd.grad(loss.sum(), start if second_order else last)
    return MetaGradient(path.losses, loss.detach(), last.detach(), gradient.contiguous())


def mean_gradient(gradient: Tensor, finite: Tensor, group_of_slot: Tensor, groups: int) -> Tensor:
    """Mean over the finite slots of each group: gradient `[S, row]`, bool `[S]`, int64 `[S]` -> `[groups, row]`.

    A group without a finite slot gets 0.
    """
    kept = torch.where(finite[:, None], gradient, torch.zeros_like(gradient))
    total = gradient.new_zeros(groups, gradient.shape[1]).index_add(0, group_of_slot, kept)
    count = gradient.new_zeros(groups).index_add(0, group_of_slot, finite.to(gradient.dtype))
    return total / count.clamp(min=1.0)[:, None]
