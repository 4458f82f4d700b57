"""Auto-Meta's candidates on a GPU: an inner step of many different cells in one graph, beside one cell at a time."""

from __future__ import annotations

from typing import Any

from autometa.nas.networks.side_by_side import Macro
from autometa.ops.backend import libraries, precision
from benchmarks.candidates import WAYS, Step, some_cells
from benchmarks.gpu_measure import GPU, Clock, graphed, interleaved, points, release

ALONE = 5
"""Cells that are timed one at a time, each as a graph of its own."""


def part(clock: Clock, cells: int = 100) -> dict[str, Any]:
    """100 cells of one block with 5 tasks each, as a search begins (Kim et al. 2018: F = 10, batches of 10)."""
    return measure(Macro(10, 0, 1, WAYS, (1, 28, 28)), cells, 1, 5, 10, clock)


def measure(macro: Macro, cells: int, level: int, tasks: int, batch: int, clock: Clock) -> dict[str, Any]:
    """Milliseconds of an inner step of all cells together, and of one cell alone with its tasks."""
    step = Step(some_cells(cells, level), macro, tasks, batch, GPU, min(ALONE, cells))
    about = {"filters": macro.filters, "repeats": macro.repeats, "level": level, "cells": cells, "tasks": tasks}
    with precision("fp32"), libraries("fp32"):
        wrong = step.disagreement()
        if wrong:
            return {**about, "failed": wrong}
        release()
        calls = {"together": graphed(step.together)}
        for k in range(len(step.alone)):
            calls[str(k)] = graphed(lambda k=k: step.one_cell(k))
        times = interleaved(calls, 7, clock)
    together = points(times["together"])
    alone = sum(points(times[str(k)])["p50_ms"] for k in range(len(step.alone))) / len(step.alone)
    tflops = step.flops / together["p50_ms"] / 1e9
    return {**about, **together, "alone_ms": alone, "ratio": cells * alone / together["p50_ms"], "tflops_per_s": tflops}
