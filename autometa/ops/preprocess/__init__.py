"""Cell preprocessing: bring an earlier cell's output to C channels and to the right resolution.

`ReLU -> 1x1 convolution -> BN`, or the factorised reduction where the input has twice the resolution
(DARTS, section 3.1.1).  The input is a list of states, read as if concatenated over channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from autometa.ops import gates
from autometa.ops._checks import check_count, check_eps, check_option, check_states
from autometa.ops._native import refuses_unless
from autometa.ops._state_table import check_state_table, readers
from autometa.ops._triton import triton_refuses
from autometa.ops.backend import dispatch, implements
from autometa.ops.batch_norm import batch_norm, batch_statistics
from autometa.ops.folding import cat_channels, fold, no_slots, unfold
from autometa.ops.preprocess.cpp import preprocess_cpp
from autometa.ops.preprocess.triton import preprocess_triton, unequal
from autometa.ops.primitives import Shape, aligned, conv, factorised_reduction, read_parameters


def preprocess_parameters(c_in: int, channels: int, reduce: bool, affine: bool) -> tuple[Shape, ...]:
    """Parameters in order: pointwise `[C, C_in, 1, 1]`, or its two halves where it reduces; gamma and beta."""
    if reduce:
        half = channels // 2
        found = [Shape("pointwise_a", (half, c_in, 1, 1)), Shape("pointwise_b", (channels - half, c_in, 1, 1))]
    else:
        found = [Shape("pointwise", (channels, c_in, 1, 1))]
    if affine:
        found += [Shape("bn_gamma", (channels,)), Shape("bn_beta", (channels,))]
    return tuple(found)


def preprocess(
    states: Sequence[Tensor],
    params: Tensor,
    channels: int,
    *,
    reduce: bool = False,
    affine: bool = False,
    given: Tensor | None = None,
    want_statistics: bool = False,
    eps: float = 1e-5,
    table: Tensor | None = None,
    table_of_slot: Tensor | None = None,
    backend: str | None = None,
) -> tuple[Tensor, Tensor | None]:
    """states, each `[S, N, C_j, H, W]`; params `[S, P]` as `preprocess_parameters` lists them, each at a multiple
    of 16; given `[S, 2, C]`.  Returns y `[S, N, C, H', W']` and its statistics `[S, 2, C]` or None.

    Where slots read different states, table `[T, J]` and table_of_slot `[S]` tell which, see `_state_table`; a slot's
    parameters are then those of `preprocess_parameters(C_in of that slot, ...)`.  A slot that reads no state has none,
    its y and its gradients are 0.

    Raises `ValueError` where sizes, dtypes or devices do not fit together.
    """
    _check(states, params, channels, reduce, affine, given, table)
    check_state_table(table, table_of_slot, params, len(states))
    check_eps(eps)
    call = dispatch("preprocess", params.device, params.dtype, backend, lacking=unequal(states, table))
    more = () if table is None else (table, table_of_slot)
    return call(states, params, channels, reduce, affine, given, want_statistics, eps, *more)


def _check(states, params, channels, reduce, affine, given, table) -> None:
    slots, _ = check_states(states, params, "preprocess")
    check_count("channels", channels)
    if any(x.shape[3:] != states[0].shape[3:] for x in states):
        raise ValueError("states must agree in slots, batch, height and width")
    if table is None:
        shapes = preprocess_parameters(sum(x.shape[2] for x in states), channels, reduce, affine)
        needed = sum(aligned(p.size) for p in shapes)
        if params.shape[1] < needed:
            raise ValueError(f"params must be [{slots}, {needed}] or wider, not {list(params.shape)}")
    check_option("given", given, (slots, 2, channels), params.device)


@implements("preprocess", "reference")
def _reference(states, params, channels, reduce, affine, given, want_statistics, eps, table=None, table_of_slot=None):
    if table is None:
        return _alike(states, params, channels, reduce, affine, given, want_statistics, eps)
    slots, batch, _, height, width = states[0].shape
    size = tuple(-(-n // 2) for n in (height, width)) if reduce else (height, width)
    y = params.new_zeros(slots, batch, channels, *size)
    statistics = params.new_zeros(slots, 2, channels) if want_statistics else None
    for own, reads in readers(table, table_of_slot, slots, [x.shape[2] for x in states]):
        if not reads:
            continue
        if gates.are_paired():
            gates.in_pairs(own, slots)
        shapes = preprocess_parameters(sum(states[j].shape[2] for j in reads), channels, reduce, affine)
        if params.shape[1] < sum(aligned(p.size) for p in shapes):
            raise ValueError(f"params must be wider than {params.shape[1]} for slots that read {len(reads)} states")
        found, kept = _alike(
            [states[j].index_select(0, own) for j in reads],
            params.index_select(0, own),
            channels,
            reduce,
            affine,
            None if given is None else given.index_select(0, own),
            want_statistics,
            eps,
        )
        y = y.index_copy(0, own, found)
        if statistics is not None:
            statistics[own] = kept
    return y, statistics


def _alike(states, params, channels, reduce, affine, given, want_statistics, eps):
    """Slots that all read all states."""
    slots = params.shape[0]
    if slots == 0:
        size = [-(-n // 2) if reduce else n for n in states[0].shape[3:]]
        y = no_slots((0, states[0].shape[1], channels, *size), *states, params)
        return y, params.new_zeros(0, 2, channels) if want_statistics else None
    joined = cat_channels(list(states))
    values = read_parameters(params, preprocess_parameters(joined.shape[2], channels, reduce, affine))
    x = gates.relu(fold(joined), slots)
    z = factorised_reduction(x, values[0], values[1], slots) if reduce else conv(x, values[0], slots)
    gamma, beta = values[-2:] if affine else (None, None)
    statistics = batch_statistics(z, slots) if want_statistics else None
    return unfold(batch_norm(z, slots, eps, None, gamma, beta, given), slots), statistics


implements("preprocess", "cpp", refuses=refuses_unless(torch.float32))(preprocess_cpp)
implements("preprocess", "triton", refuses=triton_refuses)(preprocess_triton)
