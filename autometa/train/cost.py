"""The cost model: seconds as a linear function of the work that is counted, with a speed measured here and now.

Estimates (`--dry-run`), time budgets, the lengths of searches over candidates and the seconds of a table of cells all
come from it; of what is measured nothing is kept but the coefficients.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from autometa.meta.bn_modes import MODES
from autometa.nas.networks.network import Network
from autometa.nas.spaces.space import Architecture, Space
from autometa.runs.environment import peak_memory
from autometa.train.baselines import TASKS, answered
from autometa.train.candidates import CandidateConfig
from autometa.train.config import EvalConfig, require
from autometa.train.frozen import evaluated
from autometa.train.learned import Learned
from autometa.train.loop import Loop, Trainer
from autometa.train.run_config import RunConfig
from autometa.train.scoring import train_candidates
from autometa.train.tasks import Source

SLOTS = 4
SHORT_SECONDS, LONG_SECONDS = 2.0, 20.0
SHORT, LONG = 1, 3
"""Meta-iterations of the two trainings that tell what one of a candidate takes."""
MACS_A_SECOND = 4.4e9
"""Multiply-accumulates of training for each second of a time budget, about a fifth of what two idle cores reach: the
length that follows from the images alone, which a run replaces by what fits at the speed that it measures."""
MEASURED = 0.1
"""Of a time budget: what measuring may take before a run. One meta-iteration is measured whatever it takes."""
STEPS_A_SECOND = 4
"""Meta-iterations, likewise, where a network is so small that its arithmetic does not decide."""


@dataclass(frozen=True)
class CostModel:
    """Seconds of a meta-iteration and of a task that is scored, linear in features of the network.

    error: half of the networks that it is fitted to were predicted, from the others, better than this share of their
    time; timed: how many these are; machine: what they were timed on.
    """

    iteration: tuple[float, ...]
    task: tuple[float, ...]
    error: float
    timed: int
    machine: Mapping[str, Any]

    def seconds(self, features: Sequence[float], iterations: int, tasks: int) -> float:
        """Of a training of so many meta-iterations and the scoring of so many tasks."""
        each = np.array(self.iteration) * iterations + np.array(self.task) * tasks
        return float(each @ np.array(features))

    @classmethod
    def fitted(cls, seconds: np.ndarray, features: np.ndarray, machine: Mapping[str, Any]) -> CostModel:
        """To networks that took `seconds [N, 2]` and have `features [N, F]`: relative errors are made small, and no
        feature may save time."""
        left_out = []
        for n in range(len(features)):
            rest = np.arange(len(features)) != n
            predicted = features[n] @ _least_squares(features[rest], seconds[rest, 0])
            left_out.append(abs(predicted / seconds[n, 0] - 1))
        iteration, task = (tuple(_least_squares(features, seconds[:, k]).tolist()) for k in range(2))
        return cls(iteration, task, float(np.median(left_out)), len(features), dict(machine))


def _least_squares(features: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Coefficients; features that would save time are left out, the most saving one first."""
    rows, values = features / seconds[:, None], np.zeros(features.shape[1])
    kept = np.arange(features.shape[1])
    while len(kept):
        solved = np.linalg.lstsq(rows[:, kept], np.ones(len(rows)), rcond=None)[0]
        if solved.min() >= 0:
            values[kept] = solved
            break
        kept = np.delete(kept, int((solved * rows[:, kept].mean(axis=0)).argmin()))
    return values


@dataclass(frozen=True)
class LoopCost:
    """Seconds of a meta-iteration in each stage of a schedule; begins: the share of it that is over when the stage
    begins, rising, the first 0."""

    begins: tuple[float, ...]
    seconds: tuple[float, ...]

    def __post_init__(self) -> None:
        require(len(self.begins) == len(self.seconds) > 0, "each stage of a loop has its seconds")

    def at(self, over: float) -> float:
        """Of the iteration before which this share of the schedule is over."""
        return self.seconds[bisect_right(self.begins, over) - 1]

    def mean(self, over: float = 0.0) -> float:
        """Over what the schedule has left after this share."""
        ends = (*self.begins[1:], 1.0)
        left = [max(end - max(begin, over), 0.0) for begin, end in zip(self.begins, ends, strict=True)]
        total = sum(left)
        return self.at(over) if not total else sum(s * w for s, w in zip(self.seconds, left, strict=True)) / total


