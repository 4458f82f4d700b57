"""The compiled backends of `clip_grad`; CUDA's keeps partial sums in memory of its own."""

import torch

from autometa.ops._in_place import in_place


@in_place(
    "clip_grad",
    "(Tensor(a!) grad, Tensor(b!) norms, Tensor max_norm, Tensor bounds, Tensor group_of_slot, "
    "Tensor layout_of_slot) -> ()",
    mutates=("grad", "norms"),
)
def clip_grad_native(module, grad, norms, max_norm, rows):
    arena, is_double = rows.bound(module, grad.shape[1], max_norm.shape[0]), grad.dtype is torch.float64
    count = module.clip_grad_scratch(arena, is_double)
    partial = torch.empty(count, dtype=torch.float64, device=grad.device) if count else None
    return (grad, norms, max_norm, partial), is_double, arena
