"""One step of gradient descent on all slots of an arena, in place."""

import torch

from autometa.ops._checks import (
    check_layouts,
    check_like,
    check_matrix,
    check_ranges,
    check_table,
    require,
    segments,
)
from autometa.ops._cuda import cuda_kernel, launching
from autometa.ops._native import compiled_or_raise, layout_arguments, pointer, register, threads
from autometa.ops.backend import cpp_refuses, dispatch, implements


def sgd_(
    phi: torch.Tensor,
    grad: torch.Tensor,
    lr: torch.Tensor,
    weight_decay: torch.Tensor,
    bounds: torch.Tensor,
    group_of_slot: torch.Tensor,
    layout_of_slot: torch.Tensor,
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
        bounds: int64 `[layouts, kinds + 1]`, columns at which the kinds of a row begin and end.
        group_of_slot, layout_of_slot: int64 `[slots]`.
        momentum: at least 0; needs `velocity` where it is not 0.
        velocity: like phi; changed.

    Columns outside `bounds` are padding and are not touched.

    Raises:
        ValueError: a tensor of the wrong shape, dtype or device, one that is not contiguous, an index
            out of range, or momentum without velocity. The values of tables on a GPU are not looked at (ops/_cuda.py).
        BackendError: the forced backend cannot run.
    """
    check_matrix("phi", phi)
    kinds = check_layouts(phi.shape[0], phi.device, bounds, group_of_slot, layout_of_slot)
    check_like("grad", grad, "phi", phi)
    check_table("lr", lr, (lr.shape[0] if lr.dim() else 0, kinds), torch.float64, phi.device)
    check_table("weight_decay", weight_decay, tuple(lr.shape), torch.float64, phi.device)
    require(momentum >= 0.0, f"momentum must be at least 0, it is {momentum}")
    if velocity is not None:
        check_like("velocity", velocity, "phi", phi)
    elif momentum != 0.0:
        raise ValueError(f"momentum is {momentum}; a momentum other than 0 needs velocity=")
    run = dispatch("sgd", phi.device, phi.dtype, backend)
    run(phi, grad, velocity, lr, weight_decay, bounds, group_of_slot, layout_of_slot, float(momentum))


@implements("sgd", "reference")
@torch.no_grad()
def _reference(phi, grad, velocity, lr, weight_decay, bounds, group_of_slot, layout_of_slot, momentum) -> None:
    check_ranges(phi.shape[1], lr.shape[0], bounds, group_of_slot, layout_of_slot)
    lr_of_slot, decay_of_slot = lr[group_of_slot], weight_decay[group_of_slot]
    for kind, slots, columns in segments(bounds, layout_of_slot, lr_of_slot != 0):
        rate, decay = (table[slots, kind, None].to(phi.dtype) for table in (lr_of_slot, decay_of_slot))
        p = phi[slots, columns]
        step = grad[slots, columns] + decay * p
        if velocity is not None:
            step = velocity[slots, columns] * momentum + step
            velocity[slots, columns] = step
        phi[slots, columns] = p - rate * step


@implements("sgd", "cpp", refuses=cpp_refuses)
@register(
    "sgd",
    "(Tensor(a!) phi, Tensor grad, Tensor(b!)? velocity, Tensor lr, Tensor weight_decay, Tensor bounds, "
    "Tensor group_of_slot, Tensor layout_of_slot, float momentum) -> ()",
    mutates=("phi", "velocity"),
)
def _cpp(phi, grad, velocity, lr, weight_decay, bounds, group_of_slot, layout_of_slot, momentum) -> None:
    compiled_or_raise().sgd(
        phi.dtype == torch.float64,
        *(pointer(tensor) for tensor in (phi, grad, velocity, lr, weight_decay)),
        *layout_arguments(phi, lr.shape[0], bounds, group_of_slot, layout_of_slot),
        momentum,
        threads(),
    )


@cuda_kernel("sgd", _cpp)
def _kernel(phi, grad, velocity, lr, weight_decay, bounds, group_of_slot, layout_of_slot, momentum) -> None:
    with launching(phi) as (cuda, stream):
        cuda.sgd(
            phi.dtype == torch.float64,
            *(pointer(tensor) for tensor in (phi, grad, velocity, lr, weight_decay)),
            *layout_arguments(phi, lr.shape[0], bounds, group_of_slot, layout_of_slot),
            momentum,
            stream,
        )