def timed(work: Callable[[], Any]) -> float:
    """Seconds of a piece of work."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class Measuring:
    """What may still be measured before a run. seconds: for all of it."""

    def __init__(self, seconds: float = math.inf) -> None:
        self._end = time.perf_counter() + seconds

    def allows(self, seconds: float) -> bool:
        """Whether there is time for a piece of work that is expected to take so long."""
        return time.perf_counter() + seconds <= self._end


def slope(
    work: Callable[[int], Any], short: int, long: int, left: Measuring, beside: float = 0.0
) -> tuple[float, float]:
    """Seconds of one of the steps that `work(steps)` does, and of what comes beside them, from two lengths after a
    first one that makes plans and draws memory. Short times are measured twice: what else runs disturbs them. Where
    there is no time for more than the first one it tells, with `beside`, how many steps are worth what comes beside."""
    first = timed(lambda: work(short))
    if not left.allows(first * (short + long + 2 * beside) / (short + beside)):
        step = first / (short + beside)
        return step, step * beside
    took = [timed(lambda: work(short)), timed(lambda: work(long))]
    if took[1] < SHORT_SECONDS and left.allows(sum(took)):
        took = [min(took[0], timed(lambda: work(short))), min(took[1], timed(lambda: work(long)))]
    step = max(took[1] - took[0], 0.0) / (long - short)
    return step, took[0] - short * step


def loop_cost(trainer: Trainer, config: RunConfig, left: Measuring) -> LoopCost:
    """Of a loop of meta-iterations, one of each of its config's stages; the trainer then stands in the last one.

    Where an iteration is long the first one is measured alone, and does for the end of warm-up as well; where there is
    no time for more, for all.
    """
    loop, repeats = Loop(trainer), 1 if trainer.device.type == "cpu" else 10

    def seconds(i: int) -> float:
        """Of an iteration of i's stage. A GPU gets ready first: kernels are compiled, a graph is captured."""
        if repeats > 1:
            timed(lambda: (loop.launch(i), loop.drain()))
        return timed(lambda: ([loop.launch(i) for _ in range(repeats)], loop.drain())) / repeats

    meta, took = config.meta, [seconds(0)]
    long = took[0] > LONG_SECONDS
    for begin in config.stages:
        same = (long and begin in (0.0, config.warm)) or not left.allows(repeats * took[-1])
        at = next((i for i in range(meta.iterations) if meta.position(i) >= begin), 0)
        took.append(took[-1] if same else seconds(at))
    return LoopCost(config.stages, tuple(took[1:]))


def trained_images(config: RunConfig) -> int:
    """Images that a meta-iteration trains on, each as often as it does."""
    return config.meta.batch * config.inner.steps * config.inner.batch


def task_cost(
    network: Network, learned: Learned, source: Source, config: RunConfig, left: Measuring, image: float
) -> tuple[float, float, int]:
    """Of the evaluation of what was learned: seconds per task, parameters of the network that is left, and bytes of
    memory for `max_slots` tasks at once.

    image: seconds of one that is trained on, which tell where there is no time to measure more; one that is only
    classified takes a third.
    """
    test, slots = config.test, min(SLOTS, config.test.tasks, config.test.max_slots)
    before, size = peak_memory(), torch.tensor([network.layout.count()], device="cpu")

    def chunk(steps: int) -> None:
        nonlocal size
        short: Any = config.with_steps(0)
        short = replace(short, test=replace(test, steps=steps))
        size = evaluated(short, network, learned, source, 0, slots).get("parameters", size)

    beside = len(MODES) * network.ways * (test.shots + test.queries) / (3 * test.batch)
    if left.allows(slots * image * test.batch * (1 + beside)):
        step, rest = slope(chunk, 1, 4, left, beside)
    else:
        step, rest = (slots * image * test.batch * steps for steps in (1, beside))
    grown = max(peak_memory() - before, 0)
    memory = before + grown * -(-min(test.max_slots, test.tasks) // slots)
    return max(rest + step * config.adaptation_steps, step) / slots, float(size.double().median()), memory


def class_means_cost(source: Source, ways: int, test: EvalConfig, left: Measuring) -> float:
    """Of answering test tasks by class means of simple features (`train.baselines`)."""
    episodes = source.testing(ways, test)
    step, rest = slope(lambda tasks: answered(episodes, tasks), 1, 4, left)
    return max(rest, 0.0) + step * min(TASKS, test.tasks)


def candidate_cost(
    cells: Sequence[Architecture],
    config: CandidateConfig,
    source: Source,
    share: float,
    space: Space,
    left: Measuring,
) -> float:
    """Of one of several cells that are trained side by side, each for this share of a full training, and scored: an
    image of a step costs always the same, an image that is only classified a third of it."""
    inner, meta, check = config.inner, config.meta, config.validation
    images = meta.batch * inner.steps * inner.batch

    def train(iterations: int) -> None:
        tiny = replace(check, tasks=1, steps=0)
        short = replace(config, meta=replace(meta, iterations=iterations), validation=tiny)
        train_candidates(cells, short, source, space=space)

    step, beside = slope(train, SHORT, LONG, left)
    step = step or beside / LONG  # on a busy machine the short one may take longer than the long one
    scored = check.tasks * (check.steps * check.batch + inner.ways * (check.shots + check.queries) // 3)
    return step / len(cells) * (share * meta.iterations + scored / images)


def nominal_iterations(macs: float, config: RunConfig, seconds: float) -> int:
    """Meta-iterations of a network of so many multiply-accumulates that fit into `seconds` on any machine, with room
    to spare; forward and backward pass take three times the arithmetic of the forward pass."""
    each = 3 * macs * config.inner.batch * config.inner.steps * config.meta.batch
    return max(10, int(min(seconds * MACS_A_SECOND / each, STEPS_A_SECOND * seconds)) // 10 * 10)
