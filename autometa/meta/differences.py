"""The exact meta-gradient from first derivatives: products with Hessians as differences of gradients.

Backwards through an inner step that maps a row r and its gradient g(r) to U(r, g), a gradient v becomes
`U_r' v + H (U_g' v)`, H the Hessian of the inner loss (Finn et al. 2017, section 4.2; the recursion is that of reverse
mode). `H u` is `(g(r + h u) - g(r)) / h` for a small h (Pearlmutter 1994, section 2). Networks of ReLUs and pools have
kinks everywhere: over them a difference tells of other pieces of the loss, and is of no use at any h. So ReLUs and
pools decide at `r + h u` as they do at r (`ops.gates`): the difference is that of the smooth piece whose Hessian the
exact gradient takes.

An inner step costs its own gradient, and two on the way back; memory grows with the steps by their rows and gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from autometa.meta.inner_loop import Batches, Objective
from autometa.ops import gates

STEP = 1e-4
"""h |u| as a share of |r|: rounding in float32 and curvature leave less than 1% of error each (docs/learners.md)."""
TINY = 1e-30

Update = Callable[[Tensor, Tensor, int], Tensor]


def gradient_of(objective: Objective, row: Tensor, images: Tensor, labels: Tensor, t: int) -> tuple[Tensor, Tensor]:
    """The gradient `[S, row]` of losses `[S]`, and these."""
    leaf = row.detach().requires_grad_(True)
    loss = objective(leaf, images, labels, t)
    return torch.autograd.grad(loss.sum(), leaf)[0], loss.detach()


def times_hessian(
    objective: Objective, row: Tensor, direction: Tensor, images: Tensor, labels: Tensor, t: int
) -> Tensor:
    """The Hessian of each slot's loss at its row, times a direction, both `[S, row]`."""
    size = torch.linalg.vector_norm(direction, dim=1, keepdim=True)
    h = STEP * torch.linalg.vector_norm(row, dim=1, keepdim=True).clamp(min=TINY) / size.clamp(min=TINY)
    images, labels = torch.cat([images, images]), torch.cat([labels, labels])
    with gates.paired():
        both, _ = gradient_of(objective, torch.cat([row, row + h * direction]), images, labels, t)
    here, there = both.chunk(2)
    return torch.where(size > 0, (there - here) / h, torch.zeros_like(row))


def gradients_through(
    objective: Objective,
    rows: Sequence[Tensor],
    gradients: Sequence[Tensor],
    batches: Batches,
    update: Update,
    of_row: Callable[[int], Tensor],
    beside: Sequence[Tensor] = (),
) -> tuple[Tensor, list[Tensor]]:
    """The gradient for the first row, `[S, row]`, and for what stands `beside` it, of a loss of the rows.

    rows: before the first inner step and after each; gradients: of each step; update: as of `maml.descend`; of_row(t):
    the loss's own gradient for the row after t steps.
    """
    steps = len(gradients)
    found, own = of_row(steps), [torch.zeros_like(value) for value in beside]
    for t in reversed(range(steps)):
        row, grad = rows[t].detach().requires_grad_(True), gradients[t].detach().requires_grad_(True)
        with torch.enable_grad():
            reached = update(row, grad, t)
        # steps may share what they make of what stands beside
        how = {"allow_unused": True, "retain_graph": bool(beside)}
        parts = torch.autograd.grad(reached, (row, grad, *beside), found, **how)
        of_start, of_gradient, *of_beside = (
            torch.zeros_like(value) if part is None else part
            for part, value in zip(parts, (row, grad, *beside), strict=True)
        )
        own = [before + part for before, part in zip(own, of_beside, strict=True)]
        found = of_start + times_hessian(objective, rows[t].detach(), of_gradient, *batches.step(t), t)
        if t:
            found = found + of_row(t)
    return found, own
