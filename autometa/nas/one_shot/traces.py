"""What soft pruning does to the architecture while a network adapts: shares, survivors, entropy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from autometa.nas.networks.cell_network import KINDS
from autometa.nas.one_shot.network import OneShotNetwork, Shares
from autometa.nas.relax.soft_pruning import pairs
from autometa.nas.spaces.cells import INPUT_STATES


def edges(network: OneShotNetwork) -> list[list[int]]:
    """[node, state] of every edge of a cell: nodes from 0; states 0 and 1 are the cell's inputs."""
    return [[node, state] for node in range(network.nodes) for state in range(node + INPUT_STATES)]


def joined(shares: Shares) -> tuple[Tensor, Tensor]:
    """Op shares of all edges `[R, edges, primitives]` and pair shares of all nodes `[R, pairs]`, none if not
    pairwise."""
    ops = torch.cat([op for op, _ in shares], dim=1)
    known = [pair for _, pair in shares if pair is not None]
    return ops, torch.cat(known, dim=1) if known else ops.new_zeros(len(ops), 0)


def entropy(ops: Tensor) -> Tensor:
    """Mean entropy of the op shares `[R, edges, primitives]` over edges, as a part of its most, ln(primitives): `[R]`,
    0 where there is one primitive."""
    count = ops.shape[-1]
    if count < 2:
        return ops.new_zeros(len(ops))
    return torch.special.entr(ops).sum(dim=-1).mean(dim=-1) / math.log(count)


def alive(shares: Shares, threshold: float) -> Tensor:
    """Part of the op instances that pruning leaves, `[R]`: an instance stays with a share of at least `threshold` on an
    input of which a pair does (as `pruned.remaining` has it)."""
    kept: Tensor | float = 0.0
    total = 0
    for ops, pair in shares:
        flags, inputs = ops >= threshold, ops.shape[1]
        if pair is not None:
            strong = pair >= threshold
            own = [[p for p, ab in enumerate(pairs(inputs)) if j in ab] for j in range(inputs)]
            reached = torch.stack([strong[:, some].any(dim=1) for some in own], dim=1)
            flags = flags & reached[:, :, None]
        kept, total = kept + flags.flatten(1).sum(dim=1), total + inputs * ops.shape[2]
    return torch.as_tensor(kept).to(torch.float64) / total


def traces(network: OneShotNetwork, seen: Tensor, temperatures: Sequence[float], threshold: float) -> dict[str, Tensor]:
    """Of slots' architectures over steps, `seen [P, S, A]`, and the temperature of each step `[P]`: per slot
    `trace.alive` and `trace.entropy` float32 `[S, P, kinds]`, and as they are at the end `trace.ops`
    `[S, kinds, edges, primitives]` and `trace.pairs` `[S, kinds, pairs]`."""
    points, slots = seen.shape[:2]
    heat = torch.tensor(temperatures, dtype=seen.dtype, device=seen.device)
    rows = (seen / heat[:, None, None]).flatten(0, 1)
    shares = network.shares(rows, 1.0, rows)

    def over_steps(values: Tensor) -> Tensor:
        return values.view(points, slots).T.to(torch.float32)

    last = {kind: [part[-slots:] for part in joined(shares[kind])] for kind in KINDS}
    return {
        "trace.alive": torch.stack([over_steps(alive(shares[kind], threshold)) for kind in KINDS], dim=2),
        "trace.entropy": torch.stack([over_steps(entropy(joined(shares[kind])[0])) for kind in KINDS], dim=2),
        "trace.ops": torch.stack([last[kind][0] for kind in KINDS], dim=1),
        "trace.pairs": torch.stack([last[kind][1] for kind in KINDS], dim=1),
    }
