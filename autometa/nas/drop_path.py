"""Drop path (Larsson et al. 2017): whole op instances are dropped, per image, while training."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from autometa.nas.cell_network import CellNetwork
from autometa.ops.philox import DROP_PATH, philox_uint32


def drop_masks(
    network: CellNetwork, keep: float, seed: int, task_ids: Tensor, step: int, batch: int, dtype: torch.dtype
) -> dict[tuple[int, int], Tensor] | None:
    """(cell, node) -> `[S, N, I]` of 0 and 1/keep; identities are exempt and get 1. None where keep is 1.

    Slot s draws from item task_ids[s] of stream `drop path`: instance i of image n in inner step t is draw
    `(t * batch + n) * instances + i`, so a task's masks depend on nothing else.
    """
    if keep >= 1.0:
        return None
    instances = [(c, i, len(network.cell(c).nodes[i])) for c, i in network.tables]
    total = sum(n for _, _, n in instances)
    draws = step * batch * total + np.arange(batch * total)
    uniform = philox_uint32(seed, DROP_PATH, task_ids.cpu().numpy()[:, None], draws[None, :])
    kept = torch.from_numpy((uniform < keep * 2.0**32).reshape(len(task_ids), batch, total))
    scaled = (kept.to(dtype) / keep).split([n for _, _, n in instances], dim=2)
    masks = {}
    for (c, i, _), mask in zip(instances, scaled, strict=True):
        cell, reduction = network.cell(c), c in network.reductions
        mask = mask.clone()
        for k, instance in enumerate(cell.nodes[i]):
            if instance.primitive == "skip_connect" and cell.stride(instance, reduction) == 1:
                mask[:, :, k] = 1.0
        masks[c, i] = mask
    return masks
