"""A stand-in for a CUDA device: a graph is the step run again, and copies arrive when they are waited for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Later:
    """A copy that lands in `host` only when somebody waits for it."""

    values: Tensor
    host: Tensor

    def synchronize(self) -> None:
        self.host.copy_(self.values)


class FakeGraphs:
    """refuses: why nothing can be captured. most: slots in memory at once, asked of `slots()`; more are too many."""

    def __init__(
        self, refuses: str | None = None, free: int = 10**9, each: int = 1, most: int | None = None, slots=None
    ):
        self.refuses, self.free, self.each, self.most, self.slots = refuses, free, each, most, slots
        self.captured = self.replays = self.buffers = 0

    def warm_up(self, step: Callable[[], Tensor], times: int) -> None:
        if self.most is not None and self.slots() > self.most:
            step()
            raise torch.OutOfMemoryError("no room")
        for _ in range(times):
            step()

    def capture(self, step: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        if self.refuses:
            raise RuntimeError(self.refuses)
        self.captured += 1
        result = torch.full_like(step(), torch.nan)

        def replay() -> None:
            self.replays += 1
            result.copy_(step())

        return replay, result

    def host_buffer(self, like: Tensor) -> Tensor:
        self.buffers += 1
        return torch.full_like(like, torch.nan)

    def send(self, values: Tensor, host: Tensor) -> Later:
        host.fill_(torch.nan)
        return Later(values.clone(), host)

    def peak_bytes(self, work: Callable[[], object]) -> int:
        work()
        return self.each

    def free_bytes(self) -> int:
        return self.free
