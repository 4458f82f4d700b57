"""The Triton backend of `linear_head`."""

from __future__ import annotations

from torch import Tensor

from autometa.ops._native import once_differentiable, register
from autometa.ops._norm_triton import scratch
from autometa.ops._state_table import StateReads
from autometa.ops._triton import as_map, empty_map, kernels, map_strides, rows
from autometa.ops.primitives import aligned


def _width(shapes, flatten: bool) -> int:
    """Features of states with these shapes."""
    return sum(shape[2] * (shape[3] * shape[4] if flatten else 1) for shape in shapes)


def _fake(states, params, classes, flatten, *_):
    slots, batch = states[0].shape[:2]
    logits = params.new_empty(slots, batch, classes)
    return logits, params.new_empty(slots, batch, _width([x.shape for x in states], flatten))


def _reads(shapes, params: Tensor, flatten: bool, table, of_slot) -> StateReads | None:
    """Which states slots read, None where all read all of them."""
    if table is None:
        return None
    found = StateReads.of(table, of_slot, [_width([shape], flatten) for shape in shapes], params.device)
    if found.narrowest == 0:
        raise ValueError("a slot that reads no state has nothing to classify")
    return found


@register(
    "linear_head_triton",
    "(Tensor[] states, Tensor params, SymInt classes, bool flatten, Tensor? table, Tensor? of_slot)"
    " -> (Tensor, Tensor)",
    fake=_fake,
    devices=None,
)
def _forward(states, params, classes, flatten, table, of_slot):
    """Logits, and the features `[S, N, F]` that the backward needs: first those that a slot reads, then 0."""
    slots, batch = states[0].shape[:2]
    if any(x.dtype != params.dtype or x.shape[:2] != (slots, batch) for x in states):
        raise ValueError(f"states must all be {params.dtype} and [{slots}, {batch}, channels, height, width]")
    width = _width([x.shape for x in states], flatten)
    reads = _reads([x.shape for x in states], params, flatten, table, of_slot)
    most = reads.widest if reads else width
    needed = aligned(most * classes) + classes
    if params.shape != (slots, max(needed, params.shape[1])):
        raise ValueError(f"params must be [{slots}, {needed}] or wider, not {list(params.shape)}")
    logits = scratch(params, slots, batch, classes)
    features = scratch(params, slots, batch, width) if table is None else params.new_zeros(slots, batch, width)
    states, params = [as_map(x) for x in states], rows(params)
    kernels("linear_head").head(states, params, features, logits, aligned(width * classes), flatten, reads)
    return logits, features


def _shapes(features: Tensor, sizes) -> list[tuple[int, ...]]:
    """(C, H, W) of each state one after another -> whole shapes."""
    return [(*features.shape[:2], *sizes[i : i + 3]) for i in range(0, len(sizes), 3)]


def _fake_backward(grad, features, params, sizes, flatten, *_):
    made = [params.new_empty_strided(shape, map_strides(shape)) for shape in _shapes(features, sizes)]
    return [params.new_empty(params.shape), *made]


@register(
    "linear_head_triton_backward",
    "(Tensor grad, Tensor features, Tensor params, SymInt[] sizes, bool flatten, Tensor? table, Tensor? of_slot)"
    " -> Tensor[]",
    fake=_fake_backward,
    devices=None,
)
def _backward(grad, features, params, sizes, flatten, table, of_slot):
    """Gradients of params and of each state."""
    grad, params = grad.contiguous(), rows(params)
    dparams = scratch(params, *params.shape)
    shapes = _shapes(features, sizes)
    grads = [empty_map(shape, params) for shape in shapes]
    bias = aligned(features.shape[2] * grad.shape[2])
    reads = _reads(shapes, params, flatten, table, of_slot)
    kernels("linear_head").head_backward(grads, grad, features, params, dparams, bias, flatten, reads)
    return [dparams, *grads]


def _save(ctx, inputs, output) -> None:
    states, params, _, ctx.flatten, *tables = inputs
    ctx.sizes = [n for x in states for n in x.shape[2:]]
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1], params, *tables)


def _formula(ctx, grad, _):
    if grad is None:
        return (None,) * 6
    features, params, *tables = ctx.saved_tensors
    dparams, *grads = _backward(grad, features, params, ctx.sizes, ctx.flatten, *tables)
    return grads, dparams, *(None,) * 4


once_differentiable(_forward, _backward, _save, _formula)


def linear_head_triton(states, params: Tensor, classes: int, flatten: bool, table=None, table_of_slot=None) -> Tensor:
    """The call of the `triton` backend, see `linear_head`."""
    return _forward(list(states), params, classes, flatten, table, table_of_slot)[0]
