"""A full convolution with its surroundings: `conv (+ bias) -> [affine BN] -> [max pool 2x2] -> [ReLU]`.

The stem of a cell network (DARTS) and the layers of the four-layer networks of MAML (Finn et al. 2017) and Reptile
(Nichol et al. 2018) are this op.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from autometa.ops import gates
from autometa.ops._checks import check_count, check_eps, check_option, check_states
from autometa.ops._native import refuses_unless
from autometa.ops._triton import triton_refuses
from autometa.ops.backend import dispatch, implements
from autometa.ops.batch_norm import batch_norm, batch_statistics
from autometa.ops.conv_block.cpp import conv_block_cpp
from autometa.ops.conv_block.triton import conv_block_triton
from autometa.ops.folding import fold, no_slots, unfold
from autometa.ops.primitives import Shape, aligned, conv, read_parameters


@dataclass(frozen=True)
class ConvBlock:
    """What a conv block computes.  padding `same` is TensorFlow's (the odd pixel at the bottom and right),
    `half` is kernel // 2 on every side; `pool_ceil` keeps the last odd row and column when pooling (its SAME too)."""

    c_in: int
    c_out: int
    kernel: int = 3
    stride: int = 1
    padding: str = "half"
    bias: bool = False
    norm: bool = True
    relu: bool = False
    pool: bool = False
    pool_ceil: bool = False
    eps: float = 1e-5

    def __post_init__(self) -> None:
        for name in ("c_in", "c_out", "kernel", "stride"):
            check_count(name, getattr(self, name))
        check_eps(self.eps)
        if self.padding not in ("half", "same"):
            raise ValueError(f"padding must be 'half' or 'same', not {self.padding!r}")

    def parameters(self) -> tuple[Shape, ...]:
        """conv_weight `[C_out, C_in, k, k]`, conv_bias, bn_gamma, bn_beta `[C_out]`, as present."""
        found = [Shape("conv_weight", (self.c_out, self.c_in, self.kernel, self.kernel))]
        if self.bias:
            found.append(Shape("conv_bias", (self.c_out,)))
        if self.norm:
            found += [Shape("bn_gamma", (self.c_out,)), Shape("bn_beta", (self.c_out,))]
        return tuple(found)

    @property
    def columns(self) -> int:
        """Columns of a slot's row that the parameters fill."""
        return aligned(self.c_out * self.c_in * self.kernel**2) + aligned(self.c_out) * (self.bias + 2 * self.norm)

    def pads(self, size: int) -> tuple[int, int]:
        """Padding before and after an axis of this length."""
        if self.padding == "half":
            return self.kernel // 2, self.kernel // 2
        total = max((-(-size // self.stride) - 1) * self.stride + self.kernel - size, 0)
        return total // 2, total - total // 2

    def output(self, size: int) -> int:
        """Length of an axis after convolution and pooling."""
        size = (size + sum(self.pads(size)) - self.kernel) // self.stride + 1
        if not self.pool:
            return size
        return -(-size // 2) if self.pool_ceil else size // 2


def conv_block(
    x: Tensor,
    params: Tensor,
    block: ConvBlock,
    *,
    given: Tensor | None = None,
    want_statistics: bool = False,
    backend: str | None = None,
) -> tuple[Tensor, Tensor | None]:
    """x `[S, N, C_in, H, W]`; params `[S, P]` as `block.parameters()` lists them, each at a multiple of 16; given
    `[S, 2, C_out]`.  Returns y `[S, N, C_out, H', W']` and the statistics `[S, 2, C_out]` or None."""
    slots, _ = check_images(x, params, block)
    if params.shape[1] < block.columns:
        raise ValueError(f"params must be [{slots}, {block.columns}] or wider, not {list(params.shape)}")
    if min(block.output(x.shape[3]), block.output(x.shape[4])) < 1:
        raise ValueError(f"images of {x.shape[3]}x{x.shape[4]} are too small for this block")
    check_option("given", given, (slots, 2, block.c_out), params.device)
    call = dispatch("conv_block", params.device, params.dtype, backend)
    return call(x, params, block, given, want_statistics)


def check_images(x: Tensor, params: Tensor, block: ConvBlock) -> tuple[int, int]:
    """Slots and batch of images for a block and its parameters. Raises `ValueError` where they do not fit."""
    if x.dim() == 5 and x.shape[2] != block.c_in:
        raise ValueError(f"the images have {x.shape[2]} channels, this network was made for {block.c_in}")
    return check_states((x,), params, "conv_block")


@implements("conv_block", "reference")
def _reference(x, params, block, given, want_statistics):
    slots, height, width = x.shape[0], x.shape[3], x.shape[4]
    if slots == 0:
        shape = (0, x.shape[1], block.c_out, block.output(height), block.output(width))
        return no_slots(shape, x, params), params.new_zeros(
            0, 2, block.c_out
        ) if want_statistics and block.norm else None
    values = dict(zip((p.role for p in block.parameters()), read_parameters(params, block.parameters()), strict=True))
    top, bottom = block.pads(height)
    left, right = block.pads(width)
    y = fold(x)
    padding: tuple[int, int] = (top, left)
    if (top, left) != (bottom, right):
        y, padding = F.pad(y, (left, right, top, bottom)), (0, 0)
    y = conv(y, values["conv_weight"], slots, block.stride, padding)
    if block.bias:
        y = y + values["conv_bias"].reshape(1, -1, 1, 1)
    statistics = None
    if block.norm:
        statistics = batch_statistics(y, slots) if want_statistics else None
        y = batch_norm(y, slots, block.eps, None, values["bn_gamma"], values["bn_beta"], given)
    if block.pool:
        y = gates.max_pool(y, slots, 2, 2, ceil_mode=block.pool_ceil)
    if block.relu:
        y = gates.relu(y, slots)
    return unfold(y, slots), statistics


implements("conv_block", "cpp", refuses=refuses_unless(torch.float32), paired=True)(conv_block_cpp)
implements("conv_block", "triton", refuses=triton_refuses)(conv_block_triton)
