"""The Triton backend of `linear_head`."""

from __future__ import annotations

from torch import Tensor

from autometa.ops._native import once_differentiable, register
from autometa.ops._norm_triton import scratch
from autometa.ops._triton import as_map, empty_map, kernels, map_strides, rows
from autometa.ops.primitives import aligned


def _width(shapes, flatten: bool) -> int:
    """Features of states with these shapes."""
    return sum(shape[2] * (shape[3] * shape[4] if flatten else 1) for shape in shapes)


def _fake(states, params, classes, flatten):
    slots, batch = states[0].shape[:2]
    logits = params.new_empty(slots, batch, classes)
    return logits, params.new_empty(slots, batch, _width([x.shape for x in states], flatten))


@register(
    "linear_head_triton",
    "(Tensor[] states, Tensor params, SymInt classes, bool flatten) -> (Tensor, Tensor)",
    fake=_fake,
    devices=None,
)
def _forward(states, params, classes, flatten):
    """Logits, and the features `[S, N, F]` that the backward needs."""
    slots, batch = states[0].shape[:2]
    if any(x.dtype != params.dtype or x.shape[:2] != (slots, batch) for x in states):
        raise ValueError(f"states must all be {params.dtype} and [{slots}, {batch}, channels, height, width]")
    width = _width([x.shape for x in states], flatten)
    needed = aligned(width * classes) + classes
    if params.shape != (slots, max(needed, params.shape[1])):
        raise ValueError(f"params must be [{slots}, {needed}] or wider, not {list(params.shape)}")
    logits, features = scratch(params, slots, batch, classes), scratch(params, slots, batch, width)
    states, params = [as_map(x) for x in states], rows(params)
    kernels("linear_head").head(states, params, features, logits, aligned(width * classes), flatten)
    return logits, features


def _shapes(features: Tensor, sizes) -> list[tuple[int, ...]]:
    """(C, H, W) of each state one after another -> whole shapes."""
    return [(*features.shape[:2], *sizes[i : i + 3]) for i in range(0, len(sizes), 3)]


def _fake_backward(grad, features, params, sizes, flatten):
    made = [params.new_empty_strided(shape, map_strides(shape)) for shape in _shapes(features, sizes)]
    return [params.new_empty(params.shape), *made]


@register(
    "linear_head_triton_backward",
    "(Tensor grad, Tensor features, Tensor params, SymInt[] sizes, bool flatten) -> Tensor[]",
    fake=_fake_backward,
    devices=None,
)
def _backward(grad, features, params, sizes, flatten):
    """Gradients of params and of each state."""
    grad, params = grad.contiguous(), rows(params)
    dparams = scratch(params, *params.shape)
    grads = [empty_map(shape, params) for shape in _shapes(features, sizes)]
    bias = aligned(features.shape[2] * grad.shape[2])
    kernels("linear_head").head_backward(grads, grad, features, params, dparams, bias, flatten)
    return [dparams, *grads]


def _save(ctx, inputs, output) -> None:
    states, params, _, ctx.flatten = inputs
    ctx.sizes = [n for x in states for n in x.shape[2:]]
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1], params)


def _formula(ctx, grad, _):
    if grad is None:
        return (None,) * 4
    dparams, *grads = _backward(grad, *ctx.saved_tensors, ctx.sizes, ctx.flatten)
    return grads, dparams, None, None


once_differentiable(_forward, _backward, _save, _formula)


def linear_head_triton(states, params: Tensor, classes: int, flatten: bool) -> Tensor:
    """The call of the `triton` backend, see `linear_head`."""
    return _forward(list(states), params, classes, flatten)[0]
