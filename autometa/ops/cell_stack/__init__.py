"""A network of cells as a program of ops: evaluated op by op for all slots, or slot by slot in one call.

With many small networks side by side the second keeps a slot's activations near the processor from its first op to its
last, forward and backward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from autometa.brief import brief
from autometa.ops._checks import check_states
from autometa.ops._native import refuses_unless
from autometa.ops._registered import lacking_for
from autometa.ops.backend import BackendError, dispatch, implements
from autometa.ops.cell_stack.cpp import cell_stack_cpp
from autometa.ops.conv_block import ConvBlock, conv_block
from autometa.ops.cross_entropy import check_labels, cross_entropy
from autometa.ops.linear_head import head_features, linear_head
from autometa.ops.mixed_op import mixed_op
from autometa.ops.mixed_op.triton import mixed_op_triton
from autometa.ops.preprocess import preprocess
from autometa.ops.share import share

State = tuple[int, int]
"""An activation: cell and state in it; states 0 and 1 are its preprocessed inputs."""
STEM: State = (-1, 0)


@dataclass(frozen=True)
class Step:
    """One op. states: what some slot reads; table: which of them each slot reads, of `mixed_op` for a node, else a
    table of states, None where all slots read all in order; channels, reduce: of a preprocessing or node."""

    block: str
    states: tuple[State, ...]
    table: Tensor | None
    result: State
    channels: int
    node: bool = False
    reduce: bool = False


@brief
@dataclass(frozen=True, eq=False)
class Program:
    """A network of cells, or several whose tables have a row each: steps in order, then the classifier.

    readers: how many steps read an activation; columns: first and last + 1 column of a block in a slot's row, image
    `(height, width)` of the input.  Every normalisation is affine.
    """

    stem: ConvBlock
    steps: tuple[Step, ...]
    head: Step
    readers: Mapping[State, int]
    columns: Mapping[str, tuple[int, int]]
    ways: int
    image: tuple[int, int]
    compiled: dict[int, Any] = field(default_factory=dict, repr=False)


def evaluate(
    program: Program,
    blocks: Mapping[str, Tensor],
    images: Tensor,
    of_slot: Tensor | None,
    statistics: Any,
    backend: str | None = None,
    features: bool = False,
) -> Tensor:
    """Logits `[S, N, ways]`, or the `features` that the head reads (`head_features`), op by op.

    blocks: name -> `[S, columns]`; images `[S, N, C, H, W]`; of_slot int64 `[S]`: the row of every table that a slot
    follows; statistics: `take()` gives an op's, `keep` gets them if `record`.
    """

    def slots_of(table: Tensor | None) -> Tensor | None:
        return None if table is None or table.shape[0] == 1 else of_slot

    record, slots, ones = statistics.record, images.shape[0], {}
    x, kept = conv_block(
        images, blocks["stem"], program.stem, given=statistics.take(), want_statistics=record, backend=backend
    )
    statistics.keep(kept)
    ready = {STEM: list(share(x, program.readers[STEM], backend=backend))}
    for step in program.steps:
        states, block = [ready[state].pop() for state in step.states], blocks[step.block]
        options = dict(
            table_of_slot=slots_of(step.table),
            affine=True,
            given=statistics.take(),
            want_statistics=record,
            backend=backend,
        )
        if step.node:
            instances = step.table.shape[1]
            if instances not in ones:
                ones[instances] = torch.ones(slots, instances, dtype=x.dtype, device=x.device)
            x, kept = mixed_op(states, block, ones[instances], ones[instances], step.table, **options)
        else:
            x, kept = preprocess(states, block, step.channels, reduce=step.reduce, table=step.table, **options)
        statistics.keep(kept)
        ready[step.result] = list(share(x, program.readers[step.result], backend=backend))
    head = program.head
    states, tables = [ready[state].pop() for state in head.states], (head.table, slots_of(head.table))
    if features:
        return head_features(states, table=tables[0], table_of_slot=tables[1])
    return linear_head(states, blocks["head"], program.ways, table=tables[0], table_of_slot=tables[1], backend=backend)


def cell_stack(
    params: Tensor,
    images: Tensor,
    labels: Tensor,
    programs: Sequence[Program],
    of_slot: Sequence[int],
    *,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Cross-entropies `[S]` and logits `[S, N, ways]` of slots that follow different programs, each of one network.

    params `[S, row]`, images `[S, N, C, H, W]`, labels int64 `[S, N]`; of_slot: number of each slot's program.
    Differentiable in params through the first result alone; a native backend computes that gradient at once.
    Raises `ValueError` where sizes do not fit.
    """
    slots = params.shape[0]
    if len(of_slot) != slots or images.shape[0] != slots or labels.shape != images.shape[:2]:
        raise ValueError(f"images, labels and of_slot must be of {slots} slots, as params is, and agree in the batch")
    check_states((images,), params, "cell_stack")
    check_labels(labels, params.device)
    if not programs or not all(0 <= k < len(programs) for k in of_slot):
        raise ValueError(f"of_slot must name programs 0..{len(programs) - 1}")
    for program in {programs[k] for k in of_slot}:
        _check_program(program, images, params.shape[1])
    tables = [step.table for program in programs for step in program.steps if step.node]
    lacking = lacking_for(tables, backend, whole=True)
    call = dispatch("cell_stack", params.device, params.dtype, backend, lacking=lacking)
    return call(params, images, labels, programs, of_slot)


def _check_program(program: Program, images: Tensor, width: int) -> None:
    due = (program.stem.c_in, *program.image)
    if tuple(images.shape[2:]) != due:
        raise ValueError(f"images must be [slots, batch, {due[0]}, {due[1]}, {due[2]}], not {list(images.shape)}")
    needed = max(stop for _, stop in program.columns.values())
    if width < needed:
        raise ValueError(f"params must be {needed} columns wide or wider, not {width}")


def slotwise(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the compiled op would run here, which goes slot by slot; the reference is slower than `evaluate`."""
    try:
        return dispatch("cell_stack", device, dtype) is cell_stack_cpp
    except BackendError:
        return False


def tables_cost_nothing(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether kernels find a slot's row of a table on the device: one program may then have rows that no slot follows,
    and the host need not know which slots follow which."""
    try:
        return dispatch("mixed_op", device, dtype) is mixed_op_triton
    except BackendError:
        return False


class _NoStatistics:
    record = False

    def take(self) -> None:
        return None

    def keep(self, _: Tensor | None) -> None:
        return None


@implements("cell_stack", "reference")
def _reference(params, images, labels, programs, of_slot):
    slots, batch = labels.shape
    number = torch.tensor(of_slot, dtype=torch.int64, device=params.device)
    losses, logits = params.new_zeros(slots), params.new_zeros(slots, batch, programs[0].ways)
    for k in sorted(set(of_slot)):
        own = (number == k).nonzero().flatten()
        rows = params.index_select(0, own)
        blocks = {name: rows[:, start:stop] for name, (start, stop) in programs[k].columns.items()}
        found = evaluate(programs[k], blocks, images.index_select(0, own), None, _NoStatistics(), "reference")
        losses = losses.index_copy(0, own, cross_entropy(found, labels.index_select(0, own), backend="reference"))
        logits = logits.index_copy(0, own, found.detach())
    return losses, logits


implements("cell_stack", "cpp", refuses=refuses_unless(torch.float32))(cell_stack_cpp)
