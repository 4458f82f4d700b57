"""Cross-entropy per slot."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from autometa.ops.backend import dispatch, implements


def cross_entropy(logits: Tensor, labels: Tensor, *, backend: str | None = None) -> Tensor:
    """Mean over the batch of `-log softmax(logits)[label]`: logits `[S, N, K]`, int64 labels `[S, N]` -> `[S]`.

    Raises `ValueError` where the sizes disagree.
    """
    if logits.shape[:2] != labels.shape:
        raise ValueError(f"labels must be {list(logits.shape[:2])}, not {list(labels.shape)}")
    return dispatch("cross_entropy", logits.device, logits.dtype, backend)(logits, labels)


@implements("cross_entropy", "reference")
def _reference(logits: Tensor, labels: Tensor) -> Tensor:
    losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return losses.view(labels.shape).mean(dim=1)
