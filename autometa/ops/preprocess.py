"""Cell preprocessing: bring an earlier cell's output to C channels and to the right resolution.

`ReLU -> 1x1 convolution -> BN`, or the factorised reduction where the input has twice the resolution
(DARTS, section 3.1.1).  The input is a list of states, read as if concatenated over channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from autometa.ops._native import refuses_unless
from autometa.ops._preprocess_cpp import preprocess_cpp
from autometa.ops._preprocess_triton import preprocess_triton
from autometa.ops._triton import triton_refuses
from autometa.ops.backend import dispatch, implements
from autometa.ops.batch_norm import batch_norm, batch_statistics
from autometa.ops.folding import cat_channels, fold, unfold
from autometa.ops.primitives import Shape, aligned, conv, factorised_reduction, read_parameters


def preprocess_parameters(c_in: int, channels: int, reduce: bool, affine: bool) -> tuple[Shape, ...]:
    """Parameters in order: pointwise `[C, C_in, 1, 1]`, or its two halves where it reduces; gamma and beta."""
    if reduce:
        half = channels // 2
        found = [Shape("pointwise_a", (half, c_in, 1, 1)), Shape("pointwise_b", (channels - half, c_in, 1, 1))]
    else:
        found = [Shape("pointwise", (channels, c_in, 1, 1))]
    if affine:
        found += [Shape("bn_gamma", (channels,)), Shape("bn_beta", (channels,))]
    return tuple(found)


def preprocess(
    states: Sequence[Tensor],
    params: Tensor,
    channels: int,
    *,
    reduce: bool = False,
    affine: bool = False,
    given: Tensor | None = None,
    want_statistics: bool = False,
    eps: float = 1e-5,
    backend: str | None = None,
) -> tuple[Tensor, Tensor | None]:
    """states, each `[S, N, C_j, H, W]`; params `[S, P]` as `preprocess_parameters` lists them, each at a multiple
    of 16; given `[S, 2, C]`.  Returns y `[S, N, C, H', W']` and its statistics `[S, 2, C]` or None.

    Raises `ValueError` where sizes or dtypes do not fit together.
    """
    _check(states, params, channels, reduce, affine, given)
    call = dispatch("preprocess", params.device, params.dtype, backend)
    return call(states, params, channels, reduce, affine, given, want_statistics, eps)


def _check(states, params, channels, reduce, affine, given) -> None:
    if any(x.dim() != 5 or x.shape[:2] != states[0].shape[:2] or x.shape[3:] != states[0].shape[3:] for x in states):
        raise ValueError("states must agree in slots, batch, height and width")
    if any(x.dtype != params.dtype for x in states):
        raise ValueError(f"states must all be {params.dtype}, as params is")
    slots = states[0].shape[0]
    shapes = preprocess_parameters(sum(x.shape[2] for x in states), channels, reduce, affine)
    needed = sum(aligned(p.size) for p in shapes)
    if params.dim() != 2 or params.shape[0] != slots or params.shape[1] < needed:
        raise ValueError(f"params must be [{slots}, {needed}] or wider, not {list(params.shape)}")
    if given is not None and given.shape != (slots, 2, channels):
        raise ValueError(f"given must be [{slots}, 2, {channels}], not {list(given.shape)}")


@implements("preprocess", "reference")
def _reference(states, params, channels, reduce, affine, given, want_statistics, eps):
    slots = params.shape[0]
    joined = cat_channels(list(states))
    values = read_parameters(params, preprocess_parameters(joined.shape[2], channels, reduce, affine))
    x = torch.relu(fold(joined))
    z = factorised_reduction(x, values[0], values[1], slots) if reduce else conv(x, values[0], slots)
    gamma, beta = values[-2:] if affine else (None, None)
    statistics = batch_statistics(z, slots) if want_statistics else None
    return unfold(batch_norm(z, slots, eps, None, gamma, beta, given), slots), statistics


implements("preprocess", "cpp", refuses=refuses_unless(torch.float32))(preprocess_cpp)
implements("preprocess", "triton", refuses=triton_refuses)(preprocess_triton)
