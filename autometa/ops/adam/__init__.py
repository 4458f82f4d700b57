"""One Adam step on all slots of an arena, in place."""

from __future__ import annotations

import torch

from autometa.ops._checks import check_layouts, check_like, check_matrix, check_ranges, check_table, segments
from autometa.ops._cuda import cuda_kernel, launching
from autometa.ops._native import compiled_or_raise, layout_arguments, pointer, register, threads
from autometa.ops.backend import cpp_refuses, dispatch, implements


def adam_(
    phi: torch.Tensor,
    grad: torch.Tensor,
    second: torch.Tensor,
    steps: torch.Tensor,
    lr: torch.Tensor,
    weight_decay: torch.Tensor,
    bounds: torch.Tensor,
    group_of_slot: torch.Tensor,
    layout_of_slot: torch.Tensor,
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
        bounds: int64 `[layouts, kinds + 1]`, columns at which the kinds of a row begin and end.
        group_of_slot, layout_of_slot: int64 `[slots]`.
        first: first moments, like phi; changed. Without it beta1 must be 0.

    Columns outside `bounds` are padding and are not touched.

    Raises:
        ValueError: a tensor of the wrong shape, dtype or device, one that is not contiguous, an index
            out of range, or beta1 > 0 without `first`. The values of tables on a GPU are not looked at (ops/_cuda.py).
        BackendError: the forced backend cannot run.
    """
    check_matrix("phi", phi)
    slots, row = phi.shape
    kinds = check_layouts(slots, phi.device, bounds, group_of_slot, layout_of_slot)
    check_like("grad", grad, "phi", phi)
    check_like("second", second, "phi", phi)
    check_table("steps", steps, (slots, kinds), torch.int64, phi.device)
    check_table("lr", lr, (lr.shape[0] if lr.dim() else 0, kinds), torch.float64, phi.device)
    check_table("weight_decay", weight_decay, tuple(lr.shape), torch.float64, phi.device)
    if first is not None:
        check_like("first", first, "phi", phi)
    elif beta1 != 0.0:
        raise ValueError(f"beta1 is {beta1}; a beta1 other than 0 needs the first moments, pass first=")
    if not (0.0 <= beta1 < 1.0 and 0.0 <= beta2 < 1.0 and eps >= 0.0):
        raise ValueError(f"need 0 <= beta1, beta2 < 1 and eps >= 0; got {beta1}, {beta2}, {eps}")
    run = dispatch("adam", phi.device, phi.dtype, backend)
    tables = (lr, weight_decay, bounds, group_of_slot, layout_of_slot)
    run(phi, grad, second, first, steps, *tables, float(beta1), float(beta2), float(eps))


@implements("adam", "reference")
@torch.no_grad()
def _reference(
    phi,
    grad,
    second,
    first,
    steps,
    lr,
    weight_decay,
    bounds,
    group_of_slot,
    layout_of_slot,
    beta1,
    beta2,
    eps,
) -> None:
    check_ranges(phi.shape[1], lr.shape[0], bounds, group_of_slot, layout_of_slot)
    lr_of_slot, decay_of_slot = lr[group_of_slot], weight_decay[group_of_slot]
    active = lr_of_slot != 0
    steps += active
    correction1 = 1 - beta1 ** steps.double()
    correction2 = 1 - beta2 ** steps.double()
    for kind, slots, columns in segments(bounds, layout_of_slot, active):
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


@implements("adam", "cpp", refuses=cpp_refuses)
@register(
    "adam",
    "(Tensor(a!) phi, Tensor grad, Tensor(b!) second, Tensor(c!)? first, Tensor(d!) steps, Tensor lr, "
    "Tensor weight_decay, Tensor bounds, Tensor group_of_slot, Tensor layout_of_slot, float beta1, "
    "float beta2, float eps) -> ()",
    mutates=("phi", "second", "first", "steps"),
)
def _cpp(
    phi,
    grad,
    second,
    first,
    steps,
    lr,
    weight_decay,
    bounds,
    group_of_slot,
    layout_of_slot,
    beta1,
    beta2,
    eps,
) -> None:
    compiled_or_raise().adam(
        phi.dtype == torch.float64,
        *(pointer(tensor) for tensor in (phi, grad, second, first, steps, lr, weight_decay)),
        *layout_arguments(phi, lr.shape[0], bounds, group_of_slot, layout_of_slot),
        beta1,
        beta2,
        eps,
        threads(),
    )


@cuda_kernel("adam", _cpp)
def _kernel(
    phi,
    grad,
    second,
    first,
    steps,
    lr,
    weight_decay,
    bounds,
    group_of_slot,
    layout_of_slot,
    beta1,
    beta2,
    eps,
) -> None:
    with launching(phi) as (cuda, stream):
        cuda.adam(
            phi.dtype == torch.float64,
            *(pointer(tensor) for tensor in (phi, grad, second, first, steps, lr, weight_decay)),
            *layout_arguments(phi, lr.shape[0], bounds, group_of_slot, layout_of_slot),
            beta1,
            beta2,
            eps,
            stream,
        )
