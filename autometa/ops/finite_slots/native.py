"""The compiled backends of `finite_slots`."""

import torch

from autometa.ops._in_place import in_place


@in_place("finite_slots", "(Tensor phi, Tensor(a!) finite) -> ()", mutates=("finite",))
def finite_slots_native(module, phi, finite):
    return (phi, finite), phi.dtype is torch.float64, tuple(phi.shape)
