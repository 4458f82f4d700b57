"""The compiled backend of `preprocess`.

For its backward it keeps statistics only: the output tells what the convolution was.
"""

from __future__ import annotations

import torch
from torch import Tensor

from autometa.ops._memory import activation, activation_strides, as_activation, floats, numbers
from autometa.ops._native import (
    arena_rows,
    contiguous,
    kept_memory,
    once_differentiable,
    recording,
    register,
    run,
    single,
    threads,
    watched,
)
from autometa.ops._state_table import table_arguments
from autometa.ops.folding import cat_channels
from autometa.ops.share import GradientSum, targets

_ARGUMENTS = (
    "Tensor[] states, Tensor params, SymInt channels, bool reduce, bool affine, Tensor? given, float eps, "
    "Tensor? table, Tensor? table_of_slot"
)


def output_shape(states, channels: int, reduce: bool) -> tuple[int, ...]:
    """`[S, N, C, H', W']`."""
    slots, batch, _, height, width = states[0].shape
    stride = 2 if reduce else 1
    return slots, batch, channels, -(-height // stride), -(-width // stride)


class _Preprocess:
    """Arguments in the form that the compiled module reads; holds alive what it points to."""

    def __init__(self, states, params, channels, reduce, affine, given, eps, table, table_of_slot) -> None:
        self.states = [as_activation(x) for x in states]
        self.params = arena_rows(params)
        self.given, *self.tables = contiguous(given, table, table_of_slot)
        slots, batch, depth, height, width = states[0].shape
        shape = [slots, batch, depth, height, width, channels, self.params.stride(0), self.params.shape[1]]
        table = table_arguments(*self.tables)
        self.compiled = run(
            "Preprocess", self.states, shape, self.params, self.given, table, reduce, affine, eps, threads()
        )


def _statistics_shape(states, channels: int, wanted: bool) -> tuple[int, ...]:
    return (states[0].shape[0], 2, channels) if wanted else (0,)


def _fake(states, params, channels, reduce, affine, given, eps, table, table_of_slot, statistics, keep):
    shape = output_shape(states, channels, reduce)
    y = params.new_empty_strided(shape, activation_strides(shape))
    return y, params.new_empty(_statistics_shape(states, channels, statistics)), kept_memory(params, keep)


@register("preprocess", f"({_ARGUMENTS}, bool statistics, bool keep) -> (Tensor, Tensor, Tensor)", fake=_fake)
def _forward(states, params, channels, reduce, affine, given, eps, table, table_of_slot, statistics, keep):
    """The output, its statistics (empty if not wanted), and what the backward needs (empty if not kept)."""
    own = _Preprocess(states, params, channels, reduce, affine, given, eps, table, table_of_slot)
    y = activation(*output_shape(states, channels, reduce))
    found = numbers(*_statistics_shape(states, channels, statistics))
    saved = floats(run("preprocess_saved", own.compiled) if keep else 0)
    run("preprocess", own.compiled, y, saved if keep else None, found if statistics else None)
    return y, found, saved


def _fake_backward(gy, saved, y, states, params, *_):
    made = [x.new_empty_strided(x.shape, activation_strides(x.shape)) for x in states]
    return [params.new_empty(params.shape), *made]


@register("preprocess_backward", f"(Tensor gy, Tensor saved, Tensor y, {_ARGUMENTS}) -> Tensor[]", fake=_fake_backward)
def _backward(gy, saved, y, states, *rest):
    """Gradients of params and of every state."""
    found, dstates = targets(states, (None,) * len(states), range(len(states)))
    dparams = _run_backward(gy, saved, y, found, states, *rest)
    return [dparams, *dstates.values()]


def _run_backward(gy, saved, y, targets, states, params, *rest):
    """The gradient of params; those of the states go to `targets`."""
    own = _Preprocess(states, params, *rest)
    gy = as_activation(gy)
    dparams = floats(params.numel()).view(params.shape)
    dstates = [(x.data_ptr(), add) for x, add in targets.values()]
    run("preprocess_backward", own.compiled, saved, y, gy, dstates, dparams)
    return dparams


def _save(ctx, inputs, output) -> None:
    states, params, *ctx.settings = inputs[:5]
    given, ctx.eps, *tables = inputs[5:9]
    ctx.sums = [GradientSum.of(x) for x in states]
    ctx.save_for_backward(output[2], output[0] if ctx.kept else None, given, *tables, params, *states)


def _formula(ctx, gy):
    saved, y, given, table, table_of_slot, params, *states = ctx.saved_tensors
    arguments = states, params, *ctx.settings, given, ctx.eps, table, table_of_slot
    if watched() or torch.is_grad_enabled():
        dparams, *dstates = _backward(gy, saved, y, *arguments)
        return dstates, dparams
    into, dstates = targets(states, ctx.sums, range(len(states)))
    dparams = _run_backward(gy, saved, y, into, *arguments)
    return [dstates.get(j) for j in range(len(states))], dparams


once_differentiable(_forward, _backward, _save, _formula)


def preprocess_cpp(
    states, params: Tensor, channels: int, reduce, affine, given, want_statistics, eps, table=None, table_of_slot=None
):
    """The call of the `cpp` backend, see `preprocess`."""
    if len({x.shape[2] for x in states}) > 1:
        if table is not None:
            raise ValueError("with a table the compiled preprocess reads states of equal channels only")
        states = [cat_channels(list(states))]
    keep = recording(*states, params)
    y, statistics, _ = _forward(
        list(states), params, channels, reduce, affine, single(given), eps, table, table_of_slot, want_statistics, keep
    )
    return y, statistics if want_statistics else None
