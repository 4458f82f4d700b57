"""Calls beside their rivals, interleaved round by round, and the machine's ceilings."""

import statistics
import time
from collections.abc import Callable

import torch

from benchmarks.device import device_side_by_side

ROUNDS = 30
REST = 0.03  # seconds; OpenMP's threads spin for up to 10 ms after their work


def percentiles(seconds: list[float]) -> dict[str, float]:
    """20, 50 and 80 percent points in microseconds."""
    points = statistics.quantiles(seconds, n=10)
    return {f"p{10 * (i + 1)}_us": points[i] * 1e6 for i in (1, 4, 7)}


def _seconds(call: Callable, repeats: int) -> float:
    begin = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - begin) / repeats


def interleaved(calls: dict[str, Callable], rounds: int, least: float = 0.05) -> dict[str, list[float]]:
    """Seconds of every call in every round, after a warm-up.

    Within a round each has its turn, in an order that alternates; a turn repeats short calls for `least` seconds, so
    that they find the caches as they left them. Before it, PyTorch's threads get the time to stop spinning.
    """
    repeats = {}
    for name, call in calls.items():
        call()
        repeats[name] = max(1, int(least / _seconds(call, 1)))
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds):
        for name in sorted(calls, reverse=number % 2 == 1):
            time.sleep(REST)
            if repeats[name] > 1:
                calls[name]()
            seconds[name].append(_seconds(calls[name], repeats[name]))
    return seconds


def ceilings() -> dict[str, tuple[Callable, float]]:
    """name -> call and its work in FLOP or bytes: a large matrix product, one of the search network's preprocessing
    (784 pixels of 40 images, 140 channels to 28), and a copy that no cache holds."""
    made = torch.Generator().manual_seed(0)
    a, b = (torch.randn(1024, 1024, generator=made) for _ in range(2))
    wide, narrow = torch.randn(31360, 140, generator=made), torch.randn(140, 28, generator=made)
    product, thin, source = torch.empty(1024, 1024), torch.empty(31360, 28), torch.randn(1 << 25, generator=made)
    target = torch.empty_like(source)
    return {
        "gemm GFLOP/s": (lambda: torch.mm(a, b, out=product), 2 * 1024**3),
        "narrow gemm GFLOP/s": (lambda: torch.mm(wide, narrow, out=thin), 2 * 31360 * 140 * 28),
        "copy GB/s": (lambda: target.copy_(source), 2 * 4 * source.numel()),
    }


def side_by_side(
    benchmark, call: Callable, rivals: dict[str, Callable], moved: int = 0, rounds: int = ROUNDS, device: str = "cpu"
) -> dict[str, float]:
    """Time `call` with pytest-benchmark, each rival once before every round; return call-over-rival speed.

    On `cuda` see `benchmarks.device`. `moved` is the number of bytes that `call` reads and writes; with it a rival
    "copy" is added, which moves as many. Percentiles and ratios go to the report's extra_info.
    """
    if device == "cuda":
        return device_side_by_side(benchmark, call, rivals, moved, rounds)
    rivals = dict(rivals)
    if moved:
        source = torch.randn(moved // 8)
        target = torch.empty_like(source)
        rivals["copy"] = lambda: target.copy_(source)
    seconds: dict[str, list[float]] = {name: [] for name in rivals}

    def run_rivals():
        for name, rival in rivals.items():
            begin = time.perf_counter()
            rival()
            seconds[name].append(time.perf_counter() - begin)

    benchmark.pedantic(call, setup=run_rivals, rounds=rounds, iterations=1, warmup_rounds=3)
    own = statistics.median(benchmark.stats.stats.data)
    ratios = {name: statistics.median(times[3:]) / own for name, times in seconds.items()}
    benchmark.extra_info.update(
        {
            "threads": torch.get_num_threads(),
            "self": percentiles(benchmark.stats.stats.data),
            **{name: percentiles(times[3:]) for name, times in seconds.items()},
            **{f"{name} over self": ratio for name, ratio in ratios.items()},
        }
    )
    if moved:
        benchmark.extra_info["GB_per_s"] = moved / own / 1e9
    summary = ", ".join(f"{ratio:.2f} x {name}" for name, ratio in ratios.items())
    print(f"\n{benchmark.name}: {own * 1e6:.0f} us, speed {summary}")
    return ratios
