"""The Triton backend of `preprocess`.

For its backward it keeps what the convolution gave, before the normalisation: a map of `channels`, bfloat16 in mode
bf16.
"""

from __future__ import annotations

import torch
from torch import Tensor

from autometa.ops._native import arena_rows, contiguous, once_differentiable, recording, register, single
from autometa.ops._norm_triton import moments_of, pixels, scratch, stored_map, stored_type, summed
from autometa.ops._state_table import StateReads
from autometa.ops._triton import as_map, empty_map, kernels, map_strides
from autometa.ops.backend import current_precision
from autometa.ops.folding import cat_channels
from autometa.ops.preprocess.cpp import output_shape
from autometa.ops.primitives import aligned

_ARGUMENTS = "Tensor[] states, Tensor params, SymInt channels, bool reduce, bool affine, Tensor? table, Tensor? of_slot"


def _places(depth: int, channels: int, reduce: bool) -> tuple[int, int, int]:
    """In a row of parameters: end of the weights, start and length of the gap between their halves."""
    if not reduce:
        return channels * depth, 0, 0
    first = channels // 2 * depth
    return aligned(first) + (channels - channels // 2) * depth, first, aligned(first) - first


def _reads(states, params: Tensor, channels: int, reduce: bool, affine: bool, table, of_slot) -> StateReads | None:
    """Which states slots read, None where all read all of them."""
    if table is None:
        return None
    found = StateReads.of(table, of_slot, [x.shape[2] for x in states], params.device)
    end, _, _ = _places(found.widest, channels, reduce)
    needed = aligned(end) + 2 * aligned(channels) * affine if found.widest else 0
    if params.shape[1] < needed:
        raise ValueError(f"params must be [{len(params)}, {needed}] or wider, not {list(params.shape)}")
    return found


def _norm(states, channels: int, reduce: bool, affine: bool, batch: bool, tables: bool):
    """Behind the convolution; gamma and beta stand in the parameters, or side by side where slots' tables differ."""
    own = kernels("normalise").Norm
    if not affine:
        return own(channels, batch=batch)
    if tables:
        return own(channels, gamma=0, beta=own(channels).block, batch=batch)
    end, _, _ = _places(sum(x.shape[2] for x in states), channels, reduce)
    return own(channels, gamma=aligned(end), beta=aligned(end) + aligned(channels), batch=batch)


def _fake(states, params, channels, reduce, affine, table, of_slot, given, eps, statistics, keep, mode):
    shape = output_shape(states, channels, reduce)
    y = params.new_empty_strided(shape, map_strides(shape))
    z = params.new_empty_strided(shape, map_strides(shape), dtype=stored_type(mode)) if keep else params.new_empty(0)
    block, packed = _norm(states, channels, reduce, affine, given is None, False).block, affine and table is not None
    factors = params.new_empty((2 if packed else 1, shape[0], 2, block) if keep else 0)
    return y, params.new_empty((shape[0], 2, channels) if statistics else 0), z, factors


def _affine_rows(factors: Tensor, params: Tensor) -> Tensor:
    """Where a `_norm` finds gamma and beta."""
    return factors[1].flatten(1) if len(factors) > 1 else params


@register(
    "preprocess_triton",
    f"({_ARGUMENTS}, Tensor? given, float eps, bool statistics, bool keep, str mode)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
    fake=_fake,
    devices=None,
)
def _forward(states, params, channels, reduce, affine, table, of_slot, given, eps, statistics, keep, mode):
    """y; its statistics (empty if not wanted); the convolution's output and its factors `[1, S, 2, BLOCK]`, behind them
    gamma and beta where a table was needed to find them (empty if not kept)."""
    states, params = [as_map(x) for x in states], arena_rows(params)
    reads = _reads(states, params, channels, reduce, affine, table, of_slot)
    shape = output_shape(states, channels, reduce)
    norm = _norm(states, channels, reduce, affine, given is None, reads is not None)
    y, z = empty_map(shape, params), stored_map(shape, params, mode)
    found = params.new_full((shape[0], 2, channels) if statistics else (0,), torch.nan)
    packed = affine and reads is not None
    factors = scratch(params, 2 if packed else 1, shape[0], 2, norm.block)
    if y.numel():
        moments = moments_of(norm, z) if statistics or given is None else None
        gap = _places(sum(x.shape[2] for x in states), channels, reduce)[2]
        own = kernels("normalise")
        kernels("preprocess").pointwise(
            norm, states, params, z, moments, factors[1] if packed else None, reduce, gap, mode, reads
        )
        own.finish_moments(norm, moments, given, params, found if statistics else None, factors[0], pixels(z), eps)
        own.normalise(norm, z, factors[0], _affine_rows(factors, params), y)
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
def _backward(gy, z, factors, states, params, channels, reduce, affine, table, of_slot, batch, mode):
    """Gradients of params and of every state."""
    gy, states, params = as_map(gy), [as_map(x) for x in states], arena_rows(params)
    dparams = scratch(params, *params.shape)
    dstates = [empty_map(tuple(x.shape), x) for x in states]
    if gy.numel() == 0:
        return [dparams.zero_(), *dstates]
    reads = _reads(states, params, channels, reduce, affine, table, of_slot)
    norm = _norm(states, channels, reduce, affine, batch, reads is not None)
    depth = reads.widest if reads else sum(x.shape[2] for x in states)
    weights, gap_at, gap = _places(depth, channels, reduce)
    found, where = factors[0], _affine_rows(factors, params)
    sums = summed(norm, gy, z, found, where)
    own, shared = kernels("preprocess"), kernels("normalise")
    parts = scratch(params, len(params), own.chunks(norm, pixels(z)), shared.padded_columns(weights))
    own.pointwise_backward(norm, states, dstates, gy, z, found, where, params, sums, parts, reduce, gap, mode, reads)
    if reads is None:
        shared.finish_row(norm, parts, sums, found, params, dparams, weights, gap_at, gap)
    else:
        own.finish_reads(norm, parts, sums, dparams, reduce, affine, len(states), reads)
    return [dparams, *dstates]


def _save(ctx, inputs, output) -> None:
    states, params, *ctx.settings, table, of_slot, given, _, _, _, ctx.mode = inputs
    ctx.batch = given is None
    ctx.save_for_backward(*output[2:], table, of_slot, params, *states)


def _formula(ctx, gy):
    z, factors, table, of_slot, params, *states = ctx.saved_tensors
    dparams, *dstates = _backward(gy, z, factors, states, params, *ctx.settings, table, of_slot, ctx.batch, ctx.mode)
    return dstates, dparams


once_differentiable(_forward, _backward, _save, _formula)


def preprocess_triton(
    states, params: Tensor, channels: int, reduce, affine, given, want_statistics, eps, table=None, table_of_slot=None
):
    """The call of the `triton` backend, see `preprocess`."""
    if len({x.shape[2] for x in states}) > 1:
        states = [cat_channels(list(states))]
    (given,), keep = contiguous(single(given)), recording(*states, params)
    y, statistics, _, _ = _forward(
        list(states), params, channels, reduce, affine, table, table_of_slot, given, eps, want_statistics, keep,
        current_precision(),
    )  # fmt: skip
    return y, statistics if want_statistics else None


def unequal(states, table: Tensor | None) -> dict[str, str]:
    """Backends that cannot run a call with this table, and why."""
    if table is None or len({x.shape[2] for x in states}) == 1:
        return {}
    return {"triton": "its kernels read tables of states with equal channels only; use cpp or reference"}
