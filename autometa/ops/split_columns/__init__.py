"""A block of rows split into blocks of columns, the gradient joined in one pass.

`torch.split` alone would join by a concatenation that starts PyTorch's own threads, which then spin for
milliseconds beside those of the compiled ops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from autometa.ops._memory import floats
from autometa.ops._native import compiled_or_raise, pointer, refuses_unless, register, threads
from autometa.ops._triton import kernels, poisoned, triton_refuses
from autometa.ops.backend import dispatch, implements


def split_columns(rows: Tensor, widths: Sequence[int], *, backend: str | None = None) -> tuple[Tensor, ...]:
    """rows `[S, row]` -> views `[S, width]` for every width; together they must cover the row.

    Raises `ValueError` where they do not.
    """
    if sum(widths) != rows.shape[1]:
        raise ValueError(f"widths must add up to {rows.shape[1]}, not to {sum(widths)}")
    return dispatch("split_columns", rows.device, rows.dtype, backend)(rows, list(widths))


@implements("split_columns", "reference")
def _reference(rows: Tensor, widths: list[int]) -> tuple[Tensor, ...]:
    return torch.split(rows, widths, dim=1)


@register(
    "join_columns",
    "(Tensor?[] parts, SymInt[] widths, SymInt rows, Tensor like) -> Tensor",
    fake=lambda parts, widths, rows, like: like.new_empty(rows, sum(widths)),
)
def _join(parts: Sequence[Tensor | None], widths: Sequence[int], rows: int, like: Tensor) -> Tensor:
    parts = [None if p is None else p if p.shape[1] <= 1 or p.stride(1) == 1 else p.contiguous() for p in parts]
    row = sum(widths)
    out = floats(rows * row).view(rows, row)
    columns = [(pointer(p), 0 if p is None else p.stride(0), w) for p, w in zip(parts, widths, strict=True)]
    compiled_or_raise().join_columns(columns, pointer(out), rows, row, threads())
    return out


@register(
    "join_columns_triton",
    "(Tensor?[] parts, SymInt[] widths, SymInt rows, Tensor like) -> Tensor",
    fake=lambda parts, widths, rows, like: like.new_empty(rows, sum(widths)),
    devices=None,
)
def _join_triton(parts: Sequence[Tensor | None], widths: Sequence[int], rows: int, like: Tensor) -> Tensor:
    parts = [None if p is None else p if p.shape[1] <= 1 or p.stride(1) == 1 else p.contiguous() for p in parts]
    out = poisoned(like.new_empty(rows, sum(widths)))
    kernels("split_columns").join(parts, widths, out)
    return out


class _Split(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows: Tensor, widths: list[int], join) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.widths, ctx.rows, ctx.join = widths, rows.shape[0], join
        return torch.split(rows, widths, dim=1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *grads: Tensor | None) -> tuple[Tensor | None, None, None]:
        like = next((g for g in grads if g is not None), None)
        if like is None:
            return None, None, None
        return ctx.join(list(grads), ctx.widths, ctx.rows, like), None, None


def _split(join: Callable) -> Callable:
    def call(rows: Tensor, widths: list[int]) -> tuple[Tensor, ...]:
        if not (torch.is_grad_enabled() and rows.requires_grad):
            return torch.split(rows, widths, dim=1)
        return _Split.apply(rows, widths, join)

    return call


implements("split_columns", "cpp", refuses=refuses_unless(torch.float32))(_split(_join))
implements("split_columns", "triton", refuses=triton_refuses)(_split(_join_triton))
