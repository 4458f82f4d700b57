"""The mixed node op: all edges into one node of a cell, for all slots at once.

For slot s and image n (MetaNAS section 3.2, DARTS section 2.2)::

    y[s, n] = sum_i  g[s, edge(i)] * w[s, i] * d[s, n, i] * BN(op_i(x_state(i)[s, n]; theta[s]))

over the op instances i of the node.  An instance whose weight or whose edge's input weight is exactly 0 is
pruned: not evaluated, reads no parameters, and every gradient through it is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from autometa.ops import gates
from autometa.ops._checks import check_eps, check_option, check_states
from autometa.ops._native import refuses_unless
from autometa.ops._registered import apart, lacking_for
from autometa.ops._state_table import check_rows_of_slots
from autometa.ops._triton import triton_refuses
from autometa.ops.backend import dispatch, implements
from autometa.ops.batch_norm import batch_norm, batch_statistics
from autometa.ops.folding import fold, per_channel, unfold
from autometa.ops.mixed_op.cpp import mixed_op_cpp
from autometa.ops.mixed_op.triton import mixed_op_triton
from autometa.ops.primitives import BY_CODE, aligned, read_parameters

STATE, EDGE, PRIMITIVE, STRIDE, OFFSET = range(5)
COLUMNS = 5
STAGES = 2


def mixed_op(
    states: Sequence[Tensor],
    params: Tensor,
    op_weight: Tensor,
    input_weight: Tensor,
    table: Tensor,
    table_of_slot: Tensor | None = None,
    *,
    drop: Tensor | None = None,
    affine: bool = False,
    given: Tensor | None = None,
    want_statistics: bool = False,
    eps: float = 1e-5,
    backend: str | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Evaluate one node.

    Args:
        states: input states, each `[S, N, C, H_j, W_j]`; every instance must give the same output size.
        params: `[S, P]`, this node's block of the arena.
        op_weight: `[S, I]`, one weight per op instance.
        input_weight: `[S, E]`, one weight per edge.
        table: int64 `[T, I, 5]`, columns state, edge, primitive code, stride, offset of the first parameter in
            `params`; further parameters of the instance follow, each at the next multiple of 16.  A negative
            primitive code marks an unused row.
        table_of_slot: int64 `[S]`, which table a slot follows; None where T = 1.
        drop: `[S, N, I]` of 0 or 1/keep (drop path; 1 for identities), None where off.
        affine: every normalisation has gamma and beta among the parameters.
        given: `[S, I, 2, 2, C]` (stage; mean, biased variance), used in place of batch statistics.
        want_statistics: also return the statistics of this batch in that form, detached.
        eps: added to variances.
        backend: force a backend.

    Returns:
        y `[S, N, C, H', W']` and the statistics or None.  Differentiable in states, params and both weights.

    Instances of registered primitives, which no kernel knows, run through the reference, the others where they would.

    Raises:
        ValueError: sizes, dtypes or devices that do not fit together.  BackendError: a forced backend cannot run.
    """
    _check(states, params, op_weight, input_weight, table, table_of_slot)
    _check_options(states, params.device, table, drop, given)
    check_eps(eps)
    call = dispatch("mixed_op", params.device, params.dtype, backend, lacking=lacking_for([table], backend))
    parts = None if call is _reference else apart(table)

    def run(call: Callable, own: Tensor) -> tuple[Tensor, Tensor | None]:
        return call(
            states, params, op_weight, input_weight, own, table_of_slot, drop, affine, given, want_statistics, eps
        )

    if parts is None:
        return run(call, table)
    if not parts.kernels_have_work:
        return run(_reference, table)
    (y, found), (other, others) = run(call, parts.built_in), run(_reference, parts.registered)
    if want_statistics:
        found = torch.where(parts.mask_of(table_of_slot, len(found)), others, found)
    return y + other, found


