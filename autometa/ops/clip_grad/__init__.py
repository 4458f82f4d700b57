"""Clip the gradient of every slot by its norm, in place."""

import torch

from autometa.ops._checks import check_matrix, check_table
from autometa.ops.backend import dispatch, implements
from autometa.ops.clip_grad import native as native
from autometa.ops.rows import Rows


def clip_grad_(
    grad: torch.Tensor,
    max_norm: torch.Tensor,
    rows: Rows,
    *,
    backend: str | None = None,
) -> torch.Tensor:
    """Scale the gradient of each slot and kind so that its Euclidean norm is at most max_norm.

    Clipping by norm of Pascanu et al. 2013, slot by slot, so that neighbours do not matter. Sums are in
    float64. A gradient that is not finite is left as it is, for `finite_slots` to find.

    Args:
        grad: gradients `[slots, row]`, float32 or float64, contiguous; changed where they are too long.
        max_norm: float64 `[groups, kinds]`, at least 0; infinity switches clipping off.
        rows: kinds, group and layout of the slots' columns.

    Returns:
        the norms before clipping, `[slots, kinds]`, dtype of grad.

    Raises:
        ValueError: a tensor of the wrong shape, dtype or device, one that is not contiguous, or an index
            out of range. The values of tables on a GPU are not looked at (ops/_cuda.py).
        BackendError: the forced backend cannot run.
    """
    check_matrix("grad", grad)
    rows.check_slots("grad", grad)
    groups = max_norm.shape[0] if max_norm.dim() else 0
    check_table("max_norm", max_norm, (groups, rows.kinds), torch.float64, grad.device)
    norms = torch.empty(grad.shape[0], rows.kinds, dtype=grad.dtype, device=grad.device)
    run = dispatch("clip_grad", grad.device, grad.dtype, backend)
    run(grad, norms, max_norm, rows)
    return norms


@implements("clip_grad", "reference")
@torch.no_grad()
def _reference(grad, norms, max_norm, rows) -> None:
    rows.check_values(grad.shape[1], max_norm.shape[0])
    for layout, edges in enumerate(rows.bounds.tolist()):
        slots = (rows.layout_of_slot == layout).nonzero().flatten()
        for kind in range(rows.kinds):
            columns = slice(edges[kind], edges[kind + 1])
            norm = grad[slots, columns].double().square().sum(dim=1).sqrt()
            norms[slots, kind] = norm.to(grad.dtype)
            limit = max_norm[rows.group_of_slot[slots], kind]
            clipped = (norm > limit) & norm.isfinite()
            factor = (limit[clipped] / norm[clipped]).to(grad.dtype)
            grad[slots[clipped], columns] *= factor[:, None]
