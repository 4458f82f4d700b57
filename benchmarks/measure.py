"""One call beside its rivals, interleaved round by round, with ratios of medians."""

import statistics
import time
from collections.abc import Callable

import torch

ROUNDS = 30


def percentiles(seconds: list[float]) -> dict[str, float]:
    """20, 50 and 80 percent points in microseconds."""
    points = statistics.quantiles(seconds, n=10)
    return {f"p{10 * (i + 1)}_us": points[i] * 1e6 for i in (1, 4, 7)}


def side_by_side(
    benchmark, call: Callable, rivals: dict[str, Callable], moved: int = 0, rounds: int = ROUNDS
) -> dict[str, float]:
    """Time `call` with pytest-benchmark, each rival once before every round; return call-over-rival speed.

    `moved` is the number of bytes that `call` reads and writes; with it a rival "copy" is added, which
    moves as many. Percentiles and ratios go to the report's extra_info.
    """
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
