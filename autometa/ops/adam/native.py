"""The compiled backends of `adam`."""

import torch

from autometa.ops._in_place import in_place


@in_place(
    "adam",
    "(Tensor(a!) phi, Tensor grad, Tensor(b!) second, Tensor(c!)? first, Tensor(d!) steps, Tensor lr, "
    "Tensor weight_decay, Tensor bounds, Tensor group_of_slot, Tensor layout_of_slot, float beta1, "
    "float beta2, float eps) -> ()",
    mutates=("phi", "second", "first", "steps"),
)
def adam_native(module, phi, grad, second, first, steps, lr, weight_decay, rows, beta1, beta2, eps):
    arena = rows.bound(module, phi.shape[1], lr.shape[0])
    tensors = (phi, grad, second, first, steps, lr, weight_decay)
    return tensors, phi.dtype is torch.float64, arena, (beta1, beta2, eps)
