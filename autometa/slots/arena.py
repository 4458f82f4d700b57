"""The arena: parameters, gradients' moments and counters of all slots as a few contiguous tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import torch
from torch import Tensor

from autometa.brief import brief
from autometa.ops.rows import Rows
from autometa.slots.layout import Layout, entry_starts, head_columns, norm_columns


@brief
@dataclass
class Arena:
    """`S` slots, `G` groups, `L` layouts, `K` kinds (body, head, architecture), rows of the longest layout.

    theta `[G, row]` meta-parameters; phi `[S, row]` adapted parameters; second `[S, row]` Adam's second moment;
    steps int64 `[S, K]` Adam's step count; bounds int64 `[L, K + 1]` column boundaries of the kinds;
    head int64 `[L, ways, F + 1]` columns of the last layers, see `head_columns`; starts int64 `[L, E]` first columns of
    the entries, norms int64 `[L, N]` columns of BN's weights and biases, both padded with `row`; group_of_slot,
    layout_of_slot int64 `[S]`.
    """

    theta: Tensor
    phi: Tensor
    second: Tensor
    steps: Tensor
    bounds: Tensor
    head: Tensor
    starts: Tensor
    norms: Tensor
    group_of_slot: Tensor
    layout_of_slot: Tensor

    @classmethod
    def create(
        cls, layouts: Sequence[Layout], theta: Tensor, group_of_slot: Tensor, layout_of_group: Tensor | None = None
    ) -> Arena:
        """Slots start at their group's theta, moments and counters at 0.

        Raises `ValueError` where theta is shorter than the longest layout.
        """
        longest = max(layout.row for layout in layouts)
        if theta.dim() != 2 or theta.shape[1] < longest:
            raise ValueError(f"theta must be [groups, {longest} or more], not {list(theta.shape)}")
        slots, device = len(group_of_slot), theta.device
        group_of_slot = group_of_slot.to(device=device, dtype=torch.int64)
        if layout_of_group is None:
            layout_of_group = torch.zeros(theta.shape[0], dtype=torch.int64, device=device)
        bounds = torch.tensor([layout.bounds for layout in layouts], dtype=torch.int64, device=device)
        return cls(
            theta=theta,
            phi=theta.index_select(0, group_of_slot).clone(),
            second=theta.new_zeros(slots, theta.shape[1]),
            steps=torch.zeros(slots, bounds.shape[1] - 1, dtype=torch.int64, device=device),
            bounds=bounds,
            head=head_columns(layouts, theta.shape[1]).to(device),
            starts=entry_starts(layouts, theta.shape[1]).to(device),
            norms=norm_columns(layouts, theta.shape[1]).to(device),
            group_of_slot=group_of_slot,
            layout_of_slot=layout_of_group.index_select(0, group_of_slot),
        )

    @classmethod
    def single(cls, layout: Layout, theta: Tensor, slots: int) -> Arena:
        """One group, one layout: theta `[row]` or `[1, row]`."""
        return cls.create([layout], theta.view(1, -1), torch.zeros(slots, dtype=torch.int64, device="cpu"))

    @cached_property
    def rows(self) -> Rows:
        """The tables as the ops on arenas read them."""
        return Rows(self.bounds, self.group_of_slot, self.layout_of_slot)

    @property
    def head_of_slot(self) -> Tensor:
        """Columns of each slot's last layer, int64 `[S, ways, F + 1]`."""
        return self.head.index_select(0, self.layout_of_slot)

    @property
    def layout_of_group(self) -> Tensor:
        """int64 `[G]`, 0 for a group without slots."""
        found = torch.zeros(self.groups, dtype=torch.int64, device=self.theta.device)
        return found.index_copy_(0, self.group_of_slot, self.layout_of_slot)

    @property
    def slots(self) -> int:
        return self.phi.shape[0]

    @property
    def groups(self) -> int:
        return self.theta.shape[0]

    def part(self, start: int, stop: int) -> Arena:
        """Slots `[start, stop)` as an arena that shares this one's memory: larger jobs run in chunks."""
        per_slot = ("phi", "second", "steps", "group_of_slot", "layout_of_slot")
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return Arena(**{n: v[start:stop] if n in per_slot else v for n, v in values.items()})

    def reload_(self) -> None:
        """Every slot starts again from its group's theta; moments and counters stay."""
        torch.index_select(self.theta, 0, self.group_of_slot, out=self.phi)

    def reset_moments_(self) -> None:
        """Forget what the optimiser knows."""
        self.second.zero_()
        self.steps.zero_()


def steps_by_kind(steps: Tensor) -> Tensor:
    """Adam's step counts `[..., kinds]` as this version keeps them: earlier ones counted weights and architecture, and
    the head among the weights."""
    return steps[..., [0, 0, 1]] if steps.dim() and steps.shape[-1] == 2 else steps
