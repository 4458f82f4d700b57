"""The compiled backends of `sample_tasks`."""

import torch

from autometa.ops._cuda import cuda_refuses_unless
from autometa.ops._in_place import in_place
from autometa.ops._native import refuses_unless


@in_place(
    "sample_tasks",
    "(Tensor class_start, Tensor classes, Tensor group_start, Tensor task_ids, int rotations, int ways, int shots, "
    "int queries, int seed, Tensor(a!) image, Tensor(b!) rotation, Tensor(c!) chosen) -> ()",
    ("image", "rotation", "chosen"),
    refuses_unless(torch.int64),
    cuda_refuses_unless(torch.int64),
)
def sample_tasks_native(
    module, class_start, classes, group_start, task_ids, rotations, ways, shots, queries, seed, image, rotation, chosen
):
    tensors = (class_start, classes, group_start, task_ids, image, rotation, chosen)
    counts = (class_start.numel() - 1, classes.numel(), group_start.numel() - 1, task_ids.numel())
    return tensors, (*counts, rotations, ways, shots, queries), seed
