"""The Triton backend of `cross_entropy`. A label out of range gives NaN: the device cannot raise."""

from __future__ import annotations

import torch
from torch import Tensor

from autometa.ops._native import once_differentiable, register
from autometa.ops._norm_triton import scratch
from autometa.ops._triton import kernels


@register(
    "cross_entropy_triton",
    "(Tensor logits, Tensor labels) -> Tensor",
    fake=lambda logits, labels: logits.new_empty(logits.shape[0]),
    devices=None,
)
def cross_entropy_triton(logits: Tensor, labels: Tensor) -> Tensor:
    """The call of the `triton` backend, see `cross_entropy`."""
    losses = scratch(logits, logits.shape[0])
    if logits.shape[1] == 0:
        return losses.fill_(torch.nan)
    kernels("cross_entropy").losses(logits.contiguous(), labels.to(torch.int64).contiguous(), losses)
    return losses


@register(
    "cross_entropy_triton_backward",
    "(Tensor grad, Tensor logits, Tensor labels) -> Tensor",
    fake=lambda grad, logits, labels: logits.new_empty(logits.shape),
    devices=None,
)
def _backward(grad: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    found = scratch(logits, *logits.shape)
    labels = labels.to(torch.int64).contiguous()
    kernels("cross_entropy").losses_backward(grad.contiguous(), logits.contiguous(), labels, found)
    return found


def _save(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _formula(ctx, grad):
    return _backward(grad, *ctx.saved_tensors), None


once_differentiable(cross_entropy_triton, _backward, _save, _formula)
