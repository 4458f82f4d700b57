"""The Triton backend of `conv_block`.

For its backward it keeps the convolution's output, before bias and normalisation: a map of `C_out` channels, bfloat16
in mode bf16.
"""

from __future__ import annotations

import torch
from torch import Tensor

from autometa.ops._native import arena_rows, contiguous, once_differentiable, recording, register, single
from autometa.ops._norm_triton import moments_of, pixels, scratch, stored_map, stored_type, summed
from autometa.ops._triton import as_map, empty_map, kernels, map_strides
from autometa.ops.backend import current_precision
from autometa.ops.conv_block.cpp import _shape, _sizes, _statistics_shape
from autometa.ops.primitives import aligned

# sizes and flags as for the compiled backend
_ARGUMENTS = "Tensor x, Tensor params, SymInt[] sizes, bool[] flags"


def _conv(x: Tensor, sizes):
    c_out, kernel, stride, top, left = sizes[:5]
    return kernels("conv_block").Conv(x.shape[2], c_out, kernel, stride, top, left)


def _norm(x: Tensor, sizes, flags, batch: bool):
    c_out, kernel = sizes[:2]
    bias, norm, relu, pool = flags
    after = aligned(c_out * x.shape[2] * kernel**2)
    gamma = after + aligned(c_out) * bias if norm else -1
    beta = gamma + aligned(c_out) if norm else -1
    own = kernels("normalise").Norm
    return own(c_out, after if bias else -1, gamma, beta, batch and norm, 2 if pool else 1, relu)


def _check(x: Tensor, params: Tensor, given: Tensor | None, sizes, flags) -> None:
    slots, c_out, kernel = x.shape[0], *sizes[:2]
    if x.dtype != params.dtype or params.dim() != 2 or params.shape[0] != slots:
        raise ValueError(f"x must be {params.dtype}, and params [{slots}, ...], not {list(params.shape)}")
    if given is not None and given.shape != (slots, 2, c_out):
        raise ValueError(f"given must be [{slots}, 2, {c_out}], not {list(given.shape)}")
    needed = aligned(c_out * x.shape[2] * kernel**2) + aligned(c_out) * (flags[0] + 2 * flags[1])
    if params.shape[1] < needed:
        raise ValueError(f"too few parameters: {params.shape[1]} columns, this block needs {needed}")
    if min(sizes[5:]) < 1:
        raise ValueError(f"images of {x.shape[3]}x{x.shape[4]} are too small for this block")


def _fake(x, params, given, sizes, flags, eps, statistics, keep, mode):
    shape = _shape(x, sizes)
    y = params.new_empty_strided(shape, map_strides(shape))
    inner = (*shape[:3], *sizes[5:7])
    z = params.new_empty_strided(inner, map_strides(inner), dtype=stored_type(mode)) if keep else params.new_empty(0)
    factors = params.new_empty((shape[0], 2, _norm(x, sizes, flags, True).block) if keep else 0)
    return y, params.new_empty(_statistics_shape(x, sizes, statistics)), z, factors


def _images(x: Tensor, conv) -> Tensor:
    """Images are read where they stand, wider inputs as maps."""
    return x if conv.narrow else as_map(x)


def _packed(conv, norm, params: Tensor, mode: str) -> Tensor:
    shape = (len(params), conv.kernel**2, conv.c_in, norm.block)
    packed = torch.empty(shape, dtype=stored_type(mode), device=params.device)
    kernels("conv_block").pack(conv, norm, params, packed)
    return packed


