"""The Triton backend of `mixed_op`.

For its backward it keeps, per slot, one map of batch x height x width x channels for every normalised result and one
between the halves of a factorised pair (float32; bf16 in that mode), and a byte per element for a max pool.
"""

from __future__ import annotations

import torch
from torch import Tensor

from autometa.ops._native import arena_rows, contiguous, kept_memory, once_differentiable, recording, register, single
from autometa.ops._norm_triton import stored_type
from autometa.ops._triton import as_map, derived, empty_map, kernels, map_strides, pitch
from autometa.ops.backend import current_precision
from autometa.ops.mixed_op.plan import NodePlan, node_plan

LARGEST = 128  # channels that a kernel keeps in registers

_ARGUMENTS = (
    "Tensor[] states, Tensor params, Tensor op_weight, Tensor input_weight, Tensor table, Tensor? table_of_slot, "
    "Tensor? drop, bool affine, Tensor? given, float eps, str precision"
)


def _plan(states, params: Tensor, input_weight: Tensor, table: Tensor, affine: bool) -> NodePlan:
    sizes = tuple(tuple(x.shape[3:]) for x in states)
    about = (sizes, states[0].shape[2], input_weight.shape[1], params.shape[1], affine)
    return derived(table, about, params.device, lambda t: node_plan(t.cpu(), *about, params.device))


def _node(states, params, op_weight, input_weight, table, table_of_slot, drop, affine, given, eps, precision):
    """The arguments as `autometa.kernels.mixed_op` takes them."""
    plan = _plan(states, params, input_weight, table, affine)
    op_weight, input_weight, table_of_slot, drop, given = contiguous(
        op_weight, input_weight, table_of_slot, drop, given
    )
    return kernels("mixed_op").Node(
        plan=plan,
        states=tuple(as_map(x) for x in states),
        params=arena_rows(params),
        op_weight=op_weight,
        input_weight=input_weight,
        table_of_slot=table_of_slot,
        drop=drop,
        affine=affine,
        given=given,
        eps=eps,
        pitch=pitch(states[0].shape[2]),
        mode=precision,
    )


def _output(states, plan: NodePlan) -> tuple[int, ...]:
    return (*states[0].shape[:3], *plan.size)


def _fake(states, params, op_weight, input_weight, table, *rest):
    *_, given, _, precision, measure, keep, size, _ = rest
    shape = (*states[0].shape[:3], *size)
    y = params.new_empty_strided(shape, map_strides(shape))
    moments = params.new_empty((*op_weight.shape, 2, 2, shape[2]) if measure or given is None else 0)
    maps = kept_memory(params, keep, stored_type(precision))
    return y, maps, kept_memory(params, keep, torch.uint8), moments


@register(
    "mixed_op_triton",
    f"({_ARGUMENTS}, bool measure, bool keep, SymInt[] size, int[] reads) -> (Tensor, Tensor, Tensor, Tensor)",
    fake=_fake,
    devices=None,
)
def _forward(states, params, op_weight, input_weight, *rest):
    """The node's output, what the backward needs (maps, arguments; empty if not kept), and the batch's moments (empty
    where neither asked for nor needed)."""
    *small, measure, keep, _, _ = rest
    node = _node(states, params, op_weight, input_weight, *small)
    y = empty_map(_output(states, node.plan), params)
    kept, measured = kernels("mixed_op").forward(node, y, keep, measure)
    if not keep:
        return y, kept.maps.new_empty(0), kept.arguments.new_empty(0), measured
    return y, kept.maps.flatten(), kept.arguments.flatten(), measured


def _fake_backward(gy, maps, arguments, moments, reads, states, params, op_weight, input_weight, *_):
    small = [t.new_empty(t.shape) for t in (params, op_weight, input_weight)]
    return small + [states[j].new_empty_strided(states[j].shape, map_strides(tuple(states[j].shape))) for j in reads]


@register(
    "mixed_op_triton_backward",
    f"(Tensor gy, Tensor maps, Tensor arguments, Tensor moments, int[] reads, {_ARGUMENTS}) -> Tensor[]",
    fake=_fake_backward,
    devices=None,
)
def _backward(gy, maps, arguments, moments, reads, states, *rest):
    """Gradients of params, op_weight, input_weight and of the states that are read."""
    module = kernels("mixed_op")
    node = _node(states, *rest)
    dstates = {j: empty_map(tuple(states[j].shape), gy) for j in reads}
    kept = module.Kept(maps, arguments, moments if node.given is None else node.given)
    found = module.backward(node, kept, as_map(gy), dstates)
    return [found.params, found.op_weight, found.input_weight, *dstates.values()]


def _save(ctx, inputs, output) -> None:
    states, *small = inputs[:7]
    ctx.affine, given, ctx.eps, ctx.precision, *_, ctx.reads = inputs[7:]
    ctx.save_for_backward(*output[1:], given, *small, *states)


def _formula(ctx, gy):
    maps, arguments, moments, given, *rest = ctx.saved_tensors
    small, states = rest[:6], list(rest[6:])
    found = _backward(
        gy, maps, arguments, moments, ctx.reads, states, *small, ctx.affine, given, ctx.eps, ctx.precision
    )
    dstates = dict(zip(ctx.reads, found[3:], strict=True))
    return [dstates.get(j) for j in range(len(states))], *found[:3]


once_differentiable(_forward, _backward, _save, _formula)


def mixed_op_triton(
    states, params, op_weight, input_weight, table, table_of_slot, drop, affine, given, want_statistics, eps
):
    """The call of the `triton` backend, see `mixed_op`."""
    if states[0].shape[2] > LARGEST:
        raise ValueError(f"the Triton kernels take at most {LARGEST} channels, not {states[0].shape[2]}")
    keep = recording(*states, params, op_weight, input_weight)
    plan = _plan(states, params, input_weight, table, affine)
    reads = [j for j in range(len(states)) if f"direct{j}" in plan.lists]
    y, _, _, moments = _forward(
        list(states), params, op_weight, input_weight, table, table_of_slot, single(drop), affine, single(given), eps,
        current_precision(), want_statistics, keep, list(plan.size), reads,
    )  # fmt: skip
    return y, moments if want_statistics else None
