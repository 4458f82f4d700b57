"""Conv blocks one on another and the linear head on the last, as one op: the four-layer networks of MAML (Finn et al.
2017) and Reptile (Nichol et al. 2018).

Their layers are so small that a call of its own for each costs as much as half of what the layers compute.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from autometa.ops._checks import check_count
from autometa.ops._native import refuses_unless
from autometa.ops.backend import dispatch, implements, requested
from autometa.ops.conv_block import ConvBlock, check_images, conv_block
from autometa.ops.conv_stack.cpp import conv_stack_cpp
from autometa.ops.linear_head import linear_head
from autometa.ops.primitives import aligned


def conv_stack(
    x: Tensor,
    params: Tensor,
    blocks: Sequence[ConvBlock],
    classes: int,
    *,
    flatten: bool = True,
    backend: str | None = None,
) -> Tensor:
    """x `[S, N, C, H, W]`; params `[S, P]`, those of each block, then the head's (see `conv_block` and
    `linear_head`), each at a multiple of 16.  Every normalisation uses the statistics of its batch.

    Returns logits `[S, N, classes]`.  Raises `ValueError` where sizes, dtypes or devices do not fit together.
    """
    if not blocks:
        raise ValueError("conv_stack needs a block at least")
    check_images(x, params, blocks[0])
    check_count("classes", classes)
    for before, block in pairwise(blocks):
        if before.c_out != block.c_in:
            raise ValueError(f"a block of {block.c_in} channels follows one that puts out {before.c_out}")
    if params.device.type != "cpu" or requested(backend) in ("triton", "cuda"):  # block by block, each on its own there
        return _blockwise(x, params, blocks, classes, flatten, backend)
    return dispatch("conv_stack", params.device, params.dtype, backend)(x, params, blocks, classes, flatten)


def _blockwise(x, params, blocks, classes, flatten, backend):
    column = 0
    for block in blocks:
        width = sum(aligned(p.size) for p in block.parameters())
        x, _ = conv_block(x, params[:, column : column + width], block, backend=backend)
        column += width
    return linear_head([x], params[:, column:], classes, flatten=flatten, backend=backend)


@implements("conv_stack", "reference")
def _reference(x, params, blocks, classes, flatten):
    return _blockwise(x, params, blocks, classes, flatten, "reference")


implements("conv_stack", "cpp", refuses=refuses_unless(torch.float32), paired=True)(conv_stack_cpp)
