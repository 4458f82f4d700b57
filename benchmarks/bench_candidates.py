"""100 cells x 5 tasks in one batch beside one cell at a time; `python -m benchmarks.candidates` gives a table."""

import pytest
import torch

from autometa.nas.networks.side_by_side import Macro
from benchmarks.candidates import WAYS, Step, some_cells
from benchmarks.measure import side_by_side

LEAST = 2.0
"""Times the speed of one cell at a time, with two threads (PERFORMANCE.md, "Targets")."""


@pytest.mark.parametrize("threads", [1, 2])
def test_candidates(benchmark, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        step = Step(some_cells(100, 1), Macro(10, 0, 1, WAYS, (1, 28, 28)), 5, 10)
        assert step.disagreement() is None
        rivals = {
            "alone": lambda: step.one_at_a_time(False),
            "alone, slotwise": lambda: step.one_at_a_time(True),
        }
        ratios = side_by_side(benchmark, step.together, rivals, rounds=5)
        benchmark.extra_info["GFLOP_per_s"] = step.flops / benchmark.stats.stats.median / 1e9
        assert ratios["alone"] > (LEAST if threads > 1 else 1)
    finally:
        torch.set_num_threads(before)
