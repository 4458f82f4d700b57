"""The compiled backends of `sgd`."""

import torch

from autometa.ops._in_place import in_place


@in_place(
    "sgd",
    "(Tensor(a!) phi, Tensor grad, Tensor(b!)? velocity, Tensor lr, Tensor weight_decay, Tensor bounds, "
    "Tensor group_of_slot, Tensor layout_of_slot, float momentum) -> ()",
    mutates=("phi", "velocity"),
)
def sgd_native(module, phi, grad, velocity, lr, weight_decay, rows, momentum):
    arena = rows.bound(module, phi.shape[1], lr.shape[0])
    return (phi, grad, velocity, lr, weight_decay), phi.dtype is torch.float64, arena, momentum
