"""How long and how much memory a run will take, from a few real steps; nothing of them is kept."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from autometa.algorithms.algorithm import algorithm_of
from autometa.api.planning import Plan
from autometa.models.confidence import Asking
from autometa.runs.environment import peak_memory
from autometa.train.learned import Learned
from autometa.train.loop import Loop
from autometa.train.network import Network
from autometa.train.pace import LEAST_SHARE
from autometa.train.tasks import Source

SLOTS = 4
SHORT_SECONDS, LONG_SECONDS = 2.0, 20.0


@dataclass(frozen=True)
class Rest:
    """What comes beside the loop of meta-iterations: seconds of each part that does not depend on its length, and of an
    iteration of a rival that trains as long (0 without one), which is one of the parts. task: of one test task; memory:
    bytes, as tried."""

    task: float
    parts: dict[str, float]
    rival_iteration: float
    memory: int
    rival: str = ""

    def loop(self, budget: float, iteration: float) -> float:
        """Seconds that are left to the loop of a budget for all."""
        return (budget - sum(self.parts.values())) / (1 + self.rival_iteration / iteration)


def rest(network: Network, source: Source, config) -> Rest:
    """Of a run of this config, from a few real steps."""
    task, size, memory = _evaluation(network, source, config)
    parts, each, rival = {"evaluation": task * config.test.tasks}, 0.0, ""
    for name, other in algorithm_of(config).baselines(config, size, source.image_shape).items():
        if other is None:
            parts[f"yardstick: {name}"] = parts["evaluation"]
            continue
        net, rival = other.build(source.image_shape), f"yardstick: {name}"
        each = iteration_seconds(algorithm_of(other).trainer(net, source, other), other)
        per_task, *_ = _evaluation(net, source, other)
        parts[rival] = per_task * other.test.tasks
    asking = Asking(network, Learned.untrained(network, config.seed), source, config)
    if asking.refusal() is None:
        parts["confidences"] = task * sum(part.stop - part.start for part in asking.parts())
    return Rest(task, parts, each, memory, rival)


def estimate_plan(plan: Plan, budget: float | None = None, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Seconds of each part, bytes of memory, size of the network; on this machine, with its present load.

    budget: seconds for all of it.
    """
    config = plan.config
    source, network = plan.prepare(device)
    parts = {}
    for name, seconds in plan.algorithm.seconds_before(config, source).items():
        parts[name] = min(seconds, budget or math.inf)
    if config.handed_out() is not config:
        config, budget = config.handed_out(), None
    iteration = iteration_seconds(plan.algorithm.trainer(network, source, config), config)
    found = rest(network, source, config)
    iterations = config.meta.iterations
    if budget is not None:
        fit = int(max(found.loop(budget, iteration), LEAST_SHARE * budget) / iteration)
        iterations = fit if plan.stretched else min(iterations, fit)
    parts |= {plan.config.phase: iteration * iterations, **found.parts}
    if found.rival_iteration:
        parts[found.rival] += found.rival_iteration * iterations
    task, memory = found.task, found.memory
    return {
        "kind": plan.algorithm.word,
        "loop": plan.config.phase,
        "iterations": iterations,
        "seconds_per_iteration": iteration,
        "tasks": config.test.tasks,
        "seconds_per_task": task,
        "seconds": {**parts, "all": sum(parts.values())},
        "memory_bytes": max(memory, peak_memory()),
        "gpu_memory_bytes": None if source.device.type == "cpu" else torch.cuda.max_memory_reserved(source.device),
        "threads": torch.get_num_threads(),
        "network": {"parameters": network.layout.count(), "macs": network.macs()},
    }


def iteration_seconds(trainer, config) -> float:
    """Of a meta-iteration, as a mean over the run."""
    early, late = phase_seconds(trainer, config)
    warmup = config.warmup
    return late + (early - late) * warmup / max(config.meta.iterations, 1)


def phase_seconds(trainer, config) -> tuple[float, float]:
    """Of a meta-iteration in warm-up and after it; where one is long the first one must do for both."""
    loop, repeats = Loop(trainer), 1 if trainer.device.type == "cpu" else 10

    def seconds(i: int) -> float:
        """Of an iteration of i's phase. A GPU gets ready first: kernels are compiled, a graph is captured."""
        if repeats > 1:
            _timed(lambda: (loop.launch(i), loop.drain()))
        return _timed(lambda: ([loop.launch(i) for _ in range(repeats)], loop.drain())) / repeats

    first = seconds(0)
    if first > LONG_SECONDS:
        return first, first
    warmup = config.warmup
    late = seconds(max(warmup, 1))
    return (seconds(0) if warmup and config.meta.iterations else late), late


def _evaluation(network: Network, source: Source, config) -> tuple[float, float, int]:
    """Seconds per task, parameters, and bytes of memory for `max_slots` tasks at once.

    Two chunks of few tasks with few inner steps give the time of a step and of the rest.
    """
    test, slots = config.test, min(SLOTS, config.test.tasks, config.test.max_slots)
    learned, whole = Learned.untrained(network, config.seed, source.device), config.adaptation_steps
    before, size = peak_memory(), torch.tensor([network.layout.count()])

    def chunk(steps: int) -> Callable[[], None]:
        short = config.with_steps(0)
        short = replace(short, test=replace(test, steps=steps))

        def work() -> None:
            nonlocal size
            size = short.evaluate_chunk(network, learned, source, 0, slots).get("parameters", size)

        return work

    chunk(1)()
    short, long = _timed(chunk(1)), _timed(chunk(4))
    if long < SHORT_SECONDS:  # what else runs disturbs so short a measurement
        short, long = min(short, _timed(chunk(1))), min(long, _timed(chunk(4)))
    step = max(long - short, 0.0) / 3
    seconds = (short - step + step * whole) / slots
    grown = max(peak_memory() - before, 0)
    return (
        max(seconds, step / slots),
        float(size.double().median()),
        before + grown * -(-min(test.max_slots, test.tasks) // slots),
    )


def _timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def free_memory() -> int | None:
    """Bytes that programs can still take, None where the system does not tell."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None
