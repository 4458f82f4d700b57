"""Blocks of columns joined by a Triton kernel."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from autometa.ops._native import arena_rows, register
from autometa.ops._triton import kernels, poisoned
from autometa.ops.split_columns.cpp import ARGUMENTS, fake


@register("join_columns_triton", f"({ARGUMENTS}) -> Tensor", fake, devices=None)
def join_columns_triton(parts: Sequence[Tensor | None], widths: Sequence[int], rows: int, like: Tensor) -> Tensor:
    """parts `[rows, width]` side by side, zeros for None."""
    out = poisoned(like.new_empty(rows, sum(widths)))
    kernels("split_columns").join([None if p is None else arena_rows(p) for p in parts], widths, out)
    return out
