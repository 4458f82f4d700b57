"""Clip the gradient of every slot by its norm, in place."""

import torch

from autometa.ops._checks import check_layouts, check_matrix, check_ranges, check_table
from autometa.ops._cuda import cuda_kernel, launching
from autometa.ops._native import compiled_or_raise, layout_arguments, pointer, register, threads
from autometa.ops.backend import cpp_refuses, dispatch, implements


def clip_grad_(
    grad: torch.Tensor,
    max_norm: torch.Tensor,
    bounds: torch.Tensor,
    group_of_slot: torch.Tensor,
    layout_of_slot: torch.Tensor,
    *,
    backend: str | None = None,
) -> torch.Tensor:
    """Scale the gradient of each slot and kind so that its Euclidean norm is at most max_norm.

    Clipping by norm of Pascanu et al. 2013, slot by slot, so that neighbours do not matter. Sums are in
    float64. A gradient that is not finite is left as it is, for `finite_slots` to find.

    Args:
        grad: gradients `[slots, row]`, float32 or float64, contiguous; changed where they are too long.
        max_norm: float64 `[groups, kinds]`, at least 0; infinity switches clipping off.
        bounds: int64 `[layouts, kinds + 1]`, columns at which the kinds of a row begin and end.
        group_of_slot, layout_of_slot: int64 `[slots]`.

    Returns:
        the norms before clipping, `[slots, kinds]`, dtype of grad.

    Raises:
        ValueError: a tensor of the wrong shape, dtype or device, one that is not contiguous, or an index
            out of range. The values of tables on a GPU are not looked at (ops/_cuda.py).
        BackendError: the forced backend cannot run.
    """
    check_matrix("grad", grad)
    kinds = check_layouts(grad.shape[0], grad.device, bounds, group_of_slot, layout_of_slot)
    groups = max_norm.shape[0] if max_norm.dim() else 0
    check_table("max_norm", max_norm, (groups, kinds), torch.float64, grad.device)
    norms = torch.empty(grad.shape[0], kinds, dtype=grad.dtype, device=grad.device)
    run = dispatch("clip_grad", grad.device, grad.dtype, backend)
    run(grad, norms, max_norm, bounds, group_of_slot, layout_of_slot)
    return norms


@implements("clip_grad", "reference")
@torch.no_grad()
def _reference(grad, norms, max_norm, bounds, group_of_slot, layout_of_slot) -> None:
    check_ranges(grad.shape[1], max_norm.shape[0], bounds, group_of_slot, layout_of_slot)
    for layout, edges in enumerate(bounds.tolist()):
        slots = (layout_of_slot == layout).nonzero().flatten()
        for kind in range(len(edges) - 1):
            columns = slice(edges[kind], edges[kind + 1])
            norm = grad[slots, columns].double().square().sum(dim=1).sqrt()
            norms[slots, kind] = norm.to(grad.dtype)
            limit = max_norm[group_of_slot[slots], kind]
            clipped = (norm > limit) & norm.isfinite()
            factor = (limit[clipped] / norm[clipped]).to(grad.dtype)
            grad[slots[clipped], columns] *= factor[:, None]


@implements("clip_grad", "cpp", refuses=cpp_refuses)
@register(
    "clip_grad",
    "(Tensor(a!) grad, Tensor(b!) norms, Tensor max_norm, Tensor bounds, Tensor group_of_slot, "
    "Tensor layout_of_slot) -> ()",
    mutates=("grad", "norms"),
)
def _cpp(grad, norms, max_norm, bounds, group_of_slot, layout_of_slot) -> None:
    compiled_or_raise().clip_grad(
        grad.dtype == torch.float64,
        *(pointer(tensor) for tensor in (grad, norms, max_norm)),
        *layout_arguments(grad, max_norm.shape[0], bounds, group_of_slot, layout_of_slot),
        threads(),
    )


@cuda_kernel("clip_grad", _cpp)
def _kernel(grad, norms, max_norm, bounds, group_of_slot, layout_of_slot) -> None:
    is_double, kinds = grad.dtype == torch.float64, max_norm.shape[1]
    with launching(grad) as (cuda, stream):
        scratch = cuda.clip_grad_scratch(is_double, *grad.shape, kinds)
        partial = torch.empty(scratch, dtype=torch.float64, device=grad.device)
        cuda.clip_grad(
            is_double,
            *(pointer(tensor) for tensor in (grad, norms, max_norm, partial)),
            *layout_arguments(grad, max_norm.shape[0], bounds, group_of_slot, layout_of_slot),
            stream,
        )
