"""The compiled backends of `batch_indices`."""

import torch

from autometa.ops._cuda import cuda_refuses_unless
from autometa.ops._in_place import in_place
from autometa.ops._native import refuses_unless


@in_place(
    "batch_indices",
    "(Tensor task_ids, int n_items, int batch, int steps, int seed, bool passes, int first_step, "
    "Tensor(a!) index) -> ()",
    ("index",),
    refuses_unless(torch.int64),
    cuda_refuses_unless(torch.int64),
)
def batch_indices_native(module, task_ids, n_items, batch, steps, seed, passes, first_step, index):
    return (task_ids, index), (task_ids.numel(), n_items, batch, steps, first_step), passes, seed
