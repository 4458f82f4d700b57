"""How long and how much memory a run will take, from a few real steps; nothing of them is kept."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

import torch

from autometa.algorithms.algorithm import algorithm_of
from autometa.api.planning import Plan
from autometa.models.confidence import Asking
from autometa.nas.networks.network import Network
from autometa.runs.environment import peak_memory
from autometa.train.cost import (
    MEASURED,
    LoopCost,
    Measuring,
    class_means_cost,
    loop_cost,
    task_cost,
    trained_images,
)
from autometa.train.learned import Learned
from autometa.train.pace import LEAST_SHARE
from autometa.train.tasks import Source


@dataclass(frozen=True)
class Rest:
    """What comes beside the loop of meta-iterations, and what an iteration of it costs: seconds of each part that does
    not depend on its length, and of an iteration of a rival that trains as long (0 without one), which is one of the
    parts. task: of one test task; memory: bytes, as tried."""

    iteration: LoopCost
    task: float
    parts: dict[str, float]
    rival_iteration: float
    memory: int
    rival: str = ""

    def loop(self, budget: float, iteration: float) -> float:
        """Seconds that are left to the loop of a budget for all."""
        return (budget - sum(self.parts.values())) / (1 + self.rival_iteration / iteration)


def rest(network: Network, source: Source, config, seconds: float = math.inf) -> Rest:
    """Of a run of this config, from a few real steps; tested is a network as its loop leaves it.

    seconds: what measuring may take. Where they are over the rest follows from what was measured.
    """
    left = Measuring(seconds)
    iteration, learned = _loop(network, source, config, left)
    macs = iteration.mean() / (trained_images(config) * network.macs())  # seconds of one, forward and backward
    task, size, memory = task_cost(network, learned, source, config, left, macs * network.macs())
    parts, each, rival = {"evaluation": task * config.test.tasks}, 0.0, ""
    for name, other in algorithm_of(config).baselines(config, size, source.image_shape).items():
        if other is None:
            parts[f"yardstick: {name}"] = parts["evaluation"]
            continue
        net, rival = other.build(source.image_shape), f"yardstick: {name}"
        image, rivals = macs * net.macs(), Learned.untrained(net, config.seed, source.device)
        each = image * trained_images(other)
        if left.allows(each):
            loop, rivals = _loop(net, source, other, left)
            each = loop.mean()
        per_task, *_ = task_cost(net, rivals, source, other, left, image)
        parts[rival] = per_task * other.test.tasks
    parts["yardstick: class means"] = class_means_cost(source, network.ways, config.test, left)
    asking = Asking(network, Learned.untrained(network, config.seed), source, config)
    if asking.refusal() is None:
        parts["confidences"] = task * sum(part.stop - part.start for part in asking.parts())
    return Rest(iteration, task, parts, each, memory, rival)


def _loop(network: Network, source: Source, config, left: Measuring) -> tuple[LoopCost, Learned]:
    """What a meta-iteration costs, and what the network has learned in those that told."""
    trainer = algorithm_of(config).trainer(network, source, config)
    return loop_cost(trainer, config, left), Learned.of(trainer.capture()[0])


def estimate_plan(plan: Plan, budget: float | None = None, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Seconds of each part, bytes of memory, size of the network; on this machine, with its present load.

    budget: seconds for all of it.
    """
    config = plan.config
    source, network = plan.prepare(device)
    parts = {}
    seconds = MEASURED * (budget or math.inf) / (1 if config.handed_out() is config else 2)
    for name, before in plan.algorithm.seconds_before(config, source, Measuring(seconds)).items():
        parts[name] = min(before, budget or math.inf)
    if config.handed_out() is not config:
        config, budget = config.handed_out(), None
    found = rest(network, source, config, seconds)
    iteration = found.iteration.mean()
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
