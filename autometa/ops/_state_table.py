"""Tables of states: which of an op's listed states a slot reads, where cells differ from slot to slot.

A table is int64 `[T, J]`: per state the first of the slot's input channels (or features) that it provides, or -1 where
the slot does not read it.  The states that a slot reads fill its input without gaps, in any order; what it does not
read costs nothing, may hold anything, and gets gradient 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autometa.brief import brief
from autometa.ops._checks import check_home
from autometa.ops._native import pointers
from autometa.ops._triton import derived


def check_state_table(table: Tensor | None, table_of_slot: Tensor | None, params: Tensor, states: int) -> None:
    """Raises `ValueError` where shapes, dtypes or devices do not fit params `[S, P]`."""
    if table is None:
        if table_of_slot is not None:
            raise ValueError("table_of_slot is given without a table")
        return
    if table.dim() != 2 or table.shape[1] != states or table.dtype != torch.int64:
        raise ValueError(f"table must be int64 [tables, {states}], not {list(table.shape)} {table.dtype}")
    check_rows_of_slots(table, table_of_slot, params)


def check_rows_of_slots(table: Tensor, table_of_slot: Tensor | None, params: Tensor) -> None:
    """Which row of a table each slot of params `[S, P]` follows. Raises `ValueError` as `check_state_table` does."""
    slots = params.shape[0]
    check_home("table", table, params.device)
    if table_of_slot is None and table.shape[0] != 1:
        raise ValueError(f"table_of_slot is needed where there are {table.shape[0]} tables")
    if table_of_slot is None:
        return
    check_home("table_of_slot", table_of_slot, params.device)
    if table_of_slot.shape != (slots,) or table_of_slot.dtype != torch.int64:
        raise ValueError(
            f"table_of_slot must be int64 [{slots}], not {list(table_of_slot.shape)} {table_of_slot.dtype}"
        )


def readers(
    table: Tensor, table_of_slot: Tensor | None, slots: int, sizes: Sequence[int]
) -> Iterator[tuple[Tensor, list[int]]]:
    """For every row that slots follow: those slots int64 `[s]`, and the states they read in the order of their places;
    sizes: what each state provides.  Raises `ValueError` where these leave gaps or overlap."""
    own = table.new_zeros(slots) if table_of_slot is None else table_of_slot
    if slots and not 0 <= int(own.min()) <= int(own.max()) < table.shape[0]:
        raise ValueError(f"table_of_slot must lie in 0..{table.shape[0] - 1}")
    for t, row in enumerate(table.tolist()):
        found = (own == t).nonzero().flatten()
        if len(found):
            yield found, _in_order(t, row, sizes)


def _in_order(t: int, row: Sequence[int], sizes: Sequence[int]) -> list[int]:
    """The states that row t reads, by their places."""
    states = sorted((j for j, at in enumerate(row) if at >= 0), key=lambda j: row[j])
    end = 0
    for j in states:
        if row[j] != end:
            raise ValueError(f"table {t}: state {j} begins at {row[j]}, not at {end}, where the one before it ends")
        end += sizes[j]
    return states


@brief
@dataclass(frozen=True)
class StateReads:
    """A table as the Triton kernels read it (kernels/state_table.py): int32 `[T, 1 + 2 J]` on the device; of_slot as
    in `table_of_slot`, None where all slots follow one row; narrowest, widest: the fewest and the most channels (or
    features) that a row reads.
    """

    table: Tensor
    of_slot: Tensor | None
    narrowest: int
    widest: int

    @classmethod
    def of(cls, table: Tensor, table_of_slot: Tensor | None, sizes: Sequence[int], device: torch.device) -> StateReads:
        """Made once per table; whether table_of_slot names rows that exist is not looked at, for that would wait.

        Raises `ValueError` where places of some row leave gaps or overlap.
        """
        made, *depths = derived(table, ("states", *sizes), device, lambda t: _for_kernels(t.tolist(), sizes, device))
        return cls(made, None if table_of_slot is None else table_of_slot.contiguous(), *depths)


def _for_kernels(table: list[list[int]], sizes: Sequence[int], device: torch.device) -> tuple[Tensor, int, int]:
    rows = []
    for t, row in enumerate(table):
        states = _in_order(t, row, sizes)
        rows.append([sum(sizes[j] for j in states), *row, *states, *[-1] * (len(row) - len(states))])
    depths = [row[0] for row in rows]
    return torch.tensor(rows, dtype=torch.int32, device=device), min(depths), max(depths)


def table_arguments(table: Tensor | None, table_of_slot: Tensor | None) -> tuple[int, ...]:
    """Of the compiled module; both tensors must be contiguous and stay alive."""
    return (0 if table is None else table.shape[0]), *pointers(table, table_of_slot)
