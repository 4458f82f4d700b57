"""The classifier on top: mean over height and width (or all of it), then a linear layer with bias; what it reads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from autometa.ops._checks import check_count, check_states
from autometa.ops._native import refuses_unless
from autometa.ops._state_table import check_state_table, readers
from autometa.ops._triton import triton_refuses
from autometa.ops.backend import dispatch, implements
from autometa.ops.linear_head.cpp import features_width, linear_head_cpp
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
        needed = aligned(features_width([x.shape for x in states], flatten) * classes) + classes
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
    for own, reads in readers(table, table_of_slot, slots, [features_width([x.shape], flatten) for x in states]):
        if not reads:
            raise ValueError("a slot that reads no state has nothing to classify")
        found = _alike([states[j].index_select(0, own) for j in reads], params.index_select(0, own), classes, flatten)
        logits = logits.index_copy(0, own, found)
    return logits


def head_features(
    states: Sequence[Tensor],
    *,
    flatten: bool = False,
    table: Tensor | None = None,
    table_of_slot: Tensor | None = None,
) -> Tensor:
    """What `linear_head` of these states multiplies by its weights, `[S, N, F]`, in plain PyTorch.

    With a table F is what all states provide together; a slot's features stand in the order in which it reads them, and
    0 behind them.
    """
    parts = [x.flatten(2) if flatten else x.mean(dim=(3, 4)) for x in states]
    features = torch.cat(parts, dim=2)
    if table is None:
        return features
    rows = table if table_of_slot is None else table.index_select(0, table_of_slot)  # [S or 1, J]
    slots, batch, width = features.shape
    place, beside = [], width  # what a slot does not read goes behind the end, and is cut off
    for j, part in enumerate(parts):
        own = torch.arange(part.shape[2], device=features.device)
        place.append(torch.where(rows[:, j, None] < 0, beside + own, rows[:, j, None] + own))
        beside += part.shape[2]
    index = torch.cat(place, dim=1)[:, None].expand(slots, batch, width)
    return features.new_zeros(slots, batch, beside).scatter(2, index, features)[..., :width]


def _alike(states, params, classes, flatten):
    """Slots that all read all states."""
    features = head_features(states, flatten=flatten)
    weight, bias = read_parameters(params, head_parameters(features.shape[2], classes))
    return torch.baddbmm(bias[:, None], features, weight.transpose(1, 2))


implements("linear_head", "cpp", refuses=refuses_unless(torch.float32))(linear_head_cpp)
implements("linear_head", "triton", refuses=triton_refuses)(linear_head_triton)
