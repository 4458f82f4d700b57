"""Cells as data: which op instances feed which node."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from autometa.ops.primitives import aligned, primitive_named

INPUT_STATES = 2

METANAS_PRIMITIVES = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "conv_1x5_5x1",
    "conv_3x3",
    "sep_conv_3x3",
    "dil_conv_3x3",
)


@dataclass(frozen=True)
class Instance:
    """One op instance of a node: a primitive on an input state; `edge` numbers the node's input weight it shares."""

    primitive: str
    state: int
    edge: int


@dataclass(frozen=True)
class Cell:
    """Nodes in order; node i is state i + 2. `concat` lists the states that make up the output."""

    nodes: tuple[tuple[Instance, ...], ...]
    concat: tuple[int, ...]

    def edges(self, node: int) -> int:
        """Number of input weights of a node."""
        return 1 + max(instance.edge for instance in self.nodes[node])

    def readers(self, state: int) -> tuple[int, ...]:
        """The nodes that read a state."""
        return tuple(i for i, node in enumerate(self.nodes) if any(instance.state == state for instance in node))

    def stride(self, instance: Instance, reduction: bool) -> int:
        """In a reduction cell the ops on the two inputs have stride 2."""
        return 2 if reduction and instance.state < INPUT_STATES else 1

    @property
    def outputs(self) -> int:
        """Number of concatenated states."""
        return len(self.concat)


def one_shot_cell(primitives: tuple[str, ...], nodes: int) -> Cell:
    """Every primitive on every earlier state: instance `j * len(primitives) + k` is primitive k on state j."""
    made = []
    for i in range(nodes):
        states = range(i + INPUT_STATES)
        made.append(tuple(Instance(name, j, j) for j in states for name in primitives))
    return Cell(tuple(made), tuple(range(INPUT_STATES, INPUT_STATES + nodes)))


def discrete_cell(nodes: tuple[tuple[tuple[str, int], ...], ...], concat: tuple[int, ...]) -> Cell:
    """From (primitive, state) pairs; every instance has an edge of its own."""
    made = tuple(tuple(Instance(name, j, e) for e, (name, j) in enumerate(node)) for node in nodes)
    return Cell(made, concat)


def op_table(cell: Cell, node: int, channels: int, reduction: bool, affine: bool) -> tuple[Tensor, int]:
    """The node's table for `mixed_op`, int64 `[1, I, 5]`, and the width of its parameter block."""
    rows, offset = [], 0
    for instance in cell.nodes[node]:
        primitive, stride = primitive_named(instance.primitive), cell.stride(instance, reduction)
        rows.append([instance.state, instance.edge, primitive.code, stride, offset])
        offset += sum(aligned(p.size) for p in primitive.parameters(channels, stride, affine))
    return torch.tensor([rows], dtype=torch.int64, device="cpu"), offset
