"""Rows of an arena as its ops see them: which columns are of which kind, which group and layout a slot follows."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import torch
from torch import Tensor

from autometa.ops._checks import check_table
from autometa.ops._native import pointers

MOST_BOUND = 8


class Rows:
    """Tables of an arena `[slots, row]`, checked here and bound once to the compiled modules.

    bounds int64 `[layouts, kinds + 1]`, columns at which the kinds of a row begin and end; group_of_slot,
    layout_of_slot int64 `[slots]`; all on the arena's device. Their values may change in place: the compiled modules
    look at those of each call.

    Raises `ValueError` where shapes, dtypes or devices do not fit together, or a table is not contiguous.
    """

    def __init__(self, bounds: Tensor, group_of_slot: Tensor, layout_of_slot: Tensor) -> None:
        self.bounds, self.group_of_slot, self.layout_of_slot = bounds, group_of_slot, layout_of_slot
        self.slots = group_of_slot.numel()
        self._bound: dict[tuple, object] = {}
        self._check()
        self.kinds = bounds.shape[1] - 1

    def _check(self) -> None:
        if self.bounds.dim() != 2 or self.bounds.shape[1] < 2:
            raise ValueError(f"bounds must be [layouts, kinds + 1], it has shape {tuple(self.bounds.shape)}")
        device = self.bounds.device
        check_table("bounds", self.bounds, tuple(self.bounds.shape), torch.int64, device)
        check_table("group_of_slot", self.group_of_slot, (self.slots,), torch.int64, device)
        check_table("layout_of_slot", self.layout_of_slot, (self.slots,), torch.int64, device)

    def __reduce__(self):
        return Rows, self.tensors

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """As the registered ops take them, one after another."""
        return self.bounds, self.group_of_slot, self.layout_of_slot

    def check_slots(self, name: str, value: Tensor) -> None:
        """Raises `ValueError` where value `[slots, row]` is of another number of slots, or on another device."""
        if value.shape[0] != self.slots or value.device != self.bounds.device:
            raise ValueError(
                f"{name} must have {self.slots} slots on {self.bounds.device}, as group_of_slot has; it has "
                f"{value.shape[0]} on {value.device}"
            )

    def check_values(self, row: int, groups: int) -> None:
        """What the tables say, for rows of so many columns: what the compiled modules check for themselves."""
        bounds = self.bounds
        if bounds.numel() and not (
            bool((bounds[:, 1:] >= bounds[:, :-1]).all()) and 0 <= int(bounds.min()) <= int(bounds.max()) <= row
        ):
            raise ValueError(f"bounds must rise along each row and lie in 0..{row}")
        for name, limit in (("group_of_slot", groups), ("layout_of_slot", bounds.shape[0])):
            table = getattr(self, name)
            if table.numel() and not 0 <= int(table.min()) <= int(table.max()) < limit:
                raise ValueError(f"{name} must lie in 0..{limit - 1}")

    def segments(self, active: Tensor) -> Iterator[tuple[int, slice | Tensor, slice]]:
        """Yield (kind, slots, columns) for every layout and kind with `active` slots (bool `[slots, kinds]`).

        Slots are `slice(None)` where all of them take part, so that indexing gives a view.
        """
        for layout, edges in enumerate(self.bounds.tolist()):
            of_layout = self.layout_of_slot == layout
            for kind in range(self.kinds):
                columns = slice(edges[kind], edges[kind + 1])
                chosen = (of_layout & active[:, kind]).nonzero().flatten()
                if columns.start == columns.stop or chosen.numel() == 0:
                    continue
                yield kind, slice(None) if chosen.numel() == self.slots else chosen, columns

    def bound(self, module: ModuleType, row: int, groups: int):
        """The `Arena` of a compiled module for rows of so many columns, made once for as long as the tables stay where
        they are: a table that is resized or given other memory is checked and bound anew."""
        places = pointers(*self.tensors)
        found = self._bound.get((module, row, groups, places))
        if found is None:
            self._check()
            if len(self._bound) >= MOST_BOUND:
                self._bound.clear()
            sizes = (self.slots, row, groups, self.bounds.shape[0], self.kinds)
            found = self._bound[module, row, groups, places] = module.Arena(places, sizes)
        return found
