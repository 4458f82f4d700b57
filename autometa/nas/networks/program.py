"""Programs for slots with different cells: one step per op, with a table where slots differ in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from autometa.nas.networks.cell_network import CellNetwork
from autometa.nas.spaces.cells import op_table
from autometa.ops.cell_stack import STEM, Program, State, Step
from autometa.slots.layout import Layout

Used = Sequence[tuple[CellNetwork, Mapping[int, Collection[int]]]]
"""Networks, and of each the cells that it uses with their inputs."""

UNUSED = [0, 0, -1, 1, 0]
"""A row of an op table that stands for no instance."""

Parts = Mapping[int, Sequence[int]]


def program_of(
    networks: Sequence[CellNetwork], parts: Sequence[Parts], layout: Layout, device: torch.device
) -> Program:
    """The program of these networks, whose tables have a row for each; parts: of each network the cells that it uses
    and their inputs; layout: of any of them, since blocks begin at common columns."""
    used = list(zip(networks, parts, strict=True))
    some = networks[0]
    made: list[Step | None] = []
    for c in range(some.cells):
        made += [_preprocessing(used, c, p, device) for p in (0, 1)]
        made += [_node(used, c, i, device) for i in range(max(len(network.cell(c).nodes) for network in networks))]
    steps = [step for step in made if step is not None]
    last = some.cells - 1
    states, table = _state_table([_outputs(network, last) for network in networks], some.width(last), device)
    head = Step("head", states, table, (some.cells, 0), some.ways)
    return Program(
        some.stem,
        tuple(steps),
        head,
        Counter(state for step in (*steps, head) for state in step.states),
        {block.name: (block.start, block.stop) for block in layout.blocks},
        some.ways,
        some.image_shape[1:],
    )


def _outputs(network: CellNetwork, c: int) -> list[State]:
    """What cell c puts out, in the order of its concatenation."""
    return [STEM] if c < 0 else [(c, j) for j in network.cell(c).concat]


def _state_table(
    rows: Sequence[Sequence[State]], channels: int, device: torch.device
) -> tuple[tuple[State, ...], Tensor | None]:
    """The states of all rows, and the table of those of each row; None where it says nothing."""
    states = tuple(sorted({state for row in rows for state in row}))  # in one order, whatever the slots beside it
    made = [[row.index(state) * channels if state in row else -1 for state in states] for row in rows]
    if all(row == made[0] for row in made):
        made = made[:1]
    if made == [[j * channels for j in range(len(states))]]:
        return states, None
    return states, torch.tensor(made, dtype=torch.int64, device=device)


def _preprocessing(used: Used, c: int, p: int, device: torch.device) -> Step | None:
    """Of input p of cell c; None where no network has it."""
    source, some = max(c - 2 + p, -1), used[0][0]
    rows = [_outputs(network, source) if p in parts.get(c, ()) else [] for network, parts in used]
    if not any(rows):
        return None
    channels = some.stem.c_out if source < 0 else some.width(source)
    states, table = _state_table(rows, channels, device)
    return Step(f"cell{c}.pre{p}", states, table, (c, p), some.width(c), reduce=some.halves(c, p))


def _node(used: Used, c: int, i: int, device: torch.device) -> Step | None:
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
    return Step(f"cell{c}.node{i}", tuple((c, j) for j in states), made, (c, i + 2), used[0][0].width(c), node=True)
