"""Cross-entropy per slot."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from autometa.ops._native import refuses_unless
from autometa.ops._triton import triton_refuses
from autometa.ops.backend import dispatch, implements
from autometa.ops.cross_entropy.cpp import cross_entropy_cpp
from autometa.ops.cross_entropy.triton import cross_entropy_triton

_WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def cross_entropy(logits: Tensor, labels: Tensor, *, backend: str | None = None) -> Tensor:
    """Mean over the batch of `-log softmax(logits)[label]`: logits `[S, N, K]`, int64 labels `[S, N]` -> `[S]`.

    Raises `ValueError` where sizes or devices disagree, or labels are no numbers of classes.
    """
    if logits.dim() != 3 or logits.shape[2] == 0:
        raise ValueError(f"logits must be [slots, batch, classes] of a class at least, not {list(logits.shape)}")
    if logits.shape[:2] != labels.shape:
        raise ValueError(f"labels must be {list(logits.shape[:2])}, not {list(labels.shape)}")
    check_labels(labels, logits.device)
    return dispatch("cross_entropy", logits.device, logits.dtype, backend)(logits, labels)


def check_labels(labels: Tensor, device: torch.device) -> None:
    """Whole numbers, beside what they label. Raises `ValueError` where they are not."""
    if labels.device != device or labels.dtype not in _WHOLE:
        raise ValueError(f"labels must be whole numbers on {device}, they are {labels.dtype} on {labels.device}")


@implements("cross_entropy", "reference")
def _reference(logits: Tensor, labels: Tensor) -> Tensor:
    classes, labels = logits.shape[2], labels.to(torch.int64)
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(f"labels must lie in 0..{classes - 1}, they lie in {int(labels.min())}..{int(labels.max())}")
    losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return losses.view(labels.shape).mean(dim=1)


implements("cross_entropy", "cpp", refuses=refuses_unless(torch.float32))(cross_entropy_cpp)
implements("cross_entropy", "triton", refuses=triton_refuses)(cross_entropy_triton)
