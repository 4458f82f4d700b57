"""The compiled backends of `gather_images`."""

import torch

from autometa.ops._cuda import cuda_refuses_unless
from autometa.ops._in_place import in_place
from autometa.ops._native import refuses_unless


@in_place(
    "gather_images",
    "(Tensor images, Tensor index, Tensor rotation, Tensor scale, Tensor shift, Tensor(a!) out) -> ()",
    ("out",),
    refuses_unless(torch.uint8),
    cuda_refuses_unless(torch.uint8),
)
def gather_images_native(module, images, index, rotation, scale, shift, out):
    return (images, index, rotation, scale, shift, out), (*images.shape, index.numel())
