"""The Triton backend of `preprocess`.

For its backward it keeps what the convolution gave, before the normalisation: a map of `channels`, bfloat16 in mode
bf16.
"""

from __future__ import annotations

import torch
from torch import Tensor

from autometa.ops._native import once_differentiable, register
from autometa.ops._norm_triton import moments_of, pixels, scratch, stored_map, stored_type, summed
from autometa.ops._triton import as_map, empty_map, kernels, map_strides, rows
from autometa.ops.backend import current_precision
from autometa.ops.folding import cat_channels
from autometa.ops.primitives import aligned

_ARGUMENTS = "Tensor[] states, Tensor params, SymInt channels, bool reduce, bool affine"


def _output_shape(states, channels: int, reduce: bool) -> tuple[int, ...]:
    slots, batch, _, height, width = states[0].shape
    stride = 2 if reduce else 1
    return slots, batch, channels, -(-height // stride), -(-width // stride)


def _places(depth: int, channels: int, reduce: bool) -> tuple[int, int, int]:
    """In a row of parameters: end of the weights, start and length of the gap between their halves."""
    if not reduce:
        return channels * depth, 0, 0
    first = channels // 2 * depth
    return aligned(first) + (channels - channels // 2) * depth, first, aligned(first) - first


def _norm(states, channels: int, reduce: bool, affine: bool, batch: bool):
    end, _, _ = _places(sum(x.shape[2] for x in states), channels, reduce)
    gamma = aligned(end) if affine else -1
    beta = gamma + aligned(channels) if affine else -1
    return kernels("normalise").Norm(channels, gamma=gamma, beta=beta, batch=batch)


def _fake(states, params, channels, reduce, affine, given, eps, statistics, keep, mode):
    shape = _output_shape(states, channels, reduce)
    y = params.new_empty_strided(shape, map_strides(shape))
    z = params.new_empty_strided(shape, map_strides(shape), dtype=stored_type(mode)) if keep else params.new_empty(0)
    block = _norm(states, channels, reduce, affine, given is None).block
    factors = params.new_empty((shape[0], 2, block) if keep else 0)
    return y, params.new_empty((shape[0], 2, channels) if statistics else 0), z, factors


@register(
    "preprocess_triton",
    f"({_ARGUMENTS}, Tensor? given, float eps, bool statistics, bool keep, str mode)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
    fake=_fake,
    devices=None,
)
def _forward(states, params, channels, reduce, affine, given, eps, statistics, keep, mode):
    """y; its statistics (empty if not wanted); the convolution's output and its factors (empty if not kept)."""
    states, params = [as_map(x) for x in states], rows(params)
    shape = _output_shape(states, channels, reduce)
    norm = _norm(states, channels, reduce, affine, given is None)
    y, z = empty_map(shape, params), stored_map(shape, params, mode)
    found = params.new_full((shape[0], 2, channels) if statistics else (0,), torch.nan)
    factors = scratch(params, shape[0], 2, norm.block)
    if y.numel():
        moments = moments_of(norm, z) if statistics or given is None else None
        gap = _places(sum(x.shape[2] for x in states), channels, reduce)[2]
        kernels("preprocess").pointwise(norm, states, params, z, moments, reduce, gap, mode)
        own = kernels("normalise")
        own.finish_moments(norm, moments, given, params, found if statistics else None, factors, pixels(z), eps)
        own.normalise(norm, z, factors, params, y)
    return y, found, z if keep else params.new_empty(0), factors if keep else params.new_empty(0)


def _fake_backward(gy, z, factors, states, params, *_):
    made = [x.new_empty_strided(x.shape, map_strides(tuple(x.shape))) for x in states]
    return [params.new_empty(params.shape), *made]


@register(
    "preprocess_triton_backward",
    f"(Tensor gy, Tensor z, Tensor factors, {_ARGUMENTS}, bool batch, str mode) -> Tensor[]",
    fake=_fake_backward,
    devices=None,
)
def _backward(gy, z, factors, states, params, channels, reduce, affine, batch, mode):
    """Gradients of params and of every state."""
    gy, states, params = as_map(gy), [as_map(x) for x in states], rows(params)
    dparams = scratch(params, *params.shape)
    dstates = [empty_map(tuple(x.shape), x) for x in states]
    if gy.numel() == 0:
        return [dparams.zero_(), *dstates]
    norm = _norm(states, channels, reduce, affine, batch)
    weights, gap_at, gap = _places(sum(x.shape[2] for x in states), channels, reduce)
    sums = summed(norm, gy, z, factors, params)
    own, shared = kernels("preprocess"), kernels("normalise")
    parts = scratch(params, len(params), own.chunks(norm, pixels(z)), shared.padded_columns(weights))
    own.pointwise_backward(norm, states, dstates, gy, z, factors, params, sums, parts, reduce, gap, mode)
    shared.finish_row(norm, parts, sums, factors, params, dparams, weights, gap_at, gap)
    return [dparams, *dstates]


def _save(ctx, inputs, output) -> None:
    states, params, *ctx.settings, given, _, _, ctx.keep, ctx.mode = inputs
    ctx.batch = given is None
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(*output[2:], params, *states)


def _formula(ctx, gy, *_):
    if gy is None:
        return (None,) * 10
    if not ctx.keep:
        raise ValueError("preprocess was called with keep=False, so that its gradient cannot be computed")
    z, factors, params, *states = ctx.saved_tensors
    dparams, *dstates = _backward(gy, z, factors, states, params, *ctx.settings, ctx.batch, ctx.mode)
    return dstates, dparams, *(None,) * 8


once_differentiable(_forward, _backward, _save, _formula)


def preprocess_triton(states, params: Tensor, channels: int, reduce, affine, given, want_statistics, eps):
    """The call of the `triton` backend, see `preprocess`."""
    if len({x.shape[2] for x in states}) > 1:
        states = [cat_channels(list(states))]
    keep = torch.is_grad_enabled() and any(x.requires_grad for x in (*states, params))
    given = None if given is None else given.to(torch.float32).contiguous()
    y, statistics, _, _ = _forward(
        list(states), params, channels, reduce, affine, given, eps, want_statistics, keep, current_precision()
    )
    return y, statistics if want_statistics else None
