"""Drop path (Larsson et al. 2017): whole op instances are dropped, per image, while training."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from autometa.nas.networks.cell_network import CellNetwork
from autometa.ops.drop_masks import drop_masks as draw


def drop_masks(
    network: CellNetwork, keep: float, seed: int, task_ids: Tensor, step: int, batch: int, dtype: torch.dtype
) -> dict[tuple[int, int], Tensor] | None:
    """(cell, node) -> `[S, N, I]` of 0 and 1/keep; identities are exempt and get 1. None where keep is 1.

    Slot s draws from item task_ids[s] of stream `drop path`: instance i of image n in inner step t is draw
    `(t * batch + n) * instances + i`, so a task's masks depend on nothing else.
    """
    if keep >= 1.0:
        return None
    nodes = [(c, i) for c, i in network.tables]
    exempt = _identities(network, task_ids.device)
    masks = draw(task_ids, exempt, keep=keep, seed=seed, step=step, batch=batch, dtype=dtype)
    parts = masks.split([len(network.cell(c).nodes[i]) for c, i in nodes], dim=2)
    return {node: part.contiguous() for node, part in zip(nodes, parts, strict=True)}


@lru_cache(maxsize=64)
def _identities(network: CellNetwork, device: torch.device) -> Tensor:
    """bool `[instances]` over all nodes. Kept: a copy to a GPU would wait for it, and fail in a captured graph."""
    found = []
    for c, i in network.tables:
        cell, reduction = network.cell(c), c in network.reductions
        found += [
            instance.primitive == "skip_connect" and cell.stride(instance, reduction) == 1 for instance in cell.nodes[i]
        ]
    return torch.tensor(found, dtype=torch.bool, device=device)
