"""Networks of cells over the arena: the one network behind one-shot, pruned and discrete networks.

Stem -> cells -> mean -> linear layer (MetaNAS section 5; DARTS section 3.1.1). Every cell works with the same number
of channels; the concatenation of a cell's states is never formed, the next cell's preprocessing reads their list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from autometa.brief import brief
from autometa.nas.spaces.cells import Cell, op_table
from autometa.ops.conv_block import ConvBlock, conv_block
from autometa.ops.linear_head import head_features, head_parameters, linear_head
from autometa.ops.mixed_op import mixed_op
from autometa.ops.preprocess import preprocess, preprocess_parameters
from autometa.ops.primitives import primitive_named
from autometa.ops.share import share
from autometa.slots.init import ONES, ZEROS, Init, convolution_init
from autometa.slots.layout import Layout, LayoutBuilder
from autometa.slots.statistics import BatchStatistics

KINDS = ("normal", "reduction")


@dataclass(frozen=True)
class NodeWeights:
    """op `[S, I]`, input `[S, E]` of one node."""

    op: Tensor
    input: Tensor


CellWeights = Mapping[str, Sequence[NodeWeights]]


@brief
@dataclass(frozen=True)
class CellNetwork:
    """A stack of cells.

    normal, reduction: the two cells; cells: their number; reductions: positions, from 0, of reduction cells;
    channels: C of every op; ways: classes; image_shape: (channels, height, width); affine: gamma and beta in every BN
    (discrete networks); stem_stride: 2 halves the resolution for all cells; architecture: (name, shape,
    initialisation) of parameters that follow the weights in a row; scale_rate: what a reduction multiplies C by, for
    itself and the cells after it.
    """

    normal: Cell
    reduction: Cell
    cells: int
    reductions: tuple[int, ...]
    channels: int
    ways: int
    image_shape: tuple[int, int, int]
    affine: bool = True
    stem_multiplier: int = 3
    stem_stride: int = 1
    architecture: tuple[tuple[str, tuple[int, ...], Init], ...] = ()
    scale_rate: int = 1

    def __post_init__(self) -> None:
        if self.cells < 1 or any(not 0 <= r < self.cells for r in self.reductions):
            raise ValueError(f"reductions {self.reductions} must be positions in a network of {self.cells} cells")
        if self.channels < 2:
            raise ValueError(f"channels must be at least 2, not {self.channels}")

    def kind(self, c: int) -> str:
        """`normal` or `reduction`, of cell number c."""
        return "reduction" if c in self.reductions else "normal"

    def cell(self, c: int) -> Cell:
        return self.reduction if c in self.reductions else self.normal

    def width(self, c: int) -> int:
        """Channels of every op of cell c."""
        return self.channels * self.scale_rate ** sum(r <= c for r in self.reductions)

    @cached_property
    def stem(self) -> ConvBlock:
        """3x3 convolution and affine BN, no ReLU."""
        return ConvBlock(self.image_shape[0], self.stem_multiplier * self.channels, stride=self.stem_stride)

    @cached_property
    def tables(self) -> dict[tuple[int, int], Tensor]:
        """(cell, node) -> table for `mixed_op`."""
        found = {}
        for c in range(self.cells):
            cell, reduction = self.cell(c), c in self.reductions
            for i in range(len(cell.nodes)):
                found[c, i] = op_table(cell, i, self.width(c), reduction, self.affine)[0]
        return found

    def output_channels(self, c: int) -> int:
        """Channels that cell c puts out; -1 and -2 are the stem."""
        return self.stem.c_out if c < 0 else self.cell(c).outputs * self.width(c)

    def halves(self, c: int, p: int) -> bool:
        """Whether preprocessing p of cell c is a factorised reduction: its input came before a reduction cell."""
        return p == 0 and c >= 1 and (c - 1) in self.reductions

    @property
    def features(self) -> int:
        return self.output_channels(self.cells - 1)

    @cached_property
    def layout(self) -> Layout:
        builder = LayoutBuilder()
        for block, entries in self.parameter_blocks():
            builder.block(block)
            if block == "head":
                builder.head()
            for entry in entries:
                builder.add(*entry)
        builder.architecture()
        if self.architecture:
            builder.block("architecture")
            for name, shape, init in self.architecture:
                builder.add(name, shape, init)
        return builder.build()

    def parameter_blocks(self) -> Iterator[tuple[str, list[tuple[str, tuple[int, ...], Init]]]]:
        """Name of each block of weights, in order, and (name, shape, initialisation) of what stands in it."""
        yield "stem", [(f"stem.{p.role}", p.shape, _initial(p.role, p.shape)) for p in self.stem.parameters()]
        for c in range(self.cells):
            for p in (0, 1):
                block, c_in = f"cell{c}.pre{p}", self.output_channels(c - 2 + p)
                shapes = preprocess_parameters(c_in, self.width(c), self.halves(c, p), self.affine)
                yield block, [(f"{block}.{s.role}", s.shape, _initial(s.role, s.shape)) for s in shapes]
            for i in range(len(self.cell(c).nodes)):
                yield f"cell{c}.node{i}", list(self._node_entries(c, i))
        bound = convolution_init((self.ways, self.features), "fan_in")
        yield "head", [(f"head.{p.role}", p.shape, bound) for p in head_parameters(self.features, self.ways)]

    def _node_entries(self, c: int, i: int) -> Iterator[tuple[str, tuple[int, ...], Init]]:
        cell, reduction = self.cell(c), c in self.reductions
        for k, instance in enumerate(cell.nodes[i]):
            primitive, stride = primitive_named(instance.primitive), cell.stride(instance, reduction)
            for p in primitive.parameters(self.width(c), stride, self.affine):
                yield f"cell{c}.node{i}.op{k}.{p.role}", p.shape, _initial(p.role, p.shape)

    def forward(
        self,
        phi: Tensor,
        images: Tensor,
        weights: CellWeights | None = None,
        statistics: BatchStatistics | None = None,
        drop: Mapping[tuple[int, int], Tensor] | None = None,
        activations: dict[str, list[Tensor]] | None = None,
        blocks: Mapping[str, Tensor] | None = None,
        features: bool = False,
    ) -> Tensor:
        """phi `[S, row]`, images `[S, N, C, H, W]` -> logits `[S, N, ways]`, or the last layer's `features`.

        weights: per kind of cell one `NodeWeights` per node, all 1 where None; drop: (cell, node) -> `[S, N, I]`;
        activations, where given, receives the states that stem and cells put out; blocks: `layout.split(phi)`, if done.
        """
        statistics = statistics or BatchStatistics()
        blocks = blocks or self.layout.split(phi)
        x, kept = conv_block(
            images, blocks["stem"], self.stem, given=statistics.take(), want_statistics=statistics.record
        )
        statistics.keep(kept)
        if activations is not None:
            activations["stem"] = [x]
        ready = {-1: [[part] for part in share(x, self.readers(-1))]}
        for c in range(self.cells):
            before, last = ready[max(c - 2, -1)].pop(), ready[c - 1].pop()
            ready[c] = self._cell(c, blocks, before, last, weights, statistics, drop)
            if activations is not None:
                activations[f"cell{c}"] = ready[c][0]
        states = ready[self.cells - 1].pop()
        return head_features(states) if features else linear_head(states, blocks["head"], self.ways)

    def readers(self, c: int) -> int:
        """How many read what cell c puts out: the two cells after it, the stem's (-1) first cell twice, or the head."""
        return (c + 1 < self.cells) + (c + 2 < self.cells) + (c == self.cells - 1) + (c == -1)

    def _cell(
        self,
        c: int,
        blocks: Mapping[str, Tensor],
        before: list[Tensor],
        last: list[Tensor],
        weights: CellWeights | None,
        statistics: BatchStatistics,
        drop: Mapping[tuple[int, int], Tensor] | None,
    ) -> list[list[Tensor]]:
        """The states that cell c puts out, once for each of its readers."""
        cell, states, copies = self.cell(c), list[Tensor](), list[list[Tensor]]()

        def add(x: Tensor, kept: Tensor | None) -> None:
            statistics.keep(kept)
            readers = len(cell.readers(len(states))) + (len(states) in cell.concat) * self.readers(c)
            copies.append(list(share(x, readers)))
            states.append(x)

        for p, inputs in enumerate((before, last)):
            found = preprocess(
                inputs,
                blocks[f"cell{c}.pre{p}"],
                self.width(c),
                reduce=self.halves(c, p),
                affine=self.affine,
                given=statistics.take(),
                want_statistics=statistics.record,
            )
            add(*found)
        for i in range(len(cell.nodes)):
            own = _ones(cell, i, states[0]) if weights is None else weights[self.kind(c)][i]
            found = mixed_op(
                [copies[j].pop() if i in cell.readers(j) else x for j, x in enumerate(states)],
                blocks[f"cell{c}.node{i}"],
                own.op,
                own.input,
                self.tables[c, i],
                drop=None if drop is None else drop[c, i],
                affine=self.affine,
                given=statistics.take(),
                want_statistics=statistics.record,
            )
            add(*found)
        return [[copies[k].pop() for k in cell.concat] for _ in range(self.readers(c))]


def _ones(cell: Cell, node: int, like: Tensor) -> NodeWeights:
    slots = like.shape[0]
    return NodeWeights(
        torch.ones(slots, len(cell.nodes[node]), dtype=like.dtype, device=like.device),
        torch.ones(slots, cell.edges(node), dtype=like.dtype, device=like.device),
    )


def _initial(role: str, shape: tuple[int, ...]) -> Init:
    if role.endswith("bn_gamma"):
        return ONES
    if role.endswith("bn_beta"):
        return ZEROS
    return convolution_init(shape, "fan_in")
