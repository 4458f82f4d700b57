"""One activation for several readers, its gradient the sum of theirs in one pass.

Autograd alone would add the gradients two by two, each time into fresh memory and in a format of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from autometa.ops._memory import activation, activation_strides, as_activation
from autometa.ops._native import compiled_or_raise, pointer, refuses_unless, register, threads
from autometa.ops._triton import as_map, empty_map, kernels, map_strides, triton_refuses
from autometa.ops.backend import dispatch, implements


def share(x: Tensor, readers: int, *, backend: str | None = None) -> tuple[Tensor, ...]:
    """x `[S, N, C, H, W]` -> `readers` tensors that are x; the gradient of x is the sum of theirs."""
    if readers < 2:
        return (x,) * readers
    return dispatch("share", x.device, x.dtype, backend)(x, readers)


@implements("share", "reference")
def _reference(x: Tensor, readers: int) -> tuple[Tensor, ...]:
    return (x,) * readers


@register("sum_activations", "(Tensor[] x) -> Tensor", fake=lambda x: x[0].new_empty_strided(*_like(x[0])))
def _sum(x: Sequence[Tensor]) -> Tensor:
    x = [as_activation(part) for part in x]
    out = activation(*x[0].shape)
    compiled_or_raise().sum_activations(
        [pointer(part) for part in x], pointer(out), x[0].shape[0] * x[0].shape[1], list(x[0].shape[2:]), threads()
    )
    return out


def _like(x: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(x.shape), activation_strides(tuple(x.shape))


@register(
    "sum_activations_triton",
    "(Tensor[] x) -> Tensor",
    fake=lambda x: x[0].new_empty_strided(x[0].shape, map_strides(tuple(x[0].shape))),
    devices=None,
)
def _sum_triton(x: Sequence[Tensor]) -> Tensor:
    x = [as_map(part) for part in x]
    out = empty_map(tuple(x[0].shape), x[0])
    kernels("share").total(x, out)
    return out


class _Share(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, readers: int, total) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.total = total
        return tuple(x.view_as(x) for _ in range(readers))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *grads: Tensor | None) -> tuple[Tensor | None, None, None]:
        found = [g for g in grads if g is not None]
        if len(found) < 2:
            return (found[0] if found else None), None, None
        return ctx.total(found), None, None


def _shared(total: Callable) -> Callable:
    def call(x: Tensor, readers: int) -> tuple[Tensor, ...]:
        if not (torch.is_grad_enabled() and x.requires_grad):
            return (x,) * readers
        return _Share.apply(x, readers, total)

    return call


implements("share", "cpp", refuses=refuses_unless(torch.float32))(_shared(_sum))
implements("share", "triton", refuses=triton_refuses)(_shared(_sum_triton))
