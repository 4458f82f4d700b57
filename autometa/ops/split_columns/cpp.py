"""Blocks of columns joined by the compiled module."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from autometa.ops._memory import floats
from autometa.ops._native import arena_rows, compiled_or_raise, pointer, register, threads

ARGUMENTS = "Tensor?[] parts, SymInt[] widths, SymInt rows, Tensor like"


def fake(parts, widths, rows, like):
    """The joined rows."""
    return like.new_empty(rows, sum(widths))


@register("join_columns", f"({ARGUMENTS}) -> Tensor", fake)
def join_columns(parts: Sequence[Tensor | None], widths: Sequence[int], rows: int, like: Tensor) -> Tensor:
    """parts `[rows, width]` side by side, zeros for None."""
    parts = [None if p is None else arena_rows(p) for p in parts]
    row = sum(widths)
    out = floats(rows * row).view(rows, row)
    columns = [(pointer(p), 0 if p is None else p.stride(0), w) for p, w in zip(parts, widths, strict=True)]
    compiled_or_raise().join_columns(columns, pointer(out), rows, row, threads())
    return out