def _check(states, params, op_weight, input_weight, table, table_of_slot) -> None:
    slots, _ = check_states(states, params, "mixed_op")
    channels, dtype, device = states[0].shape[2], params.dtype, params.device
    if any(x.shape[2] != channels for x in states):
        raise ValueError("states must all be [slots, batch, channels, height, width] with equal first three sizes")
    if any(x.dtype != dtype or x.device != device for x in (op_weight, input_weight)):
        raise ValueError(f"op_weight and input_weight must be {dtype} on {device}, as params is")
    if table.dim() != 3 or table.shape[2] != COLUMNS or table.dtype != torch.int64:
        raise ValueError(f"table must be int64 [tables, instances, {COLUMNS}], not {list(table.shape)} {table.dtype}")
    check_rows_of_slots(table, table_of_slot, params)
    if op_weight.shape != (slots, table.shape[1]):
        raise ValueError(f"op_weight must be [{slots}, {table.shape[1]}], not {list(op_weight.shape)}")
    if input_weight.dim() != 2 or input_weight.shape[0] != slots or input_weight.shape[1] == 0:
        raise ValueError(f"input_weight must be [{slots}, edges], one row per slot, not {list(input_weight.shape)}")


def _check_options(states, device, table, drop, given) -> None:
    slots, batch, channels = states[0].shape[:3]
    check_option("drop", drop, (slots, batch, table.shape[1]), device)
    check_option("given", given, (slots, table.shape[1], STAGES, 2, channels), device)


class _Selection:
    """The inputs of those slots that evaluate an instance; what instances share is computed once."""

    def __init__(self, states: Sequence[Tensor], index: Tensor | None) -> None:
        self.states, self.index = states, index
        self._folded: dict[tuple[int, bool], Tensor] = {}

    @property
    def slots(self) -> int:
        return len(self.states[0]) if self.index is None else len(self.index)

    def pick(self, x: Tensor) -> Tensor:
        return x if self.index is None else x.index_select(0, self.index)

    def folded(self, j: int, relu: bool) -> Tensor:
        key = (j, relu)
        if key not in self._folded:
            if relu:
                self._folded[key] = gates.relu(self.folded(j, False), self.slots)
            else:
                self._folded[key] = fold(self.pick(self.states[j]))
        return self._folded[key]


def _instance(select, params, scale, row, affine, given, want, eps):
    """One instance on the selected slots: `scale * BN(op(x))` folded, and its statistics by stage."""
    state, _, code, stride, offset = row
    primitive = BY_CODE[code]
    slots = scale.shape[0]
    x = select.folded(state, False)
    channels = x.shape[1] // slots
    stages = primitive.convolutions(channels, stride)
    if not stages:
        return x * per_channel(scale, channels)[:, None, None], []
    shapes = primitive.parameters(channels, stride, affine)
    width = sum(aligned(p.size) for p in shapes)
    values = read_parameters(select.pick(params).narrow(1, offset, width), shapes)
    per_stage = len(values) // len(stages)
    statistics = []
    for stage, weights in enumerate(stages):
        own = values[stage * per_stage : (stage + 1) * per_stage]
        relu_x = None
        if weights:
            relu_x = select.folded(state, True) if stage == 0 else gates.relu(x, slots)
        z = primitive.run(x, relu_x, own, slots, stride if stage == 0 else 1)
        if want:
            statistics.append(batch_statistics(z, slots))
        gamma, beta = own[-2:] if affine else (None, None)
        last = scale if stage == len(stages) - 1 else None
        x = batch_norm(z, slots, eps, last, gamma, beta, None if given is None else given[:, stage])
    return x, statistics


def _live_instances(op_weight, input_weight, rows, table_of_slot):
    """Yield (instance, row, live slots, scales `[S]`) for every instance that some slot evaluates."""
    for t, table_rows in enumerate(rows):
        edges = torch.tensor([r[EDGE] for r in table_rows], dtype=torch.int64, device=op_weight.device)
        scales = op_weight * input_weight.index_select(1, edges)
        live = (op_weight != 0) & (input_weight.index_select(1, edges) != 0)
        if table_of_slot is not None:
            live = live & (table_of_slot == t)[:, None]
        for i, flags in enumerate(live.t().tolist()):
            row = table_rows[i]
            if row[PRIMITIVE] >= 0 and BY_CODE[row[PRIMITIVE]].name != "none" and any(flags):
                yield i, row, tuple(flags), scales[:, i]


