"""The MetaNAS one-shot network: all primitives on all edges, weighted by architecture parameters of the arena."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from autometa.brief import brief
from autometa.nas.networks.cell_network import KINDS, CellNetwork, CellWeights, NodeWeights
from autometa.nas.networks.counting import map_sizes, network_macs
from autometa.nas.networks.drop_path import drop_masks
from autometa.nas.relax.relaxation import Relaxation, shrunk_
from autometa.nas.relax.same_batch import SameBatch
from autometa.nas.relax.soft_pruning import above, input_weights, pairs
from autometa.nas.spaces.cells import INPUT_STATES, METANAS_PRIMITIVES, one_shot_cell
from autometa.slots.init import Init, initial_row
from autometa.slots.layout import Layout
from autometa.slots.statistics import BatchStatistics

Shares = Sequence[tuple[Tensor, Tensor | None]]
"""Of one kind of cell, per node: op shares `[R, inputs, primitives]`, pair shares `[R, pairs]`."""


@brief
@dataclass(frozen=True)
class OneShotNetwork:
    """The search network of MetaNAS.

    channels C; cells, reductions: as in `CellNetwork`; nodes per cell; primitives per edge; pairwise: input weights
    over pairs of inputs (without it every edge has weight 1); alpha_std: architecture parameters start at
    `alpha_std * N(0, 1)`; relaxation: what makes weights of them.
    """

    channels: int
    ways: int
    image_shape: tuple[int, int, int]
    cells: int = 4
    reductions: tuple[int, ...] = (1, 3)
    nodes: int = 3
    primitives: tuple[str, ...] = METANAS_PRIMITIVES
    pairwise: bool = True
    alpha_std: float = 1e-3
    stem_stride: int = 1
    relaxation: Relaxation = field(default_factory=SameBatch)

    @cached_property
    def network(self) -> CellNetwork:
        """The stack of one-shot cells, BN without affine parameters."""
        cell = one_shot_cell(self.primitives, self.nodes)
        init = Init("normal", self.alpha_std)
        architecture: list[tuple[str, tuple[int, ...], Init]]
        architecture = [(f"alpha.{kind}", (self.edges, len(self.primitives)), init) for kind in KINDS]
        if self.pairwise:
            architecture += [(f"pair.{kind}", (sum(self.pair_counts),), init) for kind in KINDS]
        return CellNetwork(
            normal=cell,
            reduction=cell,
            cells=self.cells,
            reductions=self.reductions,
            channels=self.channels,
            ways=self.ways,
            image_shape=self.image_shape,
            affine=False,
            stem_stride=self.stem_stride,
            architecture=tuple(architecture),
        )

    @property
    def layout(self) -> Layout:
        return self.network.layout

    @property
    def inputs(self) -> tuple[int, ...]:
        """Number of input states of each node."""
        return tuple(i + INPUT_STATES for i in range(self.nodes))

    @property
    def edges(self) -> int:
        """Edges of a cell."""
        return sum(self.inputs)

    @property
    def pair_counts(self) -> tuple[int, ...]:
        return tuple(len(pairs(n)) for n in self.inputs)

    def initial(self, seed: int) -> Tensor:
        """A freshly initialised row `[row]`, architecture parameters included."""
        return initial_row(self.layout, seed)

    def architecture(self, phi: Tensor, block: Tensor | None = None) -> dict[str, list[tuple[Tensor, Tensor | None]]]:
        """kind -> per node op logits `[S, inputs, primitives]` and pair logits `[S, pairs]` (None if not pairwise).

        block: the block `architecture` of phi, where it is split already.
        """
        found, name = {}, "architecture"
        block = self.layout.split(phi)[name] if block is None else block
        for kind in KINDS:
            ops = self.layout.within(block, name, f"alpha.{kind}").split(self.inputs, dim=1)
            per_node: list[Tensor | None] = [None] * self.nodes
            if self.pairwise:
                per_node = list(self.layout.within(block, name, f"pair.{kind}").split(self.pair_counts, dim=1))
            found[kind] = list(zip(ops, per_node, strict=True))
        return found

    def shares(self, phi: Tensor, t: float, block: Tensor | None = None) -> dict[str, Shares]:
        """Op and pair weights at temperature t of what `architecture` gives, nothing pruned."""
        made, hot, warm = self.relaxation.weights, self.relaxation.of_ops(t), self.relaxation.of_inputs(t)
        return {
            kind: [(made(op / hot), None if pair is None else made(pair / warm)) for op, pair in nodes]
            for kind, nodes in self.architecture(phi, block).items()
        }

    def weights(
        self, phi: Tensor, t: float, threshold: float | None = None, block: Tensor | None = None
    ) -> CellWeights:
        """Op and input weights of every node at temperature t; those not above `threshold` are exactly 0."""
        found, name = {}, "architecture"
        block = self.layout.split(phi)[name] if block is None else block
        for kind, nodes in self.architecture(phi, block).items():
            made = []
            logits = self.layout.within(block, name, f"alpha.{kind}")
            every = above(self.relaxation.weights(logits / self.relaxation.of_ops(t)), threshold)
            for n, op, (_, pair_logits) in zip(self.inputs, every.split(self.inputs, dim=1), nodes, strict=True):
                if pair_logits is None:
                    edge = torch.ones(phi.shape[0], n, dtype=phi.dtype, device=phi.device)
                else:
                    heat = self.relaxation.of_inputs(t)
                    edge = input_weights(above(self.relaxation.weights(pair_logits / heat), threshold), n)
                made.append(NodeWeights(op.flatten(1), edge))
            found[kind] = made
        return found

    def shrink_(self, theta: Tensor, share: float) -> None:
        """Take away what the relaxation leaves no longer when `share` of the meta-iterations is over: logits in rows
        `[S, row]`, in place."""
        if not self.relaxation.shrink:
            return
        left = self.relaxation.left
        for nodes in self.architecture(theta).values():
            for ops, pair_logits in nodes:
                shrunk_(ops, left(share, ops.shape[-1], self.relaxation.ops))
                if pair_logits is not None:
                    shrunk_(pair_logits, left(share, pair_logits.shape[-1], self.relaxation.pairs))

    def strongest(self, phi: Tensor) -> Tensor:
        """Rows `[S, row]` in which every node's strongest pair of inputs and every input's strongest op alone are left
        (hard pruning, DARTS, section 2.4)."""
        pruned = phi.detach().clone()
        for nodes in self.architecture(pruned).values():
            for ops, pair_logits in nodes:
                shrunk_(ops, 1)
                if pair_logits is not None:
                    shrunk_(pair_logits, 1)
        return pruned

    def logits(
        self,
        phi: Tensor,
        images: Tensor,
        statistics: BatchStatistics | None = None,
        *,
        temperature: float = 1.0,
        threshold: float | None = None,
        drop: Mapping[tuple[int, int], Tensor] | None = None,
        activations: dict | None = None,
        features: bool = False,
    ) -> Tensor:
        """phi `[S, row]`, images `[S, N, C, H, W]` -> logits `[S, N, ways]`, or the last layer's `features`."""
        blocks = self.layout.split(phi)
        weights = self.weights(phi, temperature, threshold, blocks["architecture"])
        return self.network.forward(phi, images, weights, statistics, drop, activations, blocks, features)

    def macs(self) -> int:
        """Multiply-accumulates of convolutions and linear layer for one image, all ops evaluated."""
        return network_macs(self.network)

    @property
    def smallest_map(self) -> tuple[int, int]:
        """Height and width of the smallest feature map that a BN normalises."""
        return map_sizes(self.network)[-1]

    def drop(
        self, keep: float, seed: int, task_ids: Tensor, step: int, batch: int, dtype: torch.dtype
    ) -> dict[tuple[int, int], Tensor] | None:
        """Drop-path masks of one inner step, see `drop_masks`."""
        return drop_masks(self.network, keep, seed, task_ids, step, batch, dtype)


@dataclass(frozen=True)
class AtTemperature:
    """A one-shot network with its temperature and threshold fixed, as a classifier."""

    network: OneShotNetwork
    temperature: float
    threshold: float | None = None

    @property
    def ways(self) -> int:
        return self.network.ways

    @property
    def layout(self) -> Layout:
        return self.network.layout

    def logits(
        self, phi: Tensor, images: Tensor, statistics: BatchStatistics | None = None, *, features: bool = False
    ) -> Tensor:
        how: dict[str, Any] = {"temperature": self.temperature, "threshold": self.threshold, "features": features}
        return self.network.logits(phi, images, statistics, **how)
