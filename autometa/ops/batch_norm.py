"""Batch normalisation per slot, the piece every convolutional op of this room shares.

`y = (x - mean) / sqrt(var + eps)` with mean and biased variance over batch, height and width of one slot's
batch, per channel (Ioffe and Szegedy 2015).  No running statistics exist: `given` statistics replace those of the
batch where a whole support set speaks for each query.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from autometa.ops.folding import per_channel


def batch_norm(
    x: Tensor,
    slots: int,
    eps: float,
    scale: Tensor | None = None,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    given: Tensor | None = None,
) -> Tensor:
    """`scale * (gamma * normalised(x) + beta)`.

    x `[N, S*C, H, W]` folded; scale `[S]`; gamma, beta `[S, C]`; given `[S, 2, C]` (mean, biased variance).
    """
    x = _channels_last(x)
    channels = x.shape[1] // slots
    # Contiguous also where a slot has one channel: the backward of PyTorch's batch_norm ignores their strides.
    weight = None if gamma is None else gamma.reshape(-1).contiguous()
    bias = None if beta is None else beta.reshape(-1).contiguous()
    if scale is not None:
        factor = per_channel(scale, channels)
        weight = factor if weight is None else weight * factor
        bias = None if bias is None else bias * factor
    if given is None and x.numel() == x.shape[1]:
        # One value per channel: its own mean, variance 0.  PyTorch refuses this case; the formula does not.
        zero = x - x
        y = zero if weight is None else zero * weight[:, None, None]
        return y if bias is None else y + bias[:, None, None]
    if given is None:
        return F.batch_norm(x, None, None, weight, bias, True, 0.0, eps)
    mean, variance = given[:, 0].reshape(-1).contiguous(), given[:, 1].reshape(-1).contiguous()
    return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)


def _channels_last(x: Tensor) -> Tensor:
    """`x` with exactly the strides of channels-last memory; a copy only where it has others.

    With axes of length 1 several strides describe one memory. PyTorch's backward of batch_norm then takes input and
    gradient for different layouts and returns wrong gradients (seen in 2.13: batch 1, width 1).
    """
    _, channels, height, width = x.shape
    if x.stride() == (channels * height * width, 1, channels * width, channels):
        return x
    return x.clone(memory_format=torch.channels_last)


def batch_statistics(x: Tensor, slots: int) -> Tensor:
    """Mean and biased variance of a folded activation: `[S, 2, C]`, detached; 0 where there are no images."""
    if x.numel() == 0:
        return x.new_zeros(slots, 2, x.shape[1] // slots)
    variance, mean = torch.var_mean(x.detach(), dim=(0, 2, 3), correction=0)
    return torch.stack([mean.view(slots, -1), variance.view(slots, -1)], dim=1)
