"""Times on a GPU: events around calls, variants taking turns, and the device's own ceilings in the same run."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable

import torch

from autometa.ops.backend import libraries
from autometa.train.replay import CudaGraphs

GPU = torch.device("cuda", 0)
LEAST_MS = 20.0  # of a turn: shorter calls are repeated
COPY = 2**31  # bytes
SIDE = 8192


class Clock:
    """What is left of a time budget in seconds."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return max(0.0, self._end - time.monotonic())

    def part(self, seconds: float) -> Clock:
        """A budget of at most what is left here."""
        return Clock(min(seconds, self.left))


def release() -> None:
    """Hand back what nobody holds, so that the next variant finds the memory that the last one found."""
    torch.cuda.synchronize()
    gc.collect()
    torch.cuda.empty_cache()


def milliseconds(call: Callable[[], object], repeats: int = 1) -> float:
    """Of one call, by the device's clock."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(repeats):
        call()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / repeats


def interleaved(calls: dict[str, Callable[[], object]], rounds: int, clock: Clock) -> dict[str, list[float]]:
    """Milliseconds of every call in every round, after a warm-up, in an order that alternates.

    At least three rounds, and more until `rounds` or the clock is at its end.
    """
    repeats = {}
    for name, call in calls.items():
        milliseconds(call)
        repeats[name] = max(1, int(LEAST_MS / max(milliseconds(call), 1e-3)))
    found: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds):
        if number >= 3 and not clock.left:
            break
        for name in sorted(calls, reverse=number % 2 == 1):
            found[name].append(milliseconds(calls[name], repeats[name]))
    return found


def taking_turns(
    makers: dict[str, Callable[[], Callable[[], object]]], rounds: int, clock: Clock, together: bool
) -> dict[str, list[float]]:
    """`interleaved` of what the makers make; where they do not fit into the memory together, each is made anew for two
    turns of its own."""
    if together:
        return interleaved({name: make() for name, make in makers.items()}, rounds, clock)
    found: dict[str, list[float]] = {name: [] for name in makers}
    for number in range(2):
        for name in sorted(makers, reverse=number % 2 == 1):
            call = makers[name]()
            found[name] += interleaved({name: call}, -(-rounds // 2), clock)[name]
            del call
            release()
    return found


def points(times: list[float]) -> dict[str, float]:
    """20, 50 and 80 percent points, and how many times there are."""
    cuts = statistics.quantiles(times, n=10) if len(times) > 1 else times * 9
    return {"p20_ms": cuts[1], "p50_ms": cuts[4], "p80_ms": cuts[7], "rounds": len(times)}


def graphed(call: Callable[[], object]) -> Callable[[], None]:
    """`call` as a captured graph. Raises `RuntimeError` where it cannot be captured."""
    graphs = CudaGraphs(GPU)
    graphs.warm_up(call, 3)
    return graphs.capture(call)[0]


def rotated(calls: list[Callable[[], object]]) -> Callable[[], None]:
    """One after another of the same call on different inputs, so that no cache holds them."""
    turn = -1

    def call() -> None:
        nonlocal turn
        turn = (turn + 1) % len(calls)
        calls[turn]()

    return call


def _product(dtype: torch.dtype, mode: str) -> tuple[Callable[[], object], float]:
    a, b = (torch.randn(SIDE, SIDE, device=GPU).to(dtype) for _ in range(2))
    out = torch.empty_like(a)

    def call() -> None:
        with libraries(mode):
            torch.mm(a, b, out=out)

    return call, 2.0 * SIDE**3 / 1e12


def _ceilings(clock: Clock) -> dict[str, float]:
    source = torch.randint(0, 256, (COPY,), dtype=torch.uint8, device=GPU)
    target = torch.empty_like(source)
    calls = {
        "copy GB/s": (lambda: target.copy_(source), 2.0 * COPY / 1e9),
        "fp32 TFLOP/s": _product(torch.float32, "fp32"),
        "tf32 TFLOP/s": _product(torch.float32, "tf32"),
        "bf16 TFLOP/s": _product(torch.bfloat16, "bf16"),
    }
    times = interleaved({name: call for name, (call, _) in calls.items()}, 7, clock)
    return {name: work / statistics.median(times[name]) * 1e3 for name, (_, work) in calls.items()}


def ceilings(clock: Clock) -> dict[str, float]:
    """GB/s of a copy (read and written) and TFLOP/s of matrix products that fill the device."""
    found = _ceilings(clock)
    release()
    return found
