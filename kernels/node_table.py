"""How kernels read the op instances of a node: a row of 32-bit integers each, and its weight.

The columns are those of op_codes.py, filled in by autometa/ops/mixed_op/plan.py; places of maps count within the
buffers of one call.
"""

from __future__ import annotations

import triton
import triton.language as tl

from autometa.kernels import op_codes

STATE, EDGE, KIND, STRIDE, HEIGHT, WIDTH, LAST, MIDDLE, ARGUMENT, GRAD, MIDDLE_GRAD = (
    tl.constexpr(k) for k in range(op_codes.WEIGHT)
)
WEIGHT, SIZE, GAMMA, BETA = (tl.constexpr(k) for k in (op_codes.WEIGHT, op_codes.SIZE, op_codes.GAMMA, op_codes.BETA))
KERNEL, DILATION, STAGES, COLUMNS = (tl.constexpr(k) for k in range(op_codes.KERNEL, op_codes.COLUMNS + 1))

NONE, IDENTITY, MAXIMUM, AVERAGE, SEPARABLE, PAIR, FULL, REDUCTION = (
    tl.constexpr(op_codes.KINDS[name])
    for name in ("none", "identity", "maximum", "average", "separable", "pair", "full", "reduction")
)


@triton.jit
def table_row(table, table_of_slot, s, i, instances, TABLES: tl.constexpr):
    """The row of instance i in slot s."""
    if TABLES:
        return table + (tl.load(table_of_slot + s) * instances + i) * COLUMNS
    else:
        return table + i * COLUMNS


@triton.jit
def weight_of(row, op_weight, input_weight, s, i, instances, edges):
    """Product of op and input weight, and whether the instance is evaluated."""
    op = tl.load(op_weight + s * instances + i)
    edge = tl.load(input_weight + s * edges + tl.load(row + EDGE))
    return op * edge, (tl.load(row + KIND) != NONE) & (op != 0) & (edge != 0)


@triton.jit
def drop_of(drop, s, image, i, batch, instances, live, DROP: tl.constexpr):
    """The factor of drop path for every pixel of a tile."""
    if DROP:
        return tl.load(drop + (s * batch + image) * instances + i, mask=live, other=0.0)
    else:
        return live.to(tl.float32)


@triton.jit
def pick(tensors, which, COUNT: tl.constexpr):
    """The pointer number `which` of a tuple."""
    found = tensors[0]
    for k in tl.static_range(1, COUNT):
        found = tl.where(which == k, tensors[k], found)
    return found


@triton.jit
def normaliser(moments, phi, row, s, i, stage, instances, channels, eps, c, AFFINE: tl.constexpr):
    """Mean, `1 / sqrt(var + eps)`, gamma and beta of one stage; 0 beyond the channels."""
    at = moments + (((s * instances + i) * 2 + stage) * 2) * channels + c
    real = c < channels
    mean = tl.load(at, mask=real, other=0.0)
    rstd = 1.0 / tl.sqrt_rn(tl.load(at + channels, mask=real, other=1.0) + eps)
    gamma = tl.where(real, 1.0, 0.0)
    beta = tl.zeros_like(gamma)
    if AFFINE:
        g = phi + tl.load(row + GAMMA + stage)
        gamma = tl.load(g + c, mask=real, other=0.0)
        beta = tl.load(g + tl.load(row + BETA) + c, mask=real, other=0.0)
    return mean, rstd, gamma, beta
