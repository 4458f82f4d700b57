"""How kernels read tables of states: a row of 32-bit integers for each slot, or one for all.

A row is the number of channels (or features) that the slot reads, then of every state the first of these that it
provides (-1: not read), then the states that are read, in the order of their places. autometa/ops/_state_table.py makes
it.
"""

from __future__ import annotations

import triton
import triton.language as tl

NO_TABLE, ONE_TABLE, TABLE_PER_SLOT = (tl.constexpr(k) for k in range(3))


@triton.jit
def state_row(table, table_of_slot, s, COUNT: tl.constexpr, TABLES: tl.constexpr):
    """The row of slot s, where there are COUNT states."""
    if TABLES == TABLE_PER_SLOT:
        return table + tl.load(table_of_slot + s) * (2 * COUNT + 1)
    else:
        return table


@triton.jit
def place_of(row, j):
    """The first channel that state j provides, or -1."""
    return tl.load(row + 1 + j)


@triton.jit
def state_at(row, r, COUNT: tl.constexpr):
    """The state that is read as number r."""
    return tl.load(row + 1 + COUNT + r)


@triton.jit
def aligned(n):
    """The next multiple of 16, where a parameter may begin."""
    return (n + 15) // 16 * 16


def tables_of(reads) -> dict:
    """The arguments of a kernel; reads: a `StateReads` of autometa/ops/_state_table.py, or None."""
    if reads is None:
        return {"table": None, "table_of_slot": None, "TABLES": NO_TABLE.value}
    how = ONE_TABLE if reads.of_slot is None else TABLE_PER_SLOT
    return {"table": reads.table, "table_of_slot": reads.of_slot, "TABLES": how.value}
