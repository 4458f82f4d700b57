"""One inner step of one slot beside the reference; `python -m benchmarks.inner_step` gives the whole table."""

import pytest

from benchmarks.inner_step import build, disagreement
from benchmarks.measure import side_by_side
from benchmarks.networks import CASES


@pytest.mark.parametrize("name", CASES)
def test_inner_step(benchmark, name):
    assert disagreement(name, 1) is None
    step, eager = build(name, "auto", 1), build(name, "eager", 1)
    rounds = 3 if name == "one-shot-84" else 10
    side_by_side(benchmark, step, {"eager": eager}, rounds=rounds)
    benchmark.extra_info["GFLOP_per_s"] = step.flops / benchmark.stats.stats.median / 1e9
