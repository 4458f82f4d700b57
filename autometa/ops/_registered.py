"""Nodes with registered primitives: which instances the kernels compute and which the reference."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from autometa.ops._triton import derived
from autometa.ops.backend import BACKENDS, requested
from autometa.ops.primitives import BUILT_IN, BY_CODE

_PRIMITIVE = 2
_UNUSED = -1


@dataclass(frozen=True)
class Apart:
    """A table in two of its shape, each with the other's rows marked unused; registered_rows: bool `[T, I]`."""

    built_in: Tensor
    registered: Tensor
    registered_rows: Tensor
    names: tuple[str, ...]
    kernels_have_work: bool

    def mask_of(self, table_of_slot: Tensor | None, slots: int) -> Tensor:
        """Which instances of each slot are registered primitives, bool `[S, I, 1, 1, 1]`, to choose statistics by."""
        rows = self.registered_rows
        rows = rows.expand(slots, -1) if table_of_slot is None else rows.index_select(0, table_of_slot)
        return rows[:, :, None, None, None]


def apart(table: Tensor) -> Apart | None:
    """The parts of an int64 table `[T, I, 5]` of `mixed_op`, None where it names no registered primitive."""
    return None if len(BY_CODE) == BUILT_IN else derived(table, "apart", table.device, _made)


def _made(table: Tensor) -> Apart | None:
    codes = table[..., _PRIMITIVE]
    own = (codes >= BUILT_IN) & (codes < len(BY_CODE))
    if not bool(own.any()):
        return None
    built_in, registered = table.clone(), table.clone()
    built_in[..., _PRIMITIVE][own] = _UNUSED
    registered[..., _PRIMITIVE][~own] = _UNUSED
    names = tuple(BY_CODE[code].name for code in sorted(set(codes[own].tolist())))
    return Apart(built_in, registered, own, names, bool((built_in[..., _PRIMITIVE] >= 0).any(dim=1).all()))


def lacking_for(tables: Iterable[Tensor], backend: str | None, whole: bool = False) -> dict[str, str]:
    """Backends that may not run an op with these tables, and why: those forced, since a part would run elsewhere;
    all with kernels where the op cannot be divided (`whole`)."""
    if len(BY_CODE) == BUILT_IN or (requested(backend) == "auto" and not whole):
        return {}
    names = sorted({name for table in tables if (found := apart(table)) for name in found.names})
    if not names:
        return {}
    reason = f"it has no kernel for {', '.join(names)}, which a plugin registered; leave the choice to auto"
    return {other: reason for other in BACKENDS if other != "reference"}
