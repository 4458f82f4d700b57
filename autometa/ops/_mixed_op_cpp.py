"""The compiled backend of `mixed_op`."""

from __future__ import annotations

import torch
from torch import Tensor

from autometa.ops._memory import activation, activation_strides, as_activation, floats
from autometa.ops._native import compiled_or_raise, once_differentiable, pointer, register, threads

_ARGUMENTS = (
    "Tensor[] states, Tensor params, Tensor op_weight, Tensor input_weight, Tensor table, Tensor? table_of_slot, "
    "Tensor? drop, bool affine, Tensor? given, float eps"
)


def output_size(states, table: Tensor) -> tuple[int, int]:
    """Height and width of a node's output."""
    state, _, _, stride, _ = next(row for row in table.flatten(0, 1).tolist() if row[2] >= 0)
    return -(-states[state].shape[3] // stride), -(-states[state].shape[4] // stride)


class _Node:
    """Arguments in the form that the compiled module reads; holds alive what it points to."""

    def __init__(self, states, params, op_weight, input_weight, table, table_of_slot, drop, affine, given, eps) -> None:
        self.states = [as_activation(x) for x in states]
        params = params if params.stride(1) == 1 or params.shape[1] <= 1 else params.contiguous()
        small = (op_weight, input_weight, table, table_of_slot, drop, given)
        self.tensors = [params, *(None if t is None else t.contiguous() for t in small)]
        slots, batch, channels = states[0].shape[:3]
        shape = [slots, batch, channels, op_weight.shape[1], input_weight.shape[1], table.shape[0]]
        self.compiled = compiled_or_raise().Node(
            [pointer(x) for x in self.states],
            [n for x in states for n in x.shape[3:]],
            [*shape, params.stride(0), params.shape[1]],
            [pointer(t) for t in self.tensors],
            affine,
            eps,
            threads(),
        )


def _statistics_shape(states, op_weight, wanted: bool) -> tuple[int, ...]:
    return (*op_weight.shape, 2, 2, states[0].shape[2]) if wanted else (0,)


def _fake(states, params, op_weight, input_weight, table, table_of_slot, drop, affine, given, eps, statistics, keep):
    slots, batch, channels = states[0].shape[:3]
    shape = (slots, batch, channels, *output_size(states, table))
    y = params.new_empty_strided(shape, activation_strides(shape))
    context = torch.library.get_ctx()
    saved = params.new_empty(context.new_dynamic_size()) if keep else params.new_empty(0)
    return y, params.new_empty(_statistics_shape(states, op_weight, statistics)), saved


@register("mixed_op", f"({_ARGUMENTS}, bool statistics, bool keep) -> (Tensor, Tensor, Tensor)", fake=_fake)
def _forward(states, params, op_weight, input_weight, table, table_of_slot, drop, affine, given, eps, statistics, keep):
    """The node's output, its statistics (empty if not wanted), and what the backward needs (empty if not kept)."""
    node = _Node(states, params, op_weight, input_weight, table, table_of_slot, drop, affine, given, eps)
    module = compiled_or_raise()
    y = activation(*states[0].shape[:3], *output_size(states, table))
    found = torch.empty(_statistics_shape(states, op_weight, statistics))
    saved = floats(module.mixed_op_saved(node.compiled) if keep else 0)
    module.mixed_op(node.compiled, pointer(y), pointer(saved) if keep else 0, pointer(found) if statistics else 0)
    return y, found, saved


def _fake_backward(gy, saved, states, params, op_weight, input_weight, *_):
    made = [x.new_empty_strided(x.shape, activation_strides(x.shape)) for x in states]
    return [params.new_empty(params.shape), op_weight.new_empty(op_weight.shape)] + [
        input_weight.new_empty(input_weight.shape),
        *made,
    ]


@register("mixed_op_backward", f"(Tensor gy, Tensor saved, {_ARGUMENTS}) -> Tensor[]", fake=_fake_backward)
def _backward(gy, saved, states, params, op_weight, input_weight, table, table_of_slot, drop, affine, given, eps):
    """Gradients of params, op_weight, input_weight and every state."""
    node = _Node(states, params, op_weight, input_weight, table, table_of_slot, drop, affine, given, eps)
    gy = as_activation(gy)
    dparams = floats(params.numel()).view(params.shape)
    dop, dinput = torch.empty(op_weight.shape), torch.empty(input_weight.shape)
    dstates = [activation(*x.shape) for x in states]
    compiled_or_raise().mixed_op_backward(
        node.compiled,
        pointer(saved),
        pointer(gy),
        [pointer(x) for x in dstates],
        pointer(dparams),
        pointer(dop),
        pointer(dinput),
    )
    return [dparams, dop, dinput, *dstates]


def _save(ctx, inputs, output) -> None:
    states, *small = inputs[:7]
    ctx.affine, given, ctx.eps = inputs[7:10]
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[1], output[2])
    ctx.save_for_backward(output[2], given, *small, *states)


def _formula(ctx, gy, *_):
    if gy is None:
        return (None,) * 12
    saved, given, *rest = ctx.saved_tensors
    small, states = rest[:6], rest[6:]
    dparams, dop, dinput, *dstates = _backward(gy, saved, states, *small, ctx.affine, given, ctx.eps)
    return dstates, dparams, dop, dinput, *(None,) * 8


once_differentiable(_forward, _backward, _save, _formula)


def mixed_op_cpp(
    states, params, op_weight, input_weight, table, table_of_slot, drop, affine, given, want_statistics, eps
):
    """The call of the `cpp` backend, see `mixed_op`."""
    leaves = (*states, params, op_weight, input_weight)
    keep = torch.is_grad_enabled() and any(x.requires_grad for x in leaves)
    drop = None if drop is None else drop.to(torch.float32)
    given = None if given is None else given.to(torch.float32)
    y, statistics, _ = _forward(
        list(states), params, op_weight, input_weight, table, table_of_slot, drop, affine, given, eps,
        want_statistics, keep,
    )  # fmt: skip
    return y, statistics if want_statistics else None
