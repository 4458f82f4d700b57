"""The compiled backends of `drop_masks`."""

import torch

from autometa.ops._in_place import in_place


def kept_value(keep: float, dtype: torch.dtype) -> float:
    """1/keep as a number of this dtype."""
    return float(torch.ones((), dtype=dtype, device="cpu") / keep)


@in_place(
    "drop_masks",
    "(Tensor task_ids, Tensor exempt, float keep, int seed, int first_image, Tensor(a!) mask) -> ()",
    mutates=("mask",),
)
def drop_masks_native(module, task_ids, exempt, keep, seed, first_image, mask):
    sizes = (task_ids.numel(), mask.shape[1], exempt.numel(), first_image)
    limits = (keep * 2.0**32, kept_value(keep, mask.dtype))
    return (task_ids, exempt, mask), mask.dtype is torch.float64, sizes, limits, seed