@implements("mixed_op", "reference")
def _reference(
    states, params, op_weight, input_weight, table, table_of_slot, drop, affine, given, want_statistics, eps
):
    slots, channels = states[0].shape[0], states[0].shape[2]
    rows = table.tolist()
    _check_rows(rows, len(states), input_weight.shape[1], params.shape[1])
    if (
        table_of_slot is not None
        and slots
        and not 0 <= int(table_of_slot.min()) <= int(table_of_slot.max()) < len(rows)
    ):
        raise ValueError(f"table_of_slot names a table that does not exist; there are {len(rows)}")
    statistics = None
    if want_statistics:
        statistics = params.new_zeros(slots, op_weight.shape[1], STAGES, 2, channels)
    total, selections = None, {}
    for i, row, flags, scales in _live_instances(op_weight, input_weight, rows, table_of_slot):
        if flags not in selections:
            index = (
                None if all(flags) else torch.tensor(flags, dtype=torch.bool, device=params.device).nonzero().flatten()
            )
            if index is not None and gates.are_paired():
                gates.in_pairs(index, slots)
            selections[flags] = _Selection(states, index)
        select = selections[flags]
        scale = select.pick(scales)
        chosen = None if given is None else select.pick(given)[:, i]
        y, found = _instance(select, params, scale, row, affine, chosen, want_statistics, eps)
        y = unfold(y, scale.shape[0])
        if drop is not None:
            y = y * select.pick(drop)[:, :, i, None, None, None].to(y.dtype)
        for stage, value in enumerate(found):
            statistics[slice(None) if select.index is None else select.index, i, stage] = value
        total = _accumulate(total, y, select.index, slots)
    if total is None:
        total = _empty_node(states, rows)
    return total, statistics


def _accumulate(total: Tensor | None, y: Tensor, index: Tensor | None, slots: int) -> Tensor:
    if index is None:
        return y if total is None else total + y
    if total is None:
        total = _zeros(slots, y)
    return total.index_add(0, index, y)


def _zeros(slots: int, like: Tensor) -> Tensor:
    _, batch, channels, height, width = like.shape
    return like.new_zeros(batch, height, width, slots, channels).permute(3, 0, 4, 1, 2)


def _check_rows(rows, states: int, edges: int, width: int) -> None:
    """What a table says: what the compiled op checks for itself."""
    used = [row for table in rows for row in table if row[PRIMITIVE] >= 0]
    if not used or any(not 0 <= row[STATE] < states for row in used):
        raise ValueError(f"table must have an instance, and states 0..{states - 1} only")
    for row in used:
        if not (0 <= row[EDGE] < edges and row[PRIMITIVE] < len(BY_CODE) and row[STRIDE] in (1, 2)):
            raise ValueError(
                f"table: edge {row[EDGE]} must be in 0..{edges - 1}, primitive {row[PRIMITIVE]} in "
                f"0..{len(BY_CODE) - 1}, stride {row[STRIDE]} be 1 or 2"
            )
        if not 0 <= row[OFFSET] <= width:
            raise ValueError(f"parameters at {row[OFFSET]} lie outside the {width} of its block")


def _empty_node(states, rows) -> Tensor:
    """A node without a live instance is 0, at the size its instances would give."""
    row = next(r for table in rows for r in table if r[PRIMITIVE] >= 0)
    stride = row[STRIDE]
    return torch.zeros_like(states[row[STATE]][..., ::stride, ::stride])


implements("mixed_op", "cpp", refuses=refuses_unless(torch.float32))(mixed_op_cpp)
implements("mixed_op", "triton", refuses=triton_refuses)(mixed_op_triton)
