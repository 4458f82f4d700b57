"""One Adam step on all slots of an arena, in place."""

from __future__ import annotations

import torch

from autometa.ops._checks import check_like, check_matrix, check_table
from autometa.ops.adam import native as native
from autometa.ops.backend import dispatch, implements
from autometa.ops.rows import Rows


def adam_(
    phi: torch.Tensor,
    grad: torch.Tensor,
    second: torch.Tensor,
    steps: torch.Tensor,
    lr: torch.Tensor,
    weight_decay: torch.Tensor,
    rows: Rows,
    *,
    first: torch.Tensor | None = None,
    beta1: float = 0.0,
    beta2: float = 0.999,
    eps: float = 1e-8,
    backend: str | None = None,
) -> None:
    """Adam (Kingma and Ba 2015, algorithm 1) with L2 weight decay in the gradient, per slot and kind.

    With learning rate 0 a kind is frozen: its parameters, moments and step count stay as they are.
    Elsewhere, with t the step count after adding one, g = grad + weight_decay * phi:
    ``second = beta2 second + (1 - beta2) g^2``, ``first = beta1 first + (1 - beta1) g`` and
    ``phi -= lr * (first / (1 - beta1^t)) / (sqrt(second / (1 - beta2^t)) + eps)``.

    Args:
        phi: parameters `[slots, row]`, float32 or float64, contiguous; changed.
        grad: gradients, like phi; read only.
        second: second moments, like phi; changed.
        steps: step counts, int64 `[slots, kinds]`, below 2^32; changed.
        lr, weight_decay: float64 `[groups, kinds]`.
        rows: kinds, group and layout of the slots' columns.
        first: first moments, like phi; changed. Without it beta1 must be 0.

    Columns outside the rows' `bounds` are padding and are not touched.

    Raises:
        ValueError: a tensor of the wrong shape, dtype or device, one that is not contiguous, an index
            out of range, or beta1 > 0 without `first`. The values of tables on a GPU are not looked at (ops/_cuda.py).
        BackendError: the forced backend cannot run.
    """
    check_matrix("phi", phi)
    rows.check_slots("phi", phi)
    check_like("grad", grad, "phi", phi)
    check_like("second", second, "phi", phi)
    check_table("steps", steps, (rows.slots, rows.kinds), torch.int64, phi.device)
    check_table("lr", lr, (lr.shape[0] if lr.dim() else 0, rows.kinds), torch.float64, phi.device)
    check_table("weight_decay", weight_decay, tuple(lr.shape), torch.float64, phi.device)
    if first is not None:
        check_like("first", first, "phi", phi)
    elif beta1 != 0.0:
        raise ValueError(f"beta1 is {beta1}; a beta1 other than 0 needs the first moments, pass first=")
    if not (0.0 <= beta1 < 1.0 and 0.0 <= beta2 < 1.0 and eps >= 0.0):
        raise ValueError(f"need 0 <= beta1, beta2 < 1 and eps >= 0; got {beta1}, {beta2}, {eps}")
    run = dispatch("adam", phi.device, phi.dtype, backend)
    run(phi, grad, second, first, steps, lr, weight_decay, rows, float(beta1), float(beta2), float(eps))


@implements("adam", "reference")
@torch.no_grad()
def _reference(phi, grad, second, first, steps, lr, weight_decay, rows, beta1, beta2, eps) -> None:
    rows.check_values(phi.shape[1], lr.shape[0])
    lr_of_slot, decay_of_slot = lr[rows.group_of_slot], weight_decay[rows.group_of_slot]
    active = lr_of_slot != 0
    steps += active
    correction1 = 1 - beta1 ** steps.double()
    correction2 = 1 - beta2 ** steps.double()
    for kind, slots, columns in rows.segments(active):
        rate, decay, unbias1, unbias2 = (
            table[slots, kind, None].to(phi.dtype)
            for table in (lr_of_slot, decay_of_slot, 1 / correction1, 1 / correction2)
        )
        p, v = phi[slots, columns], second[slots, columns]
        g = grad[slots, columns]
        if bool((decay != 0).any()):
            g = g + decay * p
        v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
        m = g
        if first is not None:
            m = first[slots, columns]
            m.mul_(beta1).add_(g, alpha=1 - beta1)
        p.sub_(m * (rate * unbias1) / (v * unbias2).sqrt_().add_(eps))
        if isinstance(slots, torch.Tensor):
            phi[slots, columns], second[slots, columns] = p, v
            if first is not None:
                first[slots, columns] = m
