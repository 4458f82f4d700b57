"""One step of gradient descent on all slots of an arena, in place."""

import torch

from autometa.ops._checks import check_like, check_matrix, check_table, require
from autometa.ops.backend import dispatch, implements
from autometa.ops.rows import Rows
from autometa.ops.sgd import native as native


def sgd_(
    phi: torch.Tensor,
    grad: torch.Tensor,
    lr: torch.Tensor,
    weight_decay: torch.Tensor,
    rows: Rows,
    *,
    momentum: float = 0.0,
    velocity: torch.Tensor | None = None,
    backend: str | None = None,
) -> None:
    """Gradient descent with L2 weight decay and heavy-ball momentum (Polyak 1964), per slot and kind.

    With learning rate 0 a kind is frozen: its parameters and velocity stay as they are. Elsewhere, with
    g = grad + weight_decay * phi: ``velocity = momentum velocity + g`` and ``phi -= lr * velocity``;
    without `velocity`, ``phi -= lr * g``.

    Args:
        phi: parameters `[slots, row]`, float32 or float64, contiguous; changed.
        grad: gradients, like phi; read only.
        lr, weight_decay: float64 `[groups, kinds]`.
        rows: kinds, group and layout of the slots' columns.
        momentum: at least 0; needs `velocity` where it is not 0.
        velocity: like phi; changed.

    Columns outside the rows' `bounds` are padding and are not touched.

    Raises:
        ValueError: a tensor of the wrong shape, dtype or device, one that is not contiguous, an index
            out of range, or momentum without velocity. The values of tables on a GPU are not looked at (ops/_cuda.py).
        BackendError: the forced backend cannot run.
    """
    check_matrix("phi", phi)
    rows.check_slots("phi", phi)
    check_like("grad", grad, "phi", phi)
    check_table("lr", lr, (lr.shape[0] if lr.dim() else 0, rows.kinds), torch.float64, phi.device)
    check_table("weight_decay", weight_decay, tuple(lr.shape), torch.float64, phi.device)
    require(momentum >= 0.0, f"momentum must be at least 0, it is {momentum}")
    if velocity is not None:
        check_like("velocity", velocity, "phi", phi)
    elif momentum != 0.0:
        raise ValueError(f"momentum is {momentum}; a momentum other than 0 needs velocity=")
    run = dispatch("sgd", phi.device, phi.dtype, backend)
    run(phi, grad, velocity, lr, weight_decay, rows, float(momentum))


@implements("sgd", "reference")
@torch.no_grad()
def _reference(phi, grad, velocity, lr, weight_decay, rows, momentum) -> None:
    rows.check_values(phi.shape[1], lr.shape[0])
    lr_of_slot, decay_of_slot = lr[rows.group_of_slot], weight_decay[rows.group_of_slot]
    for kind, slots, columns in rows.segments(lr_of_slot != 0):
        rate, decay = (table[slots, kind, None].to(phi.dtype) for table in (lr_of_slot, decay_of_slot))
        p = phi[slots, columns]
        step = grad[slots, columns] + decay * p
        if velocity is not None:
            step = velocity[slots, columns] * momentum + step
            velocity[slots, columns] = step
        phi[slots, columns] = p - rate * step
