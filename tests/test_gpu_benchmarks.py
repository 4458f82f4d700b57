"""The benchmarks for GPUs, as far as they can be wrong without one: counts, estimates, the table, the baselines."""

import contextlib
import json
from dataclasses import replace

import pytest
import torch

from autometa.algorithms import metanas_steps
from autometa.algorithms.presets import METANAS
from autometa.nas.networks.conv_network import four_layer
from autometa.nas.networks.side_by_side import Macro
from autometa.ops import backend
from autometa.train.loop import Loop
from benchmarks import gpu, gpu_candidates, gpu_cases, gpu_kernels, gpu_measure, gpu_table, gpu_training
from benchmarks.gpu_cases import SIZES, random_source, unpruned
from benchmarks.gpu_measure import points
from benchmarks.gpu_training import remaining
from benchmarks.networks import CASES, Case, InnerStep
from tests.nas.networks import one_shot
from tests.tolerances import assert_agree
from tests.train.graphs import FakeGraphs
from tests.train.test_loop import LONG

SPREAD = {"p20_ms": 50.0, "p50_ms": 52.0, "p80_ms": 60.0, "rounds": 9}


def part(**changes):
    modes = {
        "fp32": {**SPREAD, "peak_bytes": 2**32, "slots": 10, "told": ""},
        "bf16": {**SPREAD, "p50_ms": 20.0, "peak_bytes": 2**31, "slots": 10, "told": "an op refuses"},
    }
    baselines = {"one task at a time, eager": {**SPREAD, "p50_ms": 2080.0}, "torch.compile": {"failed": "no compiler"}}
    return {"size": "28x28x1", "target_ms": (60.0, 25.0), "modes": modes, "baselines": baselines, **changes}


def test_work_is_that_of_the_counted_table():
    assert SIZES["28"].flops == pytest.approx(0.88e12, rel=0.03)
    assert SIZES["84"].flops == pytest.approx(7.9e12, rel=0.03)
    floors = SIZES["28"].floors({"copy GB/s": 3000.0, **{f"{m} TFLOP/s": 400.0 for m in ("fp32", "tf32", "bf16")}})
    assert floors["arithmetic, tf32"] == pytest.approx(2.2, rel=0.03)
    assert floors["memory, BN inputs"] == pytest.approx(16.0, rel=0.03)
    assert floors["memory, all outputs"] == pytest.approx(26.0, rel=0.03)


def test_remaining_time():
    assert remaining(10_000, 30_000, 0.06, 200, 3.0) == pytest.approx(20_000 * 0.06 + 600)
    assert remaining(30_001, 30_000, 0.06, 0, 3.0) == 0.0


def test_few_parts_share_the_whole_budget():
    assert gpu.share("kernels", list(gpu.PARTS)) == gpu.SHARES["kernels"]
    some = ["ceilings", "meta-iteration 28"]
    assert sum(gpu.share(name, some) for name in some) == pytest.approx(1.0)
    assert gpu.share("compile", ["compile", "training"]) == 1.0


def test_points():
    assert points([4.0]) == {"p20_ms": 4.0, "p50_ms": 4.0, "p80_ms": 4.0, "rounds": 1}
    found = points([float(n) for n in range(1, 11)])
    assert found["p20_ms"] < found["p50_ms"] == 5.5 < found["p80_ms"]


def test_a_meta_iteration_is_judged_and_compared():
    rows = gpu_table.iteration(part())
    text = {row.strip().partition(":")[0]: row for row in rows}
    assert "target met" in text["fp32"] and "4.0 GiB" in text["fp32"] and "graph" not in text["fp32"]
    assert "aim met" in text["bf16"] and "not one graph: an op refuses" in text["bf16"]
    assert "fp32 40.0 times as fast, bf16 104.0" in text["one task at a time, eager"]
    assert "no compiler" in text["torch.compile"]
    slow = {"fp32": {**part()["modes"]["fp32"], "p50_ms": 61.0}}
    assert "target missed" in gpu_table.iteration(part(modes=slow))[1]


