"""The compiled backend of `mixed_op`."""

from __future__ import annotations

import torch
from torch import Tensor

from autometa.ops._memory import activation, activation_strides, as_activation, floats, numbers
from autometa.ops._native import (
    arena_rows,
    contiguous,
    kept_memory,
    once_differentiable,
    pointers,
    recording,
    register,
    run,
    single,
    threads,
    watched,
)
from autometa.ops.share import GradientSum, targets

_ARGUMENTS = (
    "Tensor[] states, Tensor params, Tensor op_weight, Tensor input_weight, Tensor table, Tensor? table_of_slot, "
    "Tensor? drop, bool affine, Tensor? given, float eps"
)


def _reach(states, table: Tensor) -> tuple[list[int], list[int]]:
    """Height and width of a node's output, and the states that some instance reads."""
    rows = [row for row in table.flatten(0, 1).tolist() if row[2] >= 0]
    if not rows or any(not 0 <= row[0] < len(states) for row in rows):
        raise ValueError(f"table must have an instance, and states 0..{len(states) - 1} only")
    state, _, _, stride, _ = rows[0]
    stride = max(stride, 1)
    return [-(-n // stride) for n in states[state].shape[3:]], sorted({row[0] for row in rows})


class _Node:
    """Arguments in the form that the compiled module reads; holds alive what it points to."""

    def __init__(self, states, params, op_weight, input_weight, table, table_of_slot, drop, affine, given, eps) -> None:
        self.states = [as_activation(x) for x in states]
        params = arena_rows(params)
        self.tensors = [params, *contiguous(op_weight, input_weight, table, table_of_slot, drop, given)]
        slots, batch, channels = states[0].shape[:3]
        shape = [slots, batch, channels, op_weight.shape[1], input_weight.shape[1], table.shape[0]]
        sizes, shape = [n for x in states for n in x.shape[3:]], [*shape, params.stride(0), params.shape[1]]
        self.compiled = run("Node", self.states, sizes, shape, pointers(*self.tensors), affine, eps, threads())


def _statistics_shape(states, op_weight, wanted: bool) -> tuple[int, ...]:
    return (*op_weight.shape, 2, 2, states[0].shape[2]) if wanted else (0,)


def _fake(states, params, op_weight, *rest):
    *_, statistics, keep, size, _ = rest
    slots, batch, channels = states[0].shape[:3]
    shape = (slots, batch, channels, *size)
    y = params.new_empty_strided(shape, activation_strides(shape))
    return y, params.new_empty(_statistics_shape(states, op_weight, statistics)), kept_memory(params, keep)


@register(
    "mixed_op",
    f"({_ARGUMENTS}, bool statistics, bool keep, SymInt[] size, int[] reads) -> (Tensor, Tensor, Tensor)",
    fake=_fake,
)
def _forward(states, params, op_weight, input_weight, *rest):
    """The node's output, its statistics (empty if not wanted), and what the backward needs (empty if not kept)."""
    *small, statistics, keep, size, _ = rest
    node = _Node(states, params, op_weight, input_weight, *small)
    y = activation(*states[0].shape[:3], *size)
    found = numbers(*_statistics_shape(states, op_weight, statistics))
    saved = floats(run("mixed_op_saved", node.compiled) if keep else 0)
    run("mixed_op", node.compiled, y, saved if keep else None, found if statistics else None)
    return y, found, saved


def _fake_backward(gy, saved, reads, states, params, op_weight, input_weight, *_):
    small = [t.new_empty(t.shape) for t in (params, op_weight, input_weight)]
    return small + [states[j].new_empty_strided(states[j].shape, activation_strides(states[j].shape)) for j in reads]


@register("mixed_op_backward", f"(Tensor gy, Tensor saved, int[] reads, {_ARGUMENTS}) -> Tensor[]", fake=_fake_backward)
def _backward(gy, saved, reads, states, params, op_weight, input_weight, *rest):
    """Gradients of params, op_weight, input_weight and of the states that are read."""
    found, dstates = targets(states, (None,) * len(states), reads)
    return [*_run_backward(gy, saved, found, states, params, op_weight, input_weight, *rest), *dstates.values()]


def _run_backward(gy, saved, targets, states, params, op_weight, input_weight, *rest):
    """Gradients of params, op_weight and input_weight; those of the states go to `targets`."""
    node = _Node(states, params, op_weight, input_weight, *rest)
    gy = as_activation(gy)
    dparams = floats(params.numel()).view(params.shape)
    dop, dinput = numbers(*op_weight.shape), numbers(*input_weight.shape)
    dstates = [(targets[j][0].data_ptr(), targets[j][1]) if j in targets else (0, False) for j in range(len(states))]
    run("mixed_op_backward", node.compiled, saved, gy, dstates, dparams, dop, dinput)
    return dparams, dop, dinput


def _save(ctx, inputs, output) -> None:
    states, *small = inputs[:7]
    ctx.affine, given, ctx.eps = inputs[7:10]
    ctx.reads = inputs[13]
    ctx.sums = [GradientSum.of(x) for x in states]
    ctx.save_for_backward(output[2], given, *small, *states)


def _formula(ctx, gy):
    saved, given, *rest = ctx.saved_tensors
    small, states = rest[:6], rest[6:]
    arguments = states, *small, ctx.affine, given, ctx.eps
    if watched() or torch.is_grad_enabled():
        found = _backward(gy, saved, ctx.reads, *arguments)
        found, dstates = found[:3], dict(zip(ctx.reads, found[3:], strict=True))
    else:
        into, dstates = targets(states, ctx.sums, ctx.reads)
        found = _run_backward(gy, saved, into, *arguments)
    return [dstates.get(j) for j in range(len(states))], *found


once_differentiable(_forward, _backward, _save, _formula)


def mixed_op_cpp(
    states, params, op_weight, input_weight, table, table_of_slot, drop, affine, given, want_statistics, eps
):
    """The call of the `cpp` backend, see `mixed_op`."""
    keep = recording(*states, params, op_weight, input_weight)
    y, statistics, _ = _forward(
        list(states), params, op_weight, input_weight, table, table_of_slot, single(drop), affine, single(given), eps,
        want_statistics, keep, *_reach(states, table),
    )  # fmt: skip
    return y, statistics if want_statistics else None
