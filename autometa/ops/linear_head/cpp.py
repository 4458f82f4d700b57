"""The compiled backend of `linear_head`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from autometa.ops._memory import activation, activation_strides, as_activation, floats, numbers
from autometa.ops._native import arena_rows, contiguous, once_differentiable, register, run, threads
from autometa.ops._state_table import table_arguments

ARGUMENTS = "Tensor[] states, Tensor params, SymInt classes, bool flatten, Tensor? table, Tensor? table_of_slot"
BACKWARD_ARGUMENTS = (
    "Tensor grad, Tensor features, Tensor params, SymInt[] sizes, bool flatten, Tensor? table, Tensor? table_of_slot"
)


def features_width(shapes: Sequence[Sequence[int]], flatten: bool) -> int:
    """Features of states with these shapes."""
    return sum(shape[2] * (shape[3] * shape[4] if flatten else 1) for shape in shapes)


def whole_shapes(features: Tensor, sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """(C, H, W) of each state one after another -> whole shapes."""
    return [(*features.shape[:2], *sizes[i : i + 3]) for i in range(0, len(sizes), 3)]


def fake(states, params, classes, flatten, *_):
    """Logits and features of the right shapes."""
    slots, batch = states[0].shape[:2]
    logits = params.new_empty(slots, batch, classes)
    return logits, params.new_empty(slots, batch, features_width([x.shape for x in states], flatten))


def _places(states: Sequence[Tensor]) -> list[tuple[int, ...]]:
    return [(x.data_ptr(), *x.shape[2:]) for x in states]


@register("linear_head", f"({ARGUMENTS}) -> (Tensor, Tensor)", fake=fake)
def _forward(states, params, classes, flatten, table, table_of_slot):
    """Logits, and the features `[S, N, F]` that the backward needs."""
    slots, batch = states[0].shape[:2]
    states, params = [as_activation(x) for x in states], arena_rows(params)
    width = features_width([x.shape for x in states], flatten)
    logits, features = numbers(slots, batch, classes), numbers(slots, batch, width)
    if table is not None:
        features.zero_()
    tables = contiguous(table, table_of_slot)
    run(
        "linear_head", _places(states), params, slots, batch, classes, params.stride(0), flatten,
        table_arguments(*tables), features, logits, threads(),
    )  # fmt: skip
    return logits, features


def _fake_backward(grad, features, params, sizes, flatten, *_):
    shapes = whole_shapes(features, sizes)
    made = [params.new_empty_strided(shape, activation_strides(shape)) for shape in shapes]
    return [params.new_empty(params.shape), *made]


@register("linear_head_backward", f"({BACKWARD_ARGUMENTS}) -> Tensor[]", fake=_fake_backward)
def _backward(grad, features, params, sizes, flatten, table, table_of_slot):
    """Gradients of params and of each state."""
    tables = contiguous(table, table_of_slot)
    grad, features, rows = grad.contiguous(), features.contiguous(), arena_rows(params)
    grad_params = floats(math.prod(params.shape)).view(params.shape)
    grads = [activation(*shape) for shape in whole_shapes(features, sizes)]
    run(
        "linear_head_backward", grad, features, rows, *grad.shape, rows.stride(0), flatten, table_arguments(*tables),
        grad_params, grad_params.stride(0), _places(grads), threads(),
    )  # fmt: skip
    return [grad_params, *grads]


def save(ctx, inputs, output) -> None:
    """What `formula` needs."""
    states, params, _, ctx.flatten, *tables = inputs
    ctx.sizes = [n for x in states for n in x.shape[2:]]
    ctx.save_for_backward(output[1], params, *tables)


def formula(backward):
    """The gradient by the op `backward`."""

    def gradient(ctx, grad):
        features, params, *tables = ctx.saved_tensors
        dparams, *grads = backward(grad, features, params, ctx.sizes, ctx.flatten, *tables)
        return grads, dparams

    return gradient


once_differentiable(_forward, _backward, save, formula(_backward))


def linear_head_cpp(states, params: Tensor, classes: int, flatten: bool, table=None, table_of_slot=None) -> Tensor:
    """The call of the `cpp` backend, see `linear_head`."""
    return _forward(list(states), params, classes, flatten, table, table_of_slot)[0]
