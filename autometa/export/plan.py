"""What a forward pass of one network does, step by step, with everything decided: no slots, no tables, no dead ops.

An exported graph follows it. Op instances that are pruned, and what only they read, have no step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from autometa.brief import brief
from autometa.nas.networks.cell_network import CellNetwork, CellWeights
from autometa.nas.networks.conv_network import ConvNetwork
from autometa.nas.networks.discrete import DiscreteNetwork
from autometa.nas.networks.many_cells import parts_used
from autometa.nas.networks.one_cell import TrimmedNetwork
from autometa.nas.one_shot.network import AtTemperature
from autometa.ops.conv_block import ConvBlock
from autometa.ops.primitives import PRIMITIVES

State = tuple[int, int]
"""An activation: cell and state in it, states 0 and 1 being its preprocessed inputs; of the stem (-1, 0)."""
STEM: State = (-1, 0)


@dataclass(frozen=True)
class Convolution:
    """A conv block: the stem, or a layer of a four-layer net."""

    name: str
    block: ConvBlock
    source: State | None
    result: State


@dataclass(frozen=True)
class Preprocessing:
    """States, read as if concatenated, to the channels and resolution of a cell."""

    name: str
    sources: tuple[State, ...]
    reduce: bool
    result: State


@dataclass(frozen=True)
class Op:
    """A live op instance of a node; scale: what its result is multiplied by, None for 1."""

    name: str
    primitive: str
    source: State
    stride: int
    scale: float | None

    @property
    def norms(self) -> tuple[str, ...]:
        """The name of the normalisation of each stage: what its gamma and beta are called, as far as both share it."""
        stages = len(PRIMITIVES[self.primitive].convolutions(1, self.stride))
        return tuple(f"{self.name}.stage{i}_" if stages > 1 else f"{self.name}." for i in range(stages))


@brief
@dataclass(frozen=True)
class Node:
    """The sum of its ops; without any it is 0, at the size of `like` divided by `stride`."""

    ops: tuple[Op, ...]
    like: State
    stride: int
    result: State


Step = Convolution | Preprocessing | Node


@brief
@dataclass(frozen=True)
class Plan:
    """Steps in order, then the linear layer on the states of `head`, on all their values (`flatten`) or on means.

    places: name of each normalisation -> where its statistics stand among those that the network records: their
    number, then of an op of a node its instance and its stage.
    """

    steps: tuple[Step, ...]
    head: tuple[State, ...]
    flatten: bool
    places: Mapping[str, tuple[int, ...]]

    def blocks(self) -> set[str]:
        """What stands before the last dot in the names of the parameters that are read."""
        found = {"head"}
        for step in self.steps:
            found |= {op.name for op in step.ops} if isinstance(step, Node) else {step.name}
        return found

    def scales(self) -> dict[str, float]:
        """Name of a normalisation -> what an op's weight multiplies its result by, where that is not 1."""
        ops = [op for step in self.steps if isinstance(step, Node) for op in step.ops]
        return {op.norms[-1]: op.scale for op in ops if op.norms and op.scale is not None}


AnyNetwork = ConvNetwork | DiscreteNetwork | TrimmedNetwork | AtTemperature


def plan_of(network: AnyNetwork, phi: Tensor | None = None) -> Plan:
    """The plan of a network; phi `[1, row]` is what a search network is pruned by.

    Raises `TypeError` for another kind of network.
    """
    if isinstance(network, ConvNetwork):
        return _layers(network)
    if isinstance(network, DiscreteNetwork):
        return _cells(network.network, {c: (0, 1) for c in range(network.cells)}, None)
    if isinstance(network, TrimmedNetwork):
        return _cells(network.whole, parts_used(network.whole), None)
    if isinstance(network, AtTemperature):
        one_shot = network.network
        weights = one_shot.weights(phi, network.temperature, network.threshold)
        return _cells(one_shot.network, {c: (0, 1) for c in range(one_shot.cells)}, weights)
    raise TypeError(f"no export of a {type(network).__name__}")


def _layers(network: ConvNetwork) -> Plan:
    steps = []
    for i, block in enumerate(network.blocks):
        source = (-1, i - 1) if i else None
        steps.append(Convolution(f"conv{i}", block, source, (-1, i)))
    places = {f"{step.name}.": (i,) for i, step in enumerate(steps)}
    return Plan(tuple(steps), (steps[-1].result,), network.flatten, places)


def _cells(network: CellNetwork, parts: Mapping[int, Sequence[int]], weights: CellWeights | None) -> Plan:
    """parts: the cells that a network has, and which of their preprocessings."""
    places: dict[str, tuple[int, ...]] = {"stem.": (0,)}
    steps: list[Step] = [Convolution("stem", network.stem, None, STEM)]
    number = 1
    for c, inputs in parts.items():
        cell, reduction = network.cell(c), c in network.reductions
        for p in inputs:
            name = f"cell{c}.pre{p}"
            places[f"{name}."] = (number,)
            steps.append(Preprocessing(name, _outputs(network, c - 2 + p), network.halves(c, p), (c, p)))
            number += 1
        for i, instances in enumerate(cell.nodes):
            ops = []
            for k, (one, scale) in enumerate(
                zip(instances, _scales(weights, network.kind(c), i, instances), strict=True)
            ):
                if one.primitive != "none" and scale != 0:
                    op = Op(f"cell{c}.node{i}.op{k}", one.primitive, (c, one.state), cell.stride(one, reduction), scale)
                    places.update({norm: (number, k, stage) for stage, norm in enumerate(op.norms)})
                    ops.append(op)
            some = instances[0]
            steps.append(Node(tuple(ops), (c, some.state), cell.stride(some, reduction), (c, i + 2)))
            number += 1
    head = _outputs(network, network.cells - 1)
    return Plan(_needed(steps, head), head, False, places)


def _outputs(network: CellNetwork, c: int) -> tuple[State, ...]:
    return (STEM,) if c < 0 else tuple((c, j) for j in network.cell(c).concat)


def _scales(weights: CellWeights | None, kind: str, node: int, instances) -> list[float | None]:
    """Of every op instance the product of its own and its input's weight, None where all are 1."""
    if weights is None:
        return [None] * len(instances)
    own = weights[kind][node]
    products = own.op[0] * own.input[0, [instance.edge for instance in instances]]
    return products.tolist()


def _needed(steps: Sequence[Step], head: Sequence[State]) -> tuple[Step, ...]:
    """The steps whose results reach the head."""
    wanted, kept = set(head), []
    for step in reversed(steps):
        if step.result not in wanted:
            continue
        kept.append(step)
        if isinstance(step, Node):
            wanted.update(op.source for op in step.ops)
            if not step.ops:
                wanted.add(step.like)
        elif isinstance(step, Preprocessing):
            wanted.update(step.sources)
    return tuple(reversed(kept))
