"""The classifier on top: mean over height and width (or all of it), then a linear layer with bias."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from autometa.ops._linear_head_triton import linear_head_triton
from autometa.ops._memory import activation, activation_strides, as_activation, floats
from autometa.ops._native import compiled_or_raise, once_differentiable, pointer, refuses_unless, register, threads
from autometa.ops._triton import triton_refuses
from autometa.ops.backend import dispatch, implements
from autometa.ops.primitives import Shape, aligned, read_parameters


def head_parameters(features: int, classes: int) -> tuple[Shape, ...]:
    """weight `[classes, features]`, bias `[classes]`."""
    return (Shape("weight", (classes, features)), Shape("bias", (classes,)))


def linear_head(
    states: Sequence[Tensor], params: Tensor, classes: int, *, flatten: bool = False, backend: str | None = None
) -> Tensor:
    """states, each `[S, N, C_j, H_j, W_j]`, read as if concatenated over channels; params `[S, P]`.

    Features are means over height and width, or with `flatten` all values in the order channel, height, width.
    Returns logits `[S, N, classes]`.  Raises `ValueError` where params are too few.
    """
    call = dispatch("linear_head", params.device, params.dtype, backend)
    return call(states, params, classes, flatten)


@implements("linear_head", "reference")
def _reference(states, params, classes, flatten):
    if flatten:
        features = torch.cat([x.flatten(2) for x in states], dim=2)
    else:
        features = torch.cat([x.mean(dim=(3, 4)) for x in states], dim=2)
    weight, bias = read_parameters(params, head_parameters(features.shape[2], classes))
    return torch.baddbmm(bias[:, None], features, weight.transpose(1, 2))


def _width(shapes: Sequence[Sequence[int]], flatten: bool) -> int:
    """Features of states with these shapes."""
    return sum(shape[2] * (shape[3] * shape[4] if flatten else 1) for shape in shapes)


def _rows(params: Tensor) -> Tensor:
    return params if params.stride(1) == 1 else params.contiguous()


def _places(states: Sequence[Tensor]) -> list[tuple[int, ...]]:
    return [(pointer(x), *x.shape[2:]) for x in states]


def _fake(states, params, classes, flatten):
    slots, batch = states[0].shape[:2]
    logits = params.new_empty(slots, batch, classes)
    return logits, params.new_empty(slots, batch, _width([x.shape for x in states], flatten))


@register(
    "linear_head", "(Tensor[] states, Tensor params, SymInt classes, bool flatten) -> (Tensor, Tensor)", fake=_fake
)
def _cpp(states, params, classes, flatten):
    """Logits, and the features `[S, N, F]` that the backward needs."""
    slots, batch = states[0].shape[:2]
    if any(x.dtype != params.dtype or x.shape[:2] != (slots, batch) for x in states):
        raise ValueError(f"states must all be {params.dtype} and [{slots}, {batch}, channels, height, width]")
    states, params = [as_activation(x) for x in states], _rows(params)
    width = _width([x.shape for x in states], flatten)
    needed = aligned(width * classes) + classes
    if params.shape != (slots, max(needed, params.shape[1])):
        raise ValueError(f"params must be [{slots}, {needed}] or wider, not {list(params.shape)}")
    logits, features = torch.empty(slots, batch, classes), torch.empty(slots, batch, width)
    compiled_or_raise().linear_head(
        _places(states),
        pointer(params),
        slots,
        batch,
        classes,
        params.stride(0),
        flatten,
        pointer(features),
        pointer(logits),
        threads(),
    )
    return logits, features


@implements("linear_head", "cpp", refuses=refuses_unless(torch.float32))
def _call(states, params, classes, flatten):
    return _cpp(list(states), params, classes, flatten)[0]


def _shapes(slots: int, batch: int, sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """(C, H, W) of each state one after another -> whole shapes."""
    return [(slots, batch, *sizes[i : i + 3]) for i in range(0, len(sizes), 3)]


def _fake_backward(grad, features, params, sizes, flatten):
    shapes = _shapes(*features.shape[:2], sizes)
    made = [params.new_empty_strided(shape, activation_strides(shape)) for shape in shapes]
    return [params.new_empty(params.shape), *made]


@register(
    "linear_head_backward",
    "(Tensor grad, Tensor features, Tensor params, SymInt[] sizes, bool flatten) -> Tensor[]",
    fake=_fake_backward,
)
def _cpp_backward(grad, features, params, sizes, flatten):
    """Gradients of params and of each state."""
    grad, features, rows = grad.contiguous(), features.contiguous(), _rows(params)
    grad_params = floats(math.prod(params.shape)).view(params.shape)
    grads = [activation(*shape) for shape in _shapes(*features.shape[:2], sizes)]
    compiled_or_raise().linear_head_backward(
        pointer(grad),
        pointer(features),
        pointer(rows),
        *grad.shape,
        rows.stride(0),
        flatten,
        pointer(grad_params),
        grad_params.stride(0),
        _places(grads),
        threads(),
    )
    return [grad_params, *grads]


def _save(ctx, inputs, output) -> None:
    states, params, _, ctx.flatten = inputs
    ctx.sizes = [n for x in states for n in x.shape[2:]]
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1], params)


def _formula(ctx, grad, _):
    grad_params, *grads = _cpp_backward(grad, *ctx.saved_tensors, ctx.sizes, ctx.flatten)
    return grads, grad_params, None, None


once_differentiable(_cpp, _cpp_backward, _save, _formula)
implements("linear_head", "triton", refuses=triton_refuses)(linear_head_triton)
