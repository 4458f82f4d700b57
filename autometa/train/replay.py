"""A step captured once as a CUDA graph and replayed, and results that reach the host without stopping the device.

A meta-iteration is hundreds of launches on small tensors; a graph replays them with one call of the host.
"""

from __future__ import annotations

import contextlib
import gc
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

WARM_UP = 3
"""Runs before a capture: kernels are compiled and loaded, libraries set up, tables put on the device."""


class Arrival(Protocol):
    """A copy to the host under way."""

    def synchronize(self) -> None: ...


class Graphs(Protocol):
    """What replaying needs of a device; tests bring one that needs no GPU."""

    def warm_up(self, step: Callable[[], Tensor], times: int) -> None:
        """Run the step, apart from the caller's stream, and give back the memory that it took."""

    def capture(self, step: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """Record the step without running it: what replays it, and where its result will stand.

        Raises `RuntimeError` where the step does what cannot be recorded.
        """

    def host_buffer(self, like: Tensor) -> Tensor:
        """Memory of the host that the device can write to."""

    def send(self, values: Tensor, host: Tensor) -> Arrival:
        """Copy behind what the device has been given to do, and before what it will be given."""

    def peak_bytes(self, work: Callable[[], object]) -> int:
        """The most memory that `work` holds at once."""

    def free_bytes(self) -> int:
        """Memory that nobody holds."""


class CudaGraphs:
    """The CUDA device that `device` names."""

    broken: str | None = None
    """Why nothing is captured any more in this process: torch leaves the memory pool of a capture that it could not end
    under way, so that later allocations would go to it and `empty_cache` fails."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._side, self._reader = (torch.cuda.Stream(device) for _ in range(2))

    def warm_up(self, step: Callable[[], Tensor], times: int) -> None:
        main = torch.cuda.current_stream(self.device)
        self._side.wait_stream(main)
        with torch.cuda.stream(self._side):
            for _ in range(times):
                step()
        main.wait_stream(self._side)
        self.release()

    def release(self) -> None:
        """Wait, and hand unused memory back: a graph takes its own from the device, not from the allocator's rest."""
        torch.cuda.synchronize(self.device)
        gc.collect()
        if CudaGraphs.broken is None:
            torch.cuda.empty_cache()

    def capture(self, step: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        if CudaGraphs.broken is not None:
            raise RuntimeError(f"an earlier capture could not be ended ({CudaGraphs.broken})")
        graph, made, failed = torch.cuda.CUDAGraph(), [], []
        pool = torch.cuda.graph_pool_handle()

        def recorded() -> None:
            try:
                made.append(step())
            except Exception as error:
                failed.append(error)
                raise

        main = torch.cuda.current_stream(self.device)
        try:
            with torch.cuda.graph(graph, pool=pool, stream=self._side):
                recorded()
        except Exception as error:
            if error not in failed:
                CudaGraphs.broken = " ".join(str(error).split())[:120]
                self._end_pool(pool)
            raise (failed or [error])[0] from None  # ending a broken capture hides what broke it
        finally:
            torch.cuda.set_stream(main)  # which a capture that cannot be ended leaves as it is
        return graph.replay, made[0]

    def _end_pool(self, pool: tuple[int, int]) -> None:
        """What torch leaves undone: the allocator goes back to its common pool, where this torch lets us say so."""
        number = self.device.index or 0
        for name in ("_cuda_endAllocateToPool", "_cuda_releasePool"):
            with contextlib.suppress(AttributeError, RuntimeError):
                getattr(torch._C, name)(number, pool)

    def host_buffer(self, like: Tensor) -> Tensor:
        return torch.empty(like.shape, dtype=like.dtype, pin_memory=True)

    def send(self, values: Tensor, host: Tensor) -> Arrival:
        main, done = torch.cuda.current_stream(self.device), torch.cuda.Event(blocking=True)
        self._reader.wait_stream(main)
        with torch.cuda.stream(self._reader):
            host.copy_(values, non_blocking=True)
            done.record(self._reader)
        main.wait_event(done)  # the next step writes to the same place
        return done

    def peak_bytes(self, work: Callable[[], object]) -> int:
        self.release()
        before = torch.cuda.memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        work()
        torch.cuda.synchronize(self.device)
        return torch.cuda.max_memory_allocated(self.device) - before

    def free_bytes(self) -> int:
        self.release()
        return torch.cuda.mem_get_info(self.device)[0]


def replayed(
    step: Callable[[], Tensor], state: Sequence[Tensor], graphs: Graphs, told: Callable[[str], None]
) -> Callable[[], Tensor]:
    """What does the same as `step`, by a graph; `step` itself, after a sentence to `told`, where it cannot be captured.

    state: all that the step changes and depends on. It is here as it was when this returns. The tensor that a replay
    returns is overwritten by the next one. Raises what the step itself raises.
    """
    before = [value.clone() for value in state]
    try:
        graphs.warm_up(step, WARM_UP)
        try:
            replay, result = graphs.capture(step)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            told(f"iterations run op by op, slower than as a CUDA graph: {' '.join(str(error).split())[:200]}")
            return step
    finally:
        for value, old in zip(state, before, strict=True):
            value.copy_(old)

    def run() -> Tensor:
        replay()
        return result

    return run


class Lagged:
    """Results on their way to the host, at most `depth` of them, handed out in the order in which they were sent."""

    def __init__(self, depth: int, graphs: Graphs) -> None:
        self._depth, self._graphs = depth, graphs
        self._waiting: deque[tuple[int, Tensor, Arrival]] = deque()
        self._free: list[Tensor] = []

    def send(self, number: int, values: Tensor) -> list[tuple[int, Tensor]]:
        """Send the result of step `number`; returns those that made room for it."""
        arrived = [self._take()] if len(self._waiting) == self._depth else []
        host = self._free.pop() if self._free else self._graphs.host_buffer(values)
        self._waiting.append((number, host, self._graphs.send(values, host)))
        return arrived

    def drain(self) -> list[tuple[int, Tensor]]:
        """All that are still under way."""
        return [self._take() for _ in range(len(self._waiting))]

    def _take(self) -> tuple[int, Tensor]:
        number, host, arrival = self._waiting.popleft()
        arrival.synchronize()
        self._free.append(host)
        return number, host.clone()