@register(
    "conv_block_triton",
    "(Tensor x, Tensor params, Tensor? given, SymInt[] sizes, bool[] flags, float eps, bool statistics, bool keep, "
    "str mode) -> (Tensor, Tensor, Tensor, Tensor)",
    fake=_fake,
    devices=None,
)
def _forward(x, params, given, sizes, flags, eps, statistics, keep, mode):
    """y; its statistics (empty if not wanted); the convolution's output and its factors (empty if not kept)."""
    _check(x, params, given, sizes, flags)
    params = arena_rows(params)
    conv, norm = _conv(x, sizes), _norm(x, sizes, flags, given is None)
    y = empty_map(_shape(x, sizes), params)
    z = stored_map((*y.shape[:3], *sizes[5:7]), params, mode)
    found = params.new_full(_statistics_shape(x, sizes, statistics), torch.nan)
    factors = scratch(params, len(params), 2, norm.block)
    if y.numel():
        own, shared = kernels("conv_block"), kernels("normalise")
        moments = moments_of(norm, z) if statistics or norm.batch else None
        weights = params if conv.narrow else _packed(conv, norm, params, mode)
        own.convolve(conv, norm, _images(x, conv), weights, z, moments, mode)
        given = given if flags[1] else None
        shared.finish_moments(norm, moments, given, params, found if statistics else None, factors, pixels(z), eps)
        shared.normalise(norm, z, factors, params, y)
    return y, found, z if keep else params.new_empty(0), factors if keep else params.new_empty(0)


def _fake_backward(gy, z, factors, x, params, sizes, flags, batch, want_dx, mode):
    dx = x.new_empty_strided(x.shape, map_strides(tuple(x.shape))) if want_dx else x.new_empty(0)
    return dx, params.new_empty(params.shape)


@register(
    "conv_block_triton_backward",
    f"(Tensor gy, Tensor z, Tensor factors, {_ARGUMENTS}, bool batch, bool want_dx, str mode) -> (Tensor, Tensor)",
    fake=_fake_backward,
    devices=None,
)
def _backward(gy, z, factors, x, params, sizes, flags, batch, want_dx, mode):
    """Gradients of x (empty if not wanted) and params."""
    gy, params = as_map(gy), arena_rows(params)
    dx = empty_map(tuple(x.shape), x) if want_dx else x.new_empty(0)
    dparams = scratch(params, *params.shape)
    if gy.numel() == 0:
        return dx.zero_(), dparams.zero_()
    conv, norm = _conv(x, sizes), _norm(x, sizes, flags, batch)
    own, shared = kernels("conv_block"), kernels("normalise")
    sums = summed(norm, gy, z, factors, params)
    dz = None
    if want_dx or norm.pool > 1 or conv.blocks > 1:
        dz = stored_map(tuple(z.shape), z, mode)
        shared.spread_gradient(norm, gy, z, factors, params, sums, dz)
    parts = scratch(params, len(params), own.chunks(pixels(z)), shared.padded_columns(conv.weights))
    own.weights_backward(conv, norm, _images(x, conv), dz, gy, z, factors, params, sums, parts, mode)
    shared.finish_row(norm, parts, sums, factors, params, dparams, conv.weights)
    if want_dx:
        own.inputs_backward(conv, norm, _packed(conv, norm, params, mode), dz, dx, mode)
    return dx, dparams


def _save(ctx, inputs, output) -> None:
    x, params, given, ctx.sizes, ctx.flags, _, _, _, ctx.mode = inputs
    ctx.batch = given is None
    ctx.save_for_backward(*output[2:], x, params)


def _formula(ctx, gy):
    z, factors, x, params = ctx.saved_tensors
    want_dx = ctx.needs_input_grad[0]
    dx, dparams = _backward(gy, z, factors, x, params, ctx.sizes, ctx.flags, ctx.batch, want_dx, ctx.mode)
    return dx if want_dx else None, dparams


once_differentiable(_forward, _backward, _save, _formula)


def conv_block_triton(x, params, block, given, want_statistics):
    """The call of the `triton` backend, see `conv_block`."""
    (given,) = contiguous(single(given) if block.norm else None)
    flags = [block.bias, block.norm, block.relu, block.pool]
    want = want_statistics and block.norm
    sizes, keep = _sizes(block, *x.shape[3:]), recording(x, params)
    y, found, _, _ = _forward(x, params, given, sizes, flags, block.eps, want, keep, current_precision())
    return y, found if want else None
