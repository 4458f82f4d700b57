"""Slots folded into channels: how the reference evaluates all slots in one PyTorch call.

An activation is `[slots, batch, channels, height, width]`.  Folded it is `[batch, slots * channels,
height, width]`, channels-last in memory, so that a convolution per slot is one grouped convolution and
batch statistics per slot are ordinary batch statistics per channel.  Both views share their memory.
"""

from __future__ import annotations

import torch
from torch import Tensor


def fold(x: Tensor) -> Tensor:
    """`[S, N, C, H, W]` -> `[N, S*C, H, W]`, channels-last; no copy where `x` came from `unfold`."""
    slots, batch, channels, height, width = x.shape
    y = x.transpose(0, 1).reshape(batch, slots * channels, height, width)
    return y.contiguous(memory_format=torch.channels_last)


def unfold(y: Tensor, slots: int) -> Tensor:
    """`[N, S*C, H, W]` -> `[S, N, C, H, W]`, a view."""
    batch, folded, height, width = y.shape
    return y.view(batch, slots, folded // slots, height, width).transpose(0, 1)


def no_slots(shape: tuple[int, ...], *leaves: Tensor) -> Tensor:
    """The result of an op without slots, `[0, ...]`, differentiable in the leaves as others are."""
    return sum(x.sum() for x in leaves) + leaves[0].new_zeros(shape)


def per_channel(v: Tensor, channels: int) -> Tensor:
    """`[S]` -> `[S*C]`: one value per slot, repeated for its channels.

    Contiguous even for one slot: the backward of PyTorch's batch_norm ignores the strides of its weight.
    """
    return v[:, None].expand(-1, channels).reshape(-1).contiguous()


def cat_channels(parts: list[Tensor]) -> Tensor:
    """Concatenate `[S, N, Ci, H, W]` over channels, keeping the folded channels-last memory."""
    if len(parts) == 1:
        return parts[0]
    return torch.cat([p.permute(1, 3, 4, 0, 2) for p in parts], dim=-1).permute(3, 0, 4, 1, 2)
