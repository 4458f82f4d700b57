"""Seconds and memory of the parts of a run, measured on a few real steps here and now; nothing of them is kept.

Estimates, time budgets and the lengths of searches over candidates all come from these measurements.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from autometa.nas.networks.network import Network
from autometa.runs.environment import peak_memory
from autometa.train.learned import Learned
from autometa.train.loop import Loop, Trainer
from autometa.train.run_config import RunConfig
from autometa.train.tasks import Source

SLOTS = 4
SHORT_SECONDS, LONG_SECONDS = 2.0, 20.0


def timed(work: Callable[[], Any]) -> float:
    """Seconds of a piece of work."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def slope(work: Callable[[int], Any], short: int, long: int) -> tuple[float, float]:
    """Seconds of one of the steps that `work(steps)` does, and of what comes beside them, from two lengths after a
    first one that makes plans and draws memory. Short times are measured twice: what else runs disturbs them."""
    work(short)
    took = [timed(lambda: work(short)), timed(lambda: work(long))]
    if took[1] < SHORT_SECONDS:
        took = [min(took[0], timed(lambda: work(short))), min(took[1], timed(lambda: work(long)))]
    step = max(took[1] - took[0], 0.0) / (long - short)
    return step, took[0] - short * step


def iteration_seconds(trainer: Trainer, config: RunConfig) -> float:
    """Of a meta-iteration, as a mean over the run."""
    early, late = phase_seconds(trainer, config)
    return late + (early - late) * config.warmup / max(config.meta.iterations, 1)


def phase_seconds(trainer: Trainer, config: RunConfig) -> tuple[float, float]:
    """Of a meta-iteration in warm-up and after it; where one is long the first one must do for both."""
    loop, repeats = Loop(trainer), 1 if trainer.device.type == "cpu" else 10

    def seconds(i: int) -> float:
        """Of an iteration of i's phase. A GPU gets ready first: kernels are compiled, a graph is captured."""
        if repeats > 1:
            timed(lambda: (loop.launch(i), loop.drain()))
        return timed(lambda: ([loop.launch(i) for _ in range(repeats)], loop.drain())) / repeats

    first = seconds(0)
    if first > LONG_SECONDS:
        return first, first
    late = seconds(max(config.warmup, 1))
    return (seconds(0) if config.warmup and config.meta.iterations else late), late


def task_cost(network: Network, source: Source, config: RunConfig) -> tuple[float, float, int]:
    """Of the evaluation: seconds per task, parameters of the network that is left, and bytes of memory for `max_slots`
    tasks at once."""
    test, slots = config.test, min(SLOTS, config.test.tasks, config.test.max_slots)
    learned = Learned.untrained(network, config.seed, source.device)
    before, size = peak_memory(), torch.tensor([network.layout.count()])

    def chunk(steps: int) -> None:
        nonlocal size
        short: Any = config.with_steps(0)
        short = replace(short, test=replace(test, steps=steps))
        size = short.evaluate_chunk(network, learned, source, 0, slots).get("parameters", size)

    step, rest = slope(chunk, 1, 4)
    grown = max(peak_memory() - before, 0)
    memory = before + grown * -(-min(test.max_slots, test.tasks) // slots)
    return max(rest + step * config.adaptation_steps, step) / slots, float(size.double().median()), memory
