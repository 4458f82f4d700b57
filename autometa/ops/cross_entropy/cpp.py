"""The compiled backend of `cross_entropy`."""

from __future__ import annotations

import torch
from torch import Tensor

from autometa.ops._memory import numbers
from autometa.ops._native import Op, once_differentiable, register, run, threads


def register_pair(forward, backward, suffix: str = "", devices: str | None = "cpu") -> tuple[Op, Op]:
    """The ops of a backend, `forward(logits, labels)` with the gradient `backward(grad, logits, labels)`."""
    losses = register(
        f"cross_entropy{suffix}",
        "(Tensor logits, Tensor labels) -> Tensor",
        lambda logits, labels: logits.new_empty(logits.shape[0]),
        devices,
    )(forward)
    gradient = register(
        f"cross_entropy{suffix}_backward",
        "(Tensor grad, Tensor logits, Tensor labels) -> Tensor",
        lambda grad, logits, labels: logits.new_empty(logits.shape),
        devices,
    )(backward)
    once_differentiable(
        losses,
        gradient,
        lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
        lambda ctx, grad: (gradient(grad, *ctx.saved_tensors),),
    )
    return losses, gradient


def _forward(logits: Tensor, labels: Tensor) -> Tensor:
    logits, labels = logits.contiguous(), labels.to(torch.int64).contiguous()
    losses = numbers(logits.shape[0])
    run("cross_entropy", logits, labels, *logits.shape, losses, threads())
    return losses


def _backward(grad: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    grad, logits, labels = grad.contiguous(), logits.contiguous(), labels.to(torch.int64).contiguous()
    found = numbers(*logits.shape)
    run("cross_entropy_backward", grad, logits, labels, *logits.shape, found, threads())
    return found


cross_entropy_cpp, cross_entropy_cpp_backward = register_pair(_forward, _backward)
