"""Last layers made of a support set, in the rows of slots: from prototypes, or one vector for every class.

All is plain, twice differentiable PyTorch, batched over slots. head int64 `[S, ways, F + 1]` says where a slot's last
layer stands, see `slots.layout.head_columns`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from autometa.meta.learner import TaskChunk


def prototypes(features: Tensor, labels: Tensor, ways: int) -> Tensor:
    """Mean of each class: features `[S, M, F]`, labels int64 `[S, M]` -> `[S, ways, F]`; 0 for a class without any."""
    members = classes_of(labels, ways).to(features.dtype)  # [S, M, ways]
    return (members.transpose(1, 2) @ features) / members.sum(dim=1).clamp(min=1.0)[..., None]


def classes_of(labels: Tensor, ways: int) -> Tensor:
    """bool `[S, M, ways]` of numbers of classes `[S, M]`."""
    return labels[..., None] == torch.arange(ways, dtype=labels.dtype, device=labels.device)


def prototype_head(phi: Tensor, head: Tensor, task: TaskChunk, step: int, scale: float = 1.0) -> Tensor:
    """phi `[S, row]` with the last layer that tells classes apart by the squared Euclidean distance to their
    prototypes c: weights 2 c, bias -|c|^2 (Snell et al. 2017, equation 8), both multiplied by scale; step: the inner
    step of the network that makes the features.
    """
    assert task.features is not None, "given wherever a learner may want them"
    images, labels = task.batches.support()
    means = prototypes(task.features(phi, images, step), labels, head.shape[1])
    missing = head.shape[2] - 1 - means.shape[2]
    means = F.pad(means, (0, missing)) if missing > 0 else means[..., : means.shape[2] + missing]
    return with_head(phi, head, scale * torch.cat([2 * means, -means.square().sum(dim=2, keepdim=True)], dim=2))


def shared_head(phi: Tensor, head: Tensor) -> Tensor:
    """phi `[S, row]` with the first class's row of the last layer in place of every row."""
    first = _widened(phi).gather(1, head[:, 0])
    return with_head(phi, head, first[:, None].expand(-1, head.shape[1], -1))


def with_head(phi: Tensor, head: Tensor, values: Tensor) -> Tensor:
    """phi `[S, row]` with a last layer of these weights and biases, `[S, ways, F + 1]`."""
    return _widened(phi).scatter(1, head.flatten(1), values.flatten(1))[:, : phi.shape[1]].contiguous()


def _widened(phi: Tensor) -> Tensor:
    """With the column behind the end, where what a narrower last layer does not have goes to."""
    return F.pad(phi, (0, 1))
