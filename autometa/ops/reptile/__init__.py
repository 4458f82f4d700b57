"""The Reptile meta-update of all groups, in place."""

from __future__ import annotations

import torch

from autometa.ops._checks import check_matrix, check_table, require
from autometa.ops.backend import dispatch, implements
from autometa.ops.reptile import native as native
from autometa.ops.rows import Rows


def reptile_(
    theta: torch.Tensor,
    phi: torch.Tensor,
    step_size: torch.Tensor,
    finite: torch.Tensor,
    rows: Rows,
    *,
    backend: str | None = None,
) -> None:
    """``theta[g] += step_size[g, kind] * mean over the finite slots s of g of (phi[s] - theta[g])``.

    Reptile (Nichol et al. 2018, algorithm 2), with step sizes per kind (MetaNAS, equation 8). Computed as
    the mean of phi less theta, slots added in order and in float64 whatever the arena's dtype, with one
    rounding at the end; one slot and step size 1 give phi. A group without finite slots, and a kind with
    step size 0, stay as they are; so does padding.

    Args:
        theta: initialisations `[groups, row]`, float32 or float64, contiguous; changed.
        phi: adapted parameters `[slots, row]`, dtype and device of theta; read only.
        step_size: float64 `[groups, kinds]`.
        finite: bool `[slots]`, the slots that count.
        rows: kinds, group and layout of the slots' columns; all slots of a group have one layout.

    Raises:
        ValueError: a tensor of the wrong shape, dtype or device, one that is not contiguous, an index
            out of range, or a group with slots of two layouts. The values of tables on a GPU are not looked at
            (ops/_cuda.py).
        BackendError: the forced backend cannot run.
    """
    check_matrix("theta", theta)
    check_matrix("phi", phi)
    require(
        phi.shape[1] == theta.shape[1] and phi.dtype == theta.dtype and phi.device == theta.device,
        f"phi must have the row, dtype and device of theta; theta is {tuple(theta.shape)}, {theta.dtype}, "
        f"{theta.device}, phi is {tuple(phi.shape)}, {phi.dtype}, {phi.device}",
    )
    rows.check_slots("phi", phi)
    check_table("step_size", step_size, (theta.shape[0], rows.kinds), torch.float64, phi.device)
    check_table("finite", finite, (rows.slots,), torch.bool, phi.device)
    run = dispatch("reptile", phi.device, phi.dtype, backend)
    run(theta, phi, step_size, finite, rows)


@implements("reptile", "reference")
@torch.no_grad()
def _reference(theta, phi, step_size, finite, rows) -> None:
    rows.check_values(phi.shape[1], theta.shape[0])
    edges, sizes = rows.bounds.tolist(), step_size.tolist()
    layouts, good = rows.layout_of_slot.tolist(), finite.tolist()
    members: dict[int, list[int]] = {}
    for slot, group in enumerate(rows.group_of_slot.tolist()):
        members.setdefault(group, []).append(slot)
    for group, slots in members.items():
        layout = layouts[slots[0]]
        require(
            all(layouts[slot] == layout for slot in slots),
            f"the slots of group {group} have several layouts; a group is one architecture",
        )
        slots = [slot for slot in slots if good[slot]]
        if not slots:
            continue
        for kind, size in enumerate(sizes[group]):
            columns = slice(edges[layout][kind], edges[layout][kind + 1])
            if size == 0 or columns.start == columns.stop:
                continue
            start = theta[group, columns].double()
            total = torch.zeros_like(start)
            for slot in slots:
                total += phi[slot, columns]
            theta[group, columns] = (start + size * (total / len(slots) - start)).to(theta.dtype)
