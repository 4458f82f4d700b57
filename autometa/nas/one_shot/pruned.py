"""What hard pruning leaves of a one-shot network: surviving ops, weights, the discrete genotype."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from autometa.nas.networks.cell_network import KINDS
from autometa.nas.one_shot.network import OneShotNetwork, Shares
from autometa.nas.relax.soft_pruning import pairs
from autometa.nas.spaces.cells import INPUT_STATES
from autometa.nas.spaces.genotype import CellGenotype, Genotype
from autometa.ops.primitives import primitive_named


def remaining(
    one_shot: OneShotNetwork, shares: Mapping[str, Shares], slot: int, threshold: float
) -> dict[str, list[list[bool]]]:
    """Which instances of each node survive pruning: kind -> node -> flag per instance.

    A pair survives with weight >= threshold, an input with one of its pairs, an op with its input and weight
    >= threshold. `shares` is what `OneShotNetwork.shares` gives.
    """
    found = {}
    for kind in KINDS:
        nodes = []
        for n, (ops, pair_weights) in zip(one_shot.inputs, shares[kind], strict=True):
            if pair_weights is None:
                alive = [True] * n
            else:
                kept = (pair_weights[slot] >= threshold).tolist()
                alive = [any(k for k, ab in zip(kept, pairs(n), strict=True) if j in ab) for j in range(n)]
            flags = (ops[slot] >= threshold).tolist()
            nodes.append([flag and alive[j] for j in range(n) for flag in flags[j]])
        found[kind] = nodes
    return found


def remaining_weights(one_shot: OneShotNetwork, survivors: dict[str, list[list[bool]]]) -> int:
    """Scalar weights of the network less those of ops that did not survive."""
    network = one_shot.network
    total = network.layout.count()
    for c in range(network.cells):
        cell, reduction = network.cell(c), c in network.reductions
        for node, flags in zip(cell.nodes, survivors[network.kind(c)], strict=True):
            for instance, alive in zip(node, flags, strict=True):
                if not alive:
                    stride = cell.stride(instance, reduction)
                    parameters = primitive_named(instance.primitive).parameters(
                        network.width(c), stride, network.affine
                    )
                    total -= sum(p.size for p in parameters)
    return total


def genotype_of(one_shot: OneShotNetwork, phi: Tensor, slot: int) -> Genotype:
    """The discrete genotype of one slot's architecture parameters.

    Pairwise: the pair with the largest logit gives the two inputs; on each the op with the largest logit. Without
    pair logits: the two inputs whose largest op logit is largest, the largest first.
    """
    cells = {}
    for kind, nodes in one_shot.architecture(phi).items():
        made = []
        for n, (ops, pair_logits) in zip(one_shot.inputs, nodes, strict=True):
            strength, best = ops[slot].max(dim=-1)
            chosen: Sequence[int]
            if pair_logits is not None:
                chosen = pairs(n)[int(pair_logits[slot].argmax())]
            else:
                chosen = strength.argsort(descending=True, stable=True)[:2].tolist()
            made.append(tuple((one_shot.primitives[int(best[j])], int(j)) for j in chosen))
        cells[kind] = CellGenotype(tuple(made), tuple(range(INPUT_STATES, INPUT_STATES + one_shot.nodes)))
    return Genotype(cells["normal"], cells["reduction"])
