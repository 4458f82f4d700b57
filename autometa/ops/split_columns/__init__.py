"""A block of rows split into blocks of columns, the gradient joined in one pass.

`torch.split` alone would join by a concatenation that starts PyTorch's own threads, which then spin for
milliseconds beside those of the compiled ops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from autometa.ops._native import recording, refuses_unless
from autometa.ops._triton import triton_refuses
from autometa.ops.backend import dispatch, implements
from autometa.ops.split_columns.cpp import join_columns
from autometa.ops.split_columns.triton import join_columns_triton


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
        if not recording(rows):
            return torch.split(rows, widths, dim=1)
        return _Split.apply(rows, widths, join)

    return call


implements("split_columns", "cpp", refuses=refuses_unless(torch.float32))(_split(join_columns))
implements("split_columns", "triton", refuses=triton_refuses)(_split(join_columns_triton))
