"""The compiled backends of `augment_images`."""

import torch

from autometa.ops._cuda import cuda_refuses_unless
from autometa.ops._in_place import in_place
from autometa.ops._native import refuses_unless


@in_place(
    "augment_images",
    "(Tensor images, Tensor task_ids, Tensor place, float[] most, int seed, Tensor(a!) out) -> ()",
    ("out",),
    refuses_unless(torch.float32),
    cuda_refuses_unless(torch.float32),
)
def augment_images_native(module, images, task_ids, place, most, seed, out):
    return (images, task_ids, place, out), tuple(images.shape), list(most), seed
