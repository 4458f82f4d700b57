"""The classifier on top: mean over height and width (or all of it), then a linear layer with bias."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from autometa.ops._checks import check_count, check_states
from autometa.ops._memory import activation, activation_strides, as_activation, floats, numbers
from autometa.ops._native import compiled_or_raise, once_differentiable, pointer, refuses_unless, register, threads
from autometa.ops._state_table import check_state_table, readers, table_arguments
from autometa.ops._triton import triton_refuses
from autometa.ops.backend import dispatch, implements
from autometa.ops.linear_head.triton import linear_head_triton
from autometa.ops.primitives import Shape, aligned, read_parameters


def head_parameters(features: int, classes: int) -> tuple[Shape, ...]:
    """weight `[classes, features]`, bias `[classes]`."""
    return (Shape("weight", (classes, features)), Shape("bias", (classes,)))


def linear_head(
    states: Sequence[Tensor],
    params: Tensor,
    classes: int,
    *,
    flatten: bool = False,
    table: Tensor | None = None,
    table_of_slot: Tensor | None = None,
    backend: str | None = None,
) -> Tensor:
    """states, each `[S, N, C_j, H_j, W_j]`, read as if concatenated over channels; params `[S, P]`.

    Features are means over height and width, or with `flatten` all values in the order channel, height, width.
    Where slots read different states, table `[T, J]` and table_of_slot `[S]` tell which, see `_state_table`; a slot's
    parameters are then those of `head_parameters(features of that slot, classes)`.
    Returns logits `[S, N, classes]`.  Raises `ValueError` where params are too few, or sizes, tables or devices do not
    fit together.
    """
    slots, _ = check_states(states, params, "linear_head")
    check_count("classes", classes)
    check_state_table(table, table_of_slot, params, len(states))
    if table is None:
        needed = aligned(_width([x.shape for x in states], flatten) * classes) + classes
        if params.shape[1] < needed:
            raise ValueError(f"params must be [{slots}, {needed}] or wider, not {list(params.shape)}")
    call = dispatch("linear_head", params.device, params.dtype, backend)
    more = () if table is None else (table, table_of_slot)
    return call(states, params, classes, flatten, *more)


@implements("linear_head", "reference")
def _reference(states, params, classes, flatten, table=None, table_of_slot=None):
    if table is None:
        return _alike(states, params, classes, flatten)
    slots, batch = states[0].shape[:2]
    logits = params.new_zeros(slots, batch, classes)
    for own, reads in readers(table, table_of_slot, slots, [_width([x.shape], flatten) for x in states]):
        if not reads:
            raise ValueError("a slot that reads no state has nothing to classify")
        found = _alike([states[j].index_select(0, own) for j in reads], params.index_select(0, own), classes, flatten)
        logits = logits.index_copy(0, own, found)
    return logits


def _alike(states, params, classes, flatten):
    """Slots that all read all states."""
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


def _contiguous(*tables: Tensor | None) -> list[Tensor | None]:
    return [None if t is None else t.contiguous() for t in tables]


def _places(states: Sequence[Tensor]) -> list[tuple[int, ...]]:
    return [(pointer(x), *x.shape[2:]) for x in states]


def _fake(states, params, classes, flatten, table, table_of_slot):
    slots, batch = states[0].shape[:2]
    logits = params.new_empty(slots, batch, classes)
    return logits, params.new_empty(slots, batch, _width([x.shape for x in states], flatten))


@register(
    "linear_head",
    "(Tensor[] states, Tensor params, SymInt classes, bool flatten, Tensor? table, Tensor? table_of_slot)"
    " -> (Tensor, Tensor)",
    fake=_fake,
)
def _cpp(states, params, classes, flatten, table, table_of_slot):
    """Logits, and the features `[S, N, F]` that the backward needs."""
    slots, batch = states[0].shape[:2]
    states, params = [as_activation(x) for x in states], _rows(params)
    width = _width([x.shape for x in states], flatten)
    logits, features = numbers(slots, batch, classes), numbers(slots, batch, width)
    if table is not None:
        features.zero_()
    tables = _contiguous(table, table_of_slot)
    compiled_or_raise().linear_head(
        _places(states),
        pointer(params),
        slots,
        batch,
        classes,
        params.stride(0),
        flatten,
        table_arguments(*tables),
        pointer(features),
        pointer(logits),
        threads(),
    )
    return logits, features


@implements("linear_head", "cpp", refuses=refuses_unless(torch.float32))
def _call(states, params, classes, flatten, table=None, table_of_slot=None):
    return _cpp(list(states), params, classes, flatten, table, table_of_slot)[0]


def _shapes(slots: int, batch: int, sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """(C, H, W) of each state one after another -> whole shapes."""
    return [(slots, batch, *sizes[i : i + 3]) for i in range(0, len(sizes), 3)]


def _fake_backward(grad, features, params, sizes, flatten, *_):
    shapes = _shapes(*features.shape[:2], sizes)
    made = [params.new_empty_strided(shape, activation_strides(shape)) for shape in shapes]
    return [params.new_empty(params.shape), *made]


@register(
    "linear_head_backward",
    "(Tensor grad, Tensor features, Tensor params, SymInt[] sizes, bool flatten, Tensor? table, Tensor? table_of_slot)"
    " -> Tensor[]",
    fake=_fake_backward,
)
def _cpp_backward(grad, features, params, sizes, flatten, table, table_of_slot):
    """Gradients of params and of each state."""
    tables = _contiguous(table, table_of_slot)
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
        table_arguments(*tables),
        pointer(grad_params),
        grad_params.stride(0),
        _places(grads),
        threads(),
    )
    return [grad_params, *grads]


def _save(ctx, inputs, output) -> None:
    states, params, _, ctx.flatten, *tables = inputs
    ctx.sizes = [n for x in states for n in x.shape[2:]]
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1], params, *tables)


def _formula(ctx, grad, _):
    features, params, *tables = ctx.saved_tensors
    grad_params, *grads = _cpp_backward(grad, features, params, ctx.sizes, ctx.flatten, *tables)
    return grads, grad_params, *(None,) * 4


once_differentiable(_cpp, _cpp_backward, _save, _formula)
implements("linear_head", "triton", refuses=triton_refuses)(linear_head_triton)
