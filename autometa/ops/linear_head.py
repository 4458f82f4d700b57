"""The classifier on top: mean over height and width (or all of it), then a linear layer with bias."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from autometa.ops.backend import dispatch, implements
from autometa.ops.primitives import Shape, read_parameters


def head_parameters(features: int, classes: int) -> tuple[Shape, ...]:
    """weight `[classes, features]`, bias `[classes]`."""
    return (Shape("weight", (classes, features)), Shape("bias", (classes,)))


def linear_head(
    states: Sequence[Tensor], params: Tensor, classes: int, *, flatten: bool = False, backend: str | None = None
) -> Tensor:
    """states, each `[S, N, C_j, H, W]`, read as if concatenated over channels; params `[S, P]`.

    Features are means over height and width, or with `flatten` all values in the order channel, height, width.
    Returns logits `[S, N, classes]`.
    """
    call = dispatch("linear_head", params.device, params.dtype, backend)
    return call(states, params, classes, flatten)


@implements("linear_head", "reference")
def _reference(states, params, classes, flatten):
    if flatten:
        features = torch.cat([x.flatten(2) for x in states], dim=2)
    else:
        features = torch.cat([x.mean(dim=(3, 4)) for x in states], dim=2)
    weight, bias = read_parameters(params, head_parameters(features.shape[2], classes))
    return torch.baddbmm(bias[:, None], features, weight.transpose(1, 2))