def test_cost_per_slot_is_judged_from_ten_slots_on():
    (good,) = gpu_table.slots("net", {"1": 3.0, "10": 10.5, "100": 100.0})
    (bad,) = gpu_table.slots("net", {"1": 3.0, "10": 12.0, "100": 100.0})
    assert "1.05 of the least from 10 on (met)" in good and "1.20 of the least from 10 on (missed)" in bad


def test_candidates_are_judged_by_one_at_a_time():
    found = {"filters": 10, "repeats": 0, "level": 1, "cells": 100, "tasks": 5, **SPREAD, "tflops_per_s": 1.0}
    _, good = gpu_table.candidates({**found, "alone_ms": 10.4, "ratio": 20.0})
    _, bad = gpu_table.candidates({**found, "alone_ms": 4.68, "ratio": 9.0})
    assert "20.0 times as fast" in good and "aim met" in good and "1923 cells' steps per second" in good
    assert "target missed" in bad
    (wrong,) = gpu_table.candidates({**found, "failed": "cell 3 has other losses in the batch than alone"})
    assert "cell 3 has other losses" in wrong


def test_a_table_of_what_there_is():
    training = {
        "preset": "omniglot", "data": "strokes", "mode": "fp32", "iterations": 900, "planned": 30_000, "warmup": 15_000,
        "seconds": 60.0, "seconds_per_iteration": 0.0661, "remaining_seconds": 5400.0, "whole_seconds": 7200.0,
        "accuracy": {"transductive": {"mean": 71.25, "ci95": 2.5}},
    }  # fmt: skip
    kernel = {f"{p}_{what}": 1.0 for p in ("forward", "backward") for what in ("ms", "tflops_per_s", "gb_per_s")}
    parts = {
        "ceilings": {"copy GB/s": 10.0, "fp32 TFLOP/s": 4.0, "bf16 TFLOP/s": 4.0},
        "kernels": {"node": {"fp32": kernel, "bf16": {"failed": "no room"}}},
        "slots": {"failed": "out of memory"},
        "meta-iteration 28": part(),
        "training": training,
    }
    device = {"name": "a GPU", "torch": "2", "triton": "3", "commit": "abc"}
    text = "\n".join(gpu_table.lines({"device": device, "parts": parts}))
    for told in (
        "slots: out of memory",
        "node, bf16: no room",
        "(25% of a ceiling)",
        "900 of 30000",
        "1h30m",
        "warm-up",
    ):
        assert told in text, told
    parts["ceilings"] = {"failed": "broken"}
    assert "of a ceiling" not in "\n".join(gpu_table.lines({"device": device, "parts": parts}))


