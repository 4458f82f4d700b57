"""The compiled backends of `reptile`."""

import torch

from autometa.ops._in_place import in_place


@in_place(
    "reptile",
    "(Tensor(a!) theta, Tensor phi, Tensor step_size, Tensor finite, Tensor bounds, Tensor group_of_slot, "
    "Tensor layout_of_slot) -> ()",
    mutates=("theta",),
)
def reptile_native(module, theta, phi, step_size, finite, rows):
    arena = rows.bound(module, phi.shape[1], theta.shape[0])
    return (theta, phi, step_size, finite), phi.dtype is torch.float64, arena
