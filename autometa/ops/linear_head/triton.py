"""The Triton backend of `linear_head`."""

from __future__ import annotations

from torch import Tensor

from autometa.ops._native import arena_rows, once_differentiable, register
from autometa.ops._norm_triton import scratch
from autometa.ops._state_table import StateReads
from autometa.ops._triton import as_map, empty_map, kernels, map_strides
from autometa.ops.linear_head.cpp import (
    ARGUMENTS,
    BACKWARD_ARGUMENTS,
    fake,
    features_width,
    formula,
    save,
    whole_shapes,
)
from autometa.ops.primitives import aligned


def _reads(shapes, params: Tensor, flatten: bool, table, of_slot) -> StateReads | None:
    """Which states slots read, None where all read all of them."""
    if table is None:
        return None
    found = StateReads.of(table, of_slot, [features_width([shape], flatten) for shape in shapes], params.device)
    if found.narrowest == 0:
        raise ValueError("a slot that reads no state has nothing to classify")
    return found


@register("linear_head_triton", f"({ARGUMENTS}) -> (Tensor, Tensor)", fake=fake, devices=None)
def _forward(states, params, classes, flatten, table, of_slot):
    """Logits, and the features `[S, N, F]` that the backward needs: first those that a slot reads, then 0."""
    slots, batch = states[0].shape[:2]
    if any(x.dtype != params.dtype or x.shape[:2] != (slots, batch) for x in states):
        raise ValueError(f"states must all be {params.dtype} and [{slots}, {batch}, channels, height, width]")
    width = features_width([x.shape for x in states], flatten)
    reads = _reads([x.shape for x in states], params, flatten, table, of_slot)
    most = reads.widest if reads else width
    needed = aligned(most * classes) + classes
    if params.shape != (slots, max(needed, params.shape[1])):
        raise ValueError(f"params must be [{slots}, {needed}] or wider, not {list(params.shape)}")
    logits = scratch(params, slots, batch, classes)
    features = scratch(params, slots, batch, width) if table is None else params.new_zeros(slots, batch, width)
    states, params = [as_map(x) for x in states], arena_rows(params)
    kernels("linear_head").head(states, params, features, logits, aligned(width * classes), flatten, reads)
    return logits, features


def _fake_backward(grad, features, params, sizes, flatten, *_):
    made = [params.new_empty_strided(shape, map_strides(shape)) for shape in whole_shapes(features, sizes)]
    return [params.new_empty(params.shape), *made]


@register("linear_head_triton_backward", f"({BACKWARD_ARGUMENTS}) -> Tensor[]", fake=_fake_backward, devices=None)
def _backward(grad, features, params, sizes, flatten, table, of_slot):
    """Gradients of params and of each state."""
    grad, params = grad.contiguous(), arena_rows(params)
    dparams = scratch(params, *params.shape)
    shapes = whole_shapes(features, sizes)
    grads = [empty_map(shape, params) for shape in shapes]
    bias = aligned(features.shape[2] * grad.shape[2])
    reads = _reads(shapes, params, flatten, table, of_slot)
    kernels("linear_head").head_backward(grads, grad, features, params, dparams, bias, flatten, reads)
    return [dparams, *grads]


once_differentiable(_forward, _backward, save, formula(_backward))


def linear_head_triton(states, params: Tensor, classes: int, flatten: bool, table=None, table_of_slot=None) -> Tensor:
    """The call of the `triton` backend, see `linear_head`."""
    return _forward(list(states), params, classes, flatten, table, table_of_slot)[0]
