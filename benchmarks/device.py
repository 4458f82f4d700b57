"""Calls on a GPU beside their rivals: device time between events, with caches flushed and the host running ahead."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import pytest
import torch

from autometa.ops._cuda import cuda_refuses

REASON = cuda_refuses(torch.device("cuda"), torch.float32)
DEVICES = ("cpu", pytest.param("cuda", marks=pytest.mark.skipif(REASON is not None, reason=str(REASON))))
NATIVE = {"cpu": "cpp", "cuda": "cuda"}
FLUSHED = 1 << 28  # bytes, more than any level-2 cache
AHEAD = 2_000_000  # cycles of sleep, about a millisecond: everything of a turn is queued before its first event


def synchronized(device: str, call: Callable) -> Callable:
    """The call as the host sees it, with what the device does."""
    if device == "cpu":
        return call

    def run():
        call()
        torch.cuda.synchronize()

    return run


def device_seconds(calls: dict[str, Callable], rounds: int) -> dict[str, list[float]]:
    """Seconds on the device of every call in every round, in an order that alternates.

    Calls that wait for the device count the waiting too.
    """
    waste = torch.empty(FLUSHED, dtype=torch.uint8, device="cuda")
    for call in calls.values():
        for _ in range(3):
            call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds):
        for name in sorted(calls, reverse=number % 2 == 1):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            waste.fill_(number % 251)
            torch.cuda._sleep(AHEAD)
            begin.record()
            calls[name]()
            end.record()
            end.synchronize()
            seconds[name].append(begin.elapsed_time(end) / 1e3)
    return seconds


def device_side_by_side(
    benchmark, call: Callable, rivals: dict[str, Callable], moved: int = 0, rounds: int = 30
) -> dict[str, float]:
    """As `measure.side_by_side`, with device times in extra_info: pytest-benchmark's own columns are what the host
    sees. A rival "copy" moves as many bytes within the device."""
    calls = {"self": call, **rivals}
    if moved:
        source = torch.randn(moved // 8, device="cuda")
        target = torch.empty_like(source)
        calls["copy"] = lambda: target.copy_(source)
    seconds = device_seconds(calls, rounds)
    benchmark.pedantic(synchronized("cuda", call), rounds=rounds, iterations=1, warmup_rounds=3)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    own = medians.pop("self")
    ratios = {name: median / own for name, median in medians.items()}
    benchmark.extra_info.update(
        {
            "device": torch.cuda.get_device_name(),
            "device self_us": own * 1e6,
            **{f"device {name}_us": median * 1e6 for name, median in medians.items()},
            **{f"{name} over self": ratio for name, ratio in ratios.items()},
        }
    )
    rates = ""
    if moved:
        benchmark.extra_info.update({"GB_per_s": moved / own / 1e9, "copy GB_per_s": moved / medians["copy"] / 1e9})
        rates = f", {moved / own / 1e9:.0f} GB/s (copy {moved / medians['copy'] / 1e9:.0f})"
    summary = ", ".join(f"{ratio:.2f} x {name}" for name, ratio in ratios.items())
    print(f"\n{benchmark.name}: {own * 1e6:.1f} us on the device{rates}, speed {summary}")
    return ratios
