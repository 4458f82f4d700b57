"""What meta-testing a MetaNAS search found, task by task, and the same as tensors for a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from autometa.brief import brief
from autometa.errors import InputError
from autometa.nas.networks.cell_network import KINDS
from autometa.nas.networks.counting import network_macs
from autometa.nas.one_shot.network import OneShotNetwork
from autometa.nas.one_shot.pruned import remaining, remaining_weights
from autometa.nas.spaces.cells import INPUT_STATES
from autometa.nas.spaces.genotype import CellGenotype, Genotype

if TYPE_CHECKING:
    from autometa.algorithms.metanas import MetaNASConfig

CODED = ("parameters", "macs", "genotypes")
"""What `as_tensors` makes of a task beside accuracies."""


@brief
@dataclass(frozen=True)
class MetaTest:
    """Meta-testing's outcome, per task `[T]`.

    soft, pruned: accuracies by BN mode before and after hard pruning; genotypes: the strongest pair and op of every
    node; parameters, macs: what is left of the network after pruning; finite: whether the task stayed finite;
    answers: of the pruned network, see `answers`; traces: what became of the architecture, see `nas.traces`.
    """

    soft: dict[str, Tensor]
    pruned: dict[str, Tensor]
    genotypes: tuple[Genotype, ...]
    parameters: Tensor
    macs: Tensor
    finite: Tensor
    answers: dict[str, Tensor]
    traces: dict[str, Tensor]


def as_tensors(network: OneShotNetwork, found: MetaTest) -> dict[str, Tensor]:
    """A `MetaTest` as tensors `[T, ...]` for a checkpoint; genotypes as (kind, node, input) -> (op, state)."""
    names = {name: k for k, name in enumerate(network.primitives)}
    coded = [
        [[[(names[op], state) for op, state in node] for node in getattr(g, kind).nodes] for kind in KINDS]
        for g in found.genotypes
    ]
    tensors = {"parameters": found.parameters, "macs": found.macs, "finite": found.finite}
    tensors |= {"genotypes": torch.tensor(coded, device="cpu"), **found.answers, **found.traces}
    for mode in found.soft:
        tensors[f"soft.{mode}"], tensors[f"pruned.{mode}"] = found.soft[mode], found.pruned[mode]
    return tensors


def genotypes_from(network: OneShotNetwork, coded: Tensor) -> list[Genotype]:
    """The genotypes that `as_tensors` coded."""
    concat = tuple(range(INPUT_STATES, INPUT_STATES + network.nodes))
    made = []
    if coded.ndim != 5 or coded.shape[1:] != (len(KINDS), network.nodes, 2, 2):
        raise InputError("the genotypes kept of an evaluation are not those of this network; remove its checkpoints")
    if not bool(((coded >= 0) & (coded[..., :1] < len(network.primitives))).all()):
        raise InputError("the genotypes kept of an evaluation name unknown operations; remove its checkpoints")
    for task in coded.tolist():
        cells = [
            CellGenotype(tuple(tuple((network.primitives[op], state) for op, state in node) for node in kind), concat)
            for kind in task
        ]
        made.append(Genotype(*cells))
    return made


def pruned_size(network: OneShotNetwork, phi: Tensor, slot: int, config: MetaNASConfig) -> tuple[int, int]:
    """Weights and MACs of one slot's network after hard pruning."""
    shares = network.shares(phi[slot : slot + 1].detach(), config.t_min_test)
    alive = remaining(network, shares, 0, config.prune_testing)
    macs = network_macs(network.network, lambda kind, i, k: alive[kind][i][k])
    return remaining_weights(network, alive), macs
