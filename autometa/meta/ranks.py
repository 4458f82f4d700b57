"""A meta-batch divided among processes (torch.distributed, as `torchrun` starts them), every one with the same theta.

Each process adapts its own slots; one all-reduce per meta-iteration adds up their means, and all take the same step.
Process 0 leads: it alone keeps the run, and tells the others what comes next; they follow until it sends them home.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from autometa.ops.reptile import reptile_
from autometa.slots.arena import Arena

STEP, CAPTURE, RESTORE, END = range(4)
PATIENCE = timedelta(hours=6)
"""How long to wait for the others: the leader may prepare data or write to a slow disk meanwhile."""


@dataclass(frozen=True)
class Ranks:
    """This process among the others: `rank` of `size`, `local` on its machine."""

    rank: int
    size: int
    local: int

    @classmethod
    def launched(cls) -> Ranks | None:
        """Join those that torchrun started with us; None where it did not, or one process alone.

        Tensors on the CPU travel by gloo, those on GPUs by NCCL.
        """
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1 or "RANK" not in os.environ:
            return None
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if not dist.is_initialized():
            both = torch.cuda.is_available() and dist.is_nccl_available()
            dist.init_process_group("cpu:gloo,cuda:nccl" if both else "gloo", timeout=PATIENCE)
        return cls(dist.get_rank(), dist.get_world_size(), local)

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def share(self, total: int, rank: int | None = None) -> tuple[int, int]:
        """Which of `total` slots are this process's, `[start, stop)`: in order, numbers differ by one at most."""
        rank = self.rank if rank is None else rank
        return total * rank // self.size, total * (rank + 1) // self.size

    def told(self, value: Any = None) -> Any:
        """What the leader says to all, a small Python object."""
        box = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def command(self, what: int = END, number: int = 0) -> tuple[int, int]:
        """The leader tells (what, number), the others hear it; what: STEP, CAPTURE, RESTORE or END."""
        value = torch.tensor([what, number], dtype=torch.int64, device="cpu")
        dist.broadcast(value, src=0)
        return int(value[0]), int(value[1])

    def summed(self, values: Tensor) -> Tensor:
        """`values` added up over all processes, in place; the same bits everywhere."""
        dist.all_reduce(values)
        return values

    def gathered(self, rows: Tensor, total: int) -> Tensor:
        """The rows of all slots on the leader, `[total, ...]` on the CPU; the others' own rows elsewhere."""
        rows = rows.detach().cpu().contiguous()
        if not self.leads:
            dist.send(rows, 0)
            return rows
        parts = [rows]
        for rank in range(1, self.size):
            start, stop = self.share(total, rank)
            parts.append(rows.new_empty(stop - start, *rows.shape[1:]))
            dist.recv(parts[-1], rank)
        return torch.cat(parts)

    def scattered(self, rows: Tensor | None, own: Tensor, total: int) -> None:
        """Fill `own`, the rows of this process's slots, from the leader's `rows [total, ...]`."""
        if self.leads:
            assert rows is not None, "the leader has them all"
            for rank in range(1, self.size):
                start, stop = self.share(total, rank)
                dist.send(rows[start:stop].cpu().contiguous(), rank)
            own.copy_(rows[slice(*self.share(total))])
        else:
            received = torch.empty(own.shape, dtype=own.dtype, device="cpu")
            dist.recv(received, 0)
            own.copy_(received)

    def copied(self, values: Tensor) -> None:
        """Overwrite `values` with the leader's."""
        passed = values.detach().cpu()
        dist.broadcast(passed, src=0)
        values.copy_(passed)

    @contextlib.contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Signals to stop are the leader's to obey; it ends the others in order."""
        before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def leave(self) -> None:
        """Part from the others."""
        if dist.is_initialized():
            dist.destroy_process_group()


def part_of_mean(arena: Arena, finite: Tensor) -> Tensor:
    """What this process adds to the mean of all slots: float64 `[row + 1]`, the sum over its finite slots as
    Reptile's mean times their number, and that number. For arenas of one group."""
    mean = torch.zeros_like(arena.theta)
    ones = torch.ones(1, arena.rows.kinds, dtype=torch.float64, device=mean.device)
    reptile_(mean, arena.phi, ones, finite, arena.rows)
    count = finite.sum(dtype=torch.float64)
    return torch.cat([mean[0].to(torch.float64) * count, count[None]])


def mean_of_parts(total: Tensor, arena: Arena) -> tuple[Tensor, Tensor]:
    """The mean over all finite slots, `[1, row]`, and whether there is one, bool `[1]`, from the parts of all processes
    added up."""
    count = total[-1:]
    return (total[:-1] / count.clamp(min=1.0)).to(arena.theta.dtype)[None], count > 0


def part_of_moves(moves: Tensor, finite: Tensor) -> Tensor:
    """What this process adds to the sum of the slots' moves `[S, ...]` over the finite ones: float64 `[n]`."""
    rows = moves.flatten(1).to(torch.float64)
    return torch.where(finite[:, None], rows, torch.zeros_like(rows)).sum(dim=0)
