"""The compiled backend of `read_ink`."""

from __future__ import annotations

import torch
from torch import Tensor

from autometa.ops._native import refuses_unless, register, run, threads
from autometa.ops.backend import implements


@implements("read_ink", "cpp", refuses_unless(torch.uint8))
@register("read_ink", "(Tensor images) -> Tensor", torch.empty_like)
def read_ink_cpp(images: Tensor) -> Tensor:
    out = torch.empty_like(images)
    run("read_ink", (images.data_ptr(), out.data_ptr()), tuple(images.shape), threads())
    return out