@pytest.fixture
def pretended(monkeypatch):
    """The CPU in the place of a GPU, with small cases: nothing is captured, times are made up."""
    cpu, tiny = torch.device("cpu"), Case("tiny", lambda: four_layer("reptile-omniglot", 2, (1, 8, 8), 2), 2, "")
    config = replace(LONG, warmup=0, meta=replace(LONG.meta, iterations=5))
    sizes = {name: replace(size, config=config, image_shape=(1, 8, 8), case="tiny") for name, size in SIZES.items()}
    for module in (gpu_measure, gpu_cases, gpu_kernels, gpu_candidates):
        monkeypatch.setattr(module, "GPU", cpu)
    for name in ("reset_peak_memory_stats", "synchronize", "empty_cache"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: None)
    for name in ("memory_allocated", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: 2**30)
    monkeypatch.setattr(torch.cuda, "device", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(gpu_measure, "milliseconds", lambda call, repeats=1: (call(), 30.0)[1])
    for module in (gpu_measure, gpu_kernels, gpu_candidates):
        monkeypatch.setattr(module, "graphed", lambda call: call)
    monkeypatch.setattr(gpu_measure, "_product", lambda dtype, mode: (lambda: None, 1.0))
    monkeypatch.setattr(gpu_measure, "COPY", 2**10)
    monkeypatch.setattr(gpu_cases, "SIZES", sizes)
    monkeypatch.setattr(gpu_cases, "Loop", lambda run, told: Loop(run, told, FakeGraphs()))
    monkeypatch.setattr(gpu_kernels, "SLOTS", 1), monkeypatch.setattr(gpu_kernels, "BATCH", 1)
    some = "node, 28x28 to 14x14", "max_pool_3x3, 28x28", "preprocess, 28x28 to 14x14", "stem 1 to 84, 28x28"
    kernels = {name: gpu_kernels.KERNELS[name] for name in some}
    monkeypatch.setattr(gpu_kernels, "KERNELS", kernels)
    monkeypatch.setitem(CASES, "tiny", tiny), monkeypatch.setitem(CASES, "four-layer-28", tiny)
    monkeypatch.setitem(CASES, "discrete-28", replace(tiny, title="discrete"))
    monkeypatch.setattr(gpu, "SLOTS", (1, 10))
    small = Macro(2, 0, 1, 5, (1, 8, 8))
    monkeypatch.setattr(gpu_candidates, "part", lambda clock: gpu_candidates.measure(small, 6, 1, 2, 2, clock))
    monkeypatch.setitem(METANAS, "tiny", replace(config, test=replace(config.test, tasks=2)))
    monkeypatch.setattr(gpu_training, "TASKS", 2)
    about = {"name": "a pretended GPU", "torch": "2", "triton": "3", "commit": None}
    monkeypatch.setattr(gpu, "describe", lambda: about), monkeypatch.setattr(gpu, "gpu_refuses", lambda number: None)


def test_all_parts_run_and_fill_the_table(pretended, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AUTOMETA_CACHE", str(tmp_path / "cache"))
    parts = [name for name in gpu.PARTS if name != "compile"]
    words = ["--preset", "tiny", "--train-seconds", "5", "--seconds", "60", "--run", str(tmp_path / "run")]
    assert gpu.main(["--out", str(tmp_path), "--parts", ",".join(parts), *words]) == 0, capsys.readouterr()
    made = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert list(made) == parts and set(made["kernels"]) == set(gpu_kernels.KERNELS)
    assert made["meta-iteration 28"]["baselines"].keys() == {
        "one task at a time, eager",
        "all tasks, eager in a graph",
    }
    assert made["candidates"]["ratio"] == 6.0, "every call takes 30 ms here"
    assert made["training"]["iterations"] == 5 and made["training"]["remaining_seconds"] > 0
    printed = capsys.readouterr().out
    assert "failed" not in printed and printed.count("ms, ") > 5 and "us per slot" in printed
    assert gpu.main(["--out", str(tmp_path), "--parts", "training", *words]) == 0, "goes on with the run"


def test_a_part_that_fails_is_told_and_the_next_runs(pretended, tmp_path, monkeypatch, capsys):
    def broken(*_):
        raise RuntimeError("no luck\ntoday")

    monkeypatch.setitem(gpu.RUN, "ceilings", broken)
    assert gpu.main(["--out", str(tmp_path), "--parts", "ceilings,slots", "--seconds", "60"]) == 1
    printed = capsys.readouterr().out
    assert "ceilings: no luck today" in printed and "us per slot" in printed


def test_without_a_gpu_one_sentence(capsys, monkeypatch):
    monkeypatch.setattr("benchmarks.gpu.gpu_refuses", lambda number: "no CUDA GPU is usable here")
    assert gpu.main([]) == 2
    assert capsys.readouterr().err == "no CUDA GPU is usable here; these benchmarks need one\n"
    with pytest.raises(SystemExit):
        gpu.main(["--parts", "speed"])


def test_the_baseline_that_looks_at_no_weight_computes_the_same():
    case = Case("tiny", lambda: one_shot(cells=2), 4, "discrete gradient")
    expected = InnerStep(case, 2, "reference").gradient()
    with unpruned():
        assert_agree(InnerStep(case, 2, "reference").gradient(), expected, "slots, inner loop", torch.float32)
    assert_agree(InnerStep(case, 2, "reference").gradient(), expected, "exact", torch.float32)


@pytest.mark.skipif(backend.compiled() is None, reason="slow without the compiled module")
def test_random_data_make_tasks():
    config = replace(SIZES["28"].config, channels=2, cells=1, reductions=(0,), nodes=1)
    config = replace(config, inner=replace(config.inner, steps=1), meta=replace(config.meta, batch=2))
    source = random_source((1, 28, 28), torch.device("cpu"))
    done = metanas_steps.trainer(config.build(source.image_shape), source, config).step(0)
    assert bool(done.finite.all()) and bool((done.losses > 0).all())
