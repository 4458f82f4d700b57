"""What a batch of slots with different cells computes: one step per op, with a table where slots differ in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autometa.nas.cell_network import CellNetwork
from autometa.nas.cells import op_table
from autometa.ops.conv_block import ConvBlock

State = tuple[int, int]
"""An activation: cell and state in it; states 0 and 1 are its preprocessed inputs."""
STEM: State = (-1, 0)
UNUSED = [0, 0, -1, 1, 0]
"""A row of an op table that stands for no instance."""

Parts = Mapping[int, Sequence[int]]


@dataclass(frozen=True)
class Step:
    """One op. states: what some slot reads; table: which of them each slot reads, of `mixed_op` for a node, else a
    table of states, None where all slots read all in order; channels, reduce: of a preprocessing."""

    block: str
    states: tuple[State, ...]
    table: Tensor | None
    result: State
    node: bool = False
    channels: int = 0
    reduce: bool = False


@dataclass(frozen=True)
class BatchPlan:
    """Steps in order; readers: how many steps read an activation; of_slot int64 `[S]`: the row of every table that a
    slot follows; ones: by number of instances, weights `[S, instances]`."""

    stem: ConvBlock
    steps: tuple[Step, ...]
    head: Step
    readers: Mapping[State, int]
    of_slot: Tensor
    ones: Mapping[int, Tensor]

    def slots_of(self, table: Tensor | None) -> Tensor | None:
        """table_of_slot for this table."""
        return None if table is None or table.shape[0] == 1 else self.of_slot


def plan_of(
    networks: Sequence[CellNetwork], parts: Sequence[Parts], cell_of_slot: Tensor, device: torch.device, dtype
) -> BatchPlan:
    """The plan for slots of these cells; parts: of each network the cells it uses and their inputs."""
    present, of_slot = torch.unique(cell_of_slot, return_inverse=True)
    used = [(networks[g], parts[g]) for g in present.tolist()]
    some = used[0][0]
    steps = []
    for c in range(some.cells):
        steps += [_preprocessing(used, c, p, device) for p in (0, 1)]
        steps += [_node(used, c, i, device) for i in range(max(len(network.cell(c).nodes) for network, _ in used))]
    steps = [step for step in steps if step is not None]
    rows = [_outputs(network, some.cells - 1) for network, _ in used]
    states, table = _state_table(rows, some.width(some.cells - 1), device)
    head = Step("head", states, table, (some.cells, 0))
    instances = {step.table.shape[1] for step in steps if step.node}
    return BatchPlan(
        some.stem,
        tuple(steps),
        head,
        Counter(state for step in (*steps, head) for state in step.states),
        of_slot.to(device),
        {n: torch.ones(len(of_slot), n, dtype=dtype, device=device) for n in instances},
    )


def _outputs(network: CellNetwork, c: int) -> list[State]:
    """What cell c puts out, in the order of its concatenation."""
    return [STEM] if c < 0 else [(c, j) for j in network.cell(c).concat]


def _state_table(
    rows: Sequence[Sequence[State]], channels: int, device: torch.device
) -> tuple[tuple[State, ...], Tensor | None]:
    """The states of all rows, and the table of those of each row; None where it says nothing."""
    states = tuple(sorted({state for row in rows for state in row}))
    made = [[row.index(state) * channels if state in row else -1 for state in states] for row in rows]
    if all(row == made[0] for row in made):
        made = made[:1]
    if made == [[j * channels for j in range(len(states))]]:
        return states, None
    return states, torch.tensor(made, dtype=torch.int64, device=device)


def _preprocessing(used, c: int, p: int, device: torch.device) -> Step | None:
    """Of input p of cell c; None where no network has it."""
    source, some = max(c - 2 + p, -1), used[0][0]
    rows = [_outputs(network, source) if p in parts.get(c, ()) else [] for network, parts in used]
    if not any(rows):
        return None
    channels = some.stem.c_out if source < 0 else some.width(source)
    states, table = _state_table(rows, channels, device)
    return Step(f"cell{c}.pre{p}", states, table, (c, p), channels=some.width(c), reduce=some.halves(c, p))


def _node(used, c: int, i: int, device: torch.device) -> Step | None:
    """Node i of cell c; None where no network has it."""
    tables = []
    for network, parts in used:
        cell = network.cell(c)
        present = c in parts and i < len(cell.nodes)
        reduction = c in network.reductions
        tables.append(op_table(cell, i, network.width(c), reduction, network.affine)[0][0].tolist() if present else [])
    if not any(tables):
        return None
    if all(table == tables[0] for table in tables):
        tables = tables[:1]
    states = sorted({row[0] for table in tables for row in table})
    widest = max(len(table) for table in tables)
    rows = [[[states.index(j), *rest] for j, *rest in table] + [UNUSED] * (widest - len(table)) for table in tables]
    made = torch.tensor(rows, dtype=torch.int64, device=device)
    return Step(f"cell{c}.node{i}", tuple((c, j) for j in states), made, (c, i + 2), node=True)
