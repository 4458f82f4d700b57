"""How long and how much memory a run will take, from a few real steps; nothing of them is kept."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from autometa.algorithms import metanas, train
from autometa.algorithms.auto_meta import AutoMetaConfig
from autometa.algorithms.confidence import Asking
from autometa.algorithms.jobs import four_layer_like
from autometa.algorithms.metanas import MetaNASConfig
from autometa.api.estimate_cells import search_seconds
from autometa.api.planning import Plan
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
    iteration of a rival that trains as long (0 without one). task: of one test task; memory: bytes, as tried."""

    task: float
    parts: dict[str, float]
    rival_iteration: float
    memory: int

    def loop(self, budget: float, iteration: float) -> float:
        """Seconds that are left to the loop of a budget for all."""
        return (budget - sum(self.parts.values())) / (1 + self.rival_iteration / iteration)


def rest(network: Network, source: Source, config) -> Rest:
    """Of a run of this config, from a few real steps."""
    task, sizes, memory = _evaluation(network, source, config)
    parts, each = {"evaluation": task * config.test.tasks}, 0.0
    compare = config.compare if isinstance(config, MetaNASConfig) else ()
    if "untrained" in compare:
        parts["yardstick: untrained"] = parts["evaluation"]
    if "four-layer" in compare:
        rival = four_layer_like(config, config.meta.iterations, sizes["parameters"], source.image_shape)
        net = rival.build(source.image_shape)
        each = iteration_seconds(train.trainer(net, source, rival), rival)
        per_task, *_ = _evaluation(net, source, rival)
        parts["yardstick: four-layer"] = per_task * rival.test.tasks
    asking = Asking(network, Learned.untrained(network, config.seed), source, config)
    if asking.refusal() is None:
        parts["confidences"] = task * sum(part.stop - part.start for part in asking.parts())
    return Rest(task, parts, each, memory)


def estimate_plan(plan: Plan, budget: float | None = None, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Seconds of each part, bytes of memory, size of the network; on this machine, with its present load.

    budget: seconds for all of it.
    """
    config = plan.config
    source, network = plan.prepare(device)
    parts = {}
    if isinstance(config, AutoMetaConfig):
        parts["search"] = min(search_seconds(config, source), budget or math.inf)
        config, budget = config.final_config("published"), None
    iteration = iteration_seconds(plan.job.trainer(network, source, config), config)
    found = rest(network, source, config)
    iterations = config.meta.iterations
    if budget is not None:
        fit = int(max(found.loop(budget, iteration), LEAST_SHARE * budget) / iteration)
        iterations = fit if plan.stretched else min(iterations, fit)
    parts |= {plan.job.phase: iteration * iterations, **found.parts}
    if found.rival_iteration:
        parts["yardstick: four-layer"] += found.rival_iteration * iterations
    task, memory = found.task, found.memory
    return {
        "kind": plan.job.word,
        "loop": plan.job.phase,
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
    warmup = getattr(config, "warmup", 0)
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
    warmup = getattr(config, "warmup", 0)
    late = seconds(max(warmup, 1))
    return (seconds(0) if warmup and config.meta.iterations else late), late


def _evaluation(network: Network, source: Source, config) -> tuple[float, dict[str, float], int]:
    """Seconds per task, sizes, and bytes of memory for `max_slots` tasks at once.

    Two chunks of few tasks with few inner steps give the time of a step and of the rest.
    """
    test, slots = config.test, min(SLOTS, config.test.tasks, config.test.max_slots)
    learned, searching = Learned.untrained(network, config.seed, source.device), isinstance(config, MetaNASConfig)
    whole = test.steps + (config.test_weight_steps if searching else 0)
    before, sizes = peak_memory(), {"parameters": float(network.layout.count())}

    def chunk(steps: int) -> Callable[[], None]:
        short = replace(config, test=replace(test, steps=steps), **({"test_weight_steps": 0} if searching else {}))

        def work() -> None:
            if searching:
                found = metanas.meta_test_chunk(network, learned, source, short, 0, slots)
                sizes["parameters"] = float(found.parameters.double().median())
            else:
                train.evaluate_chunk(network, learned, source, short, 0, slots)

        return work

    chunk(1)()
    short, long = _timed(chunk(1)), _timed(chunk(4))
    if long < SHORT_SECONDS:  # what else runs disturbs so short a measurement
        short, long = min(short, _timed(chunk(1))), min(long, _timed(chunk(4)))
    step = max(long - short, 0.0) / 3
    seconds = (short - step + step * whole) / slots
    grown = max(peak_memory() - before, 0)
    return max(seconds, step / slots), sizes, before + grown * -(-min(test.max_slots, test.tasks) // slots)


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
