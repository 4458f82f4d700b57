"""Blocks of columns joined by the compiled module."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from autometa.ops._memory import floats
from autometa.ops._native import arena_rows, register, run, threads

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
    places = [(0, 0) if p is None else (p.data_ptr(), p.stride(0)) for p in parts]
    columns = [(*place, width) for place, width in zip(places, widths, strict=True)]
    run("join_columns", columns, out, rows, row, threads())
    return out
