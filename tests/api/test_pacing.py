"""A time budget for all of a run: what its loop may take, with measurements and clocks made up."""

import json
import shlex
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from autometa.algorithms import metanas, metanas_steps
from autometa.api import pacing, search
from autometa.api.estimate import Rest, estimate_plan
from autometa.api.photos import SECONDS
from autometa.api.planning import plan_search
from autometa.errors import InputError, Interrupted
from autometa.report.repeat import command_to_repeat, iterations_of
from autometa.runs import RunFolder
from autometa.train import baselines, cost
from autometa.train.config import MetaConfig
from autometa.train.cost import LoopCost
from autometa.train.run_config import config_of
from autometa.train.trainer import Trainer
from tests.cli.driving import call, same_outcome

TINY = {
    "data.name": "strokes:6x6x12",
    "data.image_size": 8,
    "channels": 2,
    "cells": 1,
    "reductions": "0",
    "inner.ways": 3,
    "test.shots": 1,
    "test.queries": 1,
}
BUDGET = 600.0


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOMETA_CACHE", str(tmp_path / "cache"))


def paced(monkeypatch, plan, evaluation, rival=0.0, iteration=0.5):
    each = LoopCost((0.0,), (iteration,))
    monkeypatch.setattr(pacing, "rest", lambda *_: Rest(each, 0.0, {"evaluation": evaluation}, rival, 0))
    told = []
    made, _, loop = pacing.paced(plan, BUDGET, BUDGET, torch.device("cpu"), told.append)
    return made, loop, told


@pytest.mark.parametrize("rival, share", [(0.0, 1.0), (0.5, 0.5), (1.0, 1 / 3)])
def test_the_loop_leaves_room_for_what_follows_and_for_a_rival_that_trains_as_long(monkeypatch, rival, share):
    plan = plan_search(settings=TINY)
    made, loop, told = paced(monkeypatch, plan, 100.0, rival)
    wanted = (BUDGET - pacing.RESERVE * 100.0) * share
    assert made == plan and wanted - 30 < loop <= wanted, "a little of the budget is gone by then"
    assert told == ["all in 10m at most, the tests after the search included"]


def test_where_that_cannot_be_it_is_said_and_the_loop_gets_a_quarter(monkeypatch):
    _, loop, told = paced(monkeypatch, plan_search(settings=TINY), 550.0)
    assert 0.22 * BUDGET < loop <= 0.25 * BUDGET
    assert "takes about 9m10s by itself" in told[0] and "--test.tasks" in told[0]


def test_the_training_of_a_winner_counts(monkeypatch):
    settings = {name: value for name, value in TINY.items() if name not in ("channels", "cells", "reductions")}
    settings |= {"final_inner.ways": 3, "final_meta.iterations": 200, "validation.shots": 1}
    _, loop, _ = paced(monkeypatch, plan_search("auto-meta", settings=settings), 50.0)
    wanted = BUDGET - pacing.RESERVE * (50.0 + 0.5 * 200)
    assert wanted - 30 < loop <= wanted


@pytest.fixture
def mine(tmp_path):
    """Six classes of three pictures."""
    for c in range(6):
        (tmp_path / f"mine/{c}").mkdir(parents=True)
        for n in range(3):
            pixels = np.random.default_rng([c, n]).integers(0, 256, (20, 20), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"mine/{c}/{n}.png")
    return tmp_path / "mine"


@pytest.mark.parametrize("iteration", [4.0, 0.2])
def test_a_search_on_photos_is_planned_as_long_as_fits(monkeypatch, mine, iteration):
    plan = plan_search(settings={"data.name": str(mine)}, time_budget=BUDGET)
    made, loop, told = paced(monkeypatch, plan, 100.0, iteration=iteration)
    config = made.config
    assert config.meta.iterations == int(loop / iteration) != plan.config.meta.iterations
    assert config.warmup == round(0.4 * config.meta.iterations)
    assert f"one takes {iteration:g} s here and now" in told[-1]
    asked = plan_search(settings={"data.name": str(mine), "meta.iterations": 900})
    assert asked.seconds is None and paced(monkeypatch, asked, 100.0, iteration=4.0)[0] == asked, "as asked for"


SMALL = {"channels": 3, "cells": 1, "reductions": "0", "nodes": 1, "inner.steps": 1, "meta.batch": 2}
SMALL |= {"test.steps": 1, "test_weight_steps": 1, "data.image_size": 8, "inner.ways": 3, "test.max_slots": 10}


class Machine:
    """A clock that goes on by what work takes: seconds of a meta-iteration, of a test task, and of answering one by
    class means, times `load(now)`."""

    ITERATION, TASK, MEANS = 2.0, 0.5, 0.05

    def __init__(self, monkeypatch, load=lambda now: 1.0):
        self.now, self._load, self.stop_after = 1000.0, load, None
        step, chunk, answered = Trainer.step, metanas_steps.meta_test_chunk, baselines.answered

        def slow_step(trainer, i):
            self.work(self.ITERATION)
            if self.stop_after == i:
                raise KeyboardInterrupt
            return step(trainer, i)

        def slow_chunk(network, learned, source, config, start, stop, *more):
            steps = config.test.steps + config.test_weight_steps
            self.work(self.TASK * (stop - start) * steps / 2)
            return chunk(network, learned, source, config, start, stop, *more)

        def slow_means(episodes, tasks):
            self.work(self.MEANS * tasks)
            return answered(episodes, tasks)

        monkeypatch.setattr(Trainer, "step", slow_step)
        for module in (baselines, cost):
            monkeypatch.setattr(module, "answered", slow_means)
        monkeypatch.setattr(metanas, "meta_test_chunk", slow_chunk)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def work(self, seconds):
        self.now += seconds * self._load(self.now - 1000.0)

    def search(self, **options):
        """The result, the seconds it took, its folder."""
        begun = self.now
        result = search(quiet=True, **options)
        return result, self.now - begun, RunFolder.open(result["run"])


LOADS = {
    "idle": lambda now: 0.6,
    "busy": lambda now: 1.5,
    "becomes free": lambda now: 2.0 if now < 80 else 0.5,
    "becomes busy": lambda now: 0.5 if now < 100 else 2.0,
    "comes and goes": lambda now: (0.6, 2.0)[int(now / 20) % 2],
    "busy while it is tested": lambda now: 0.5 if now < 0.9 * SECONDS else 3.0,
}


@pytest.mark.parametrize("load", LOADS)
def test_all_ends_within_the_budget_and_uses_most_of_it(monkeypatch, mine, tmp_path, load):
    machine = Machine(monkeypatch, LOADS[load])
    result, took, run = machine.search(settings={**SMALL, "data.name": str(mine)}, out=tmp_path / "run")
    assert (0.75 if load == "comes and goes" else 0.85) * SECONDS < took <= SECONDS
    config = config_of(run)
    assert result["iterations"]["done"] == config.meta.iterations == result["iterations"]["planned"]
    assert abs(config.warmup - 0.4 * config.meta.iterations) < 0.45 * config.meta.iterations
    assert result["protocol"]["tasks"] == config.test.tasks >= 10
    assert bool(config.meta.planned) == (load not in ("idle", "busy"))


@pytest.mark.parametrize("load", [10.0, 30.0])
def test_on_a_machine_without_time_little_is_measured(monkeypatch, mine, load):
    """A meta-iteration is, whatever it takes; the rest follows from it where there is no time for more."""
    plan = plan_search(settings={**SMALL, "data.name": str(mine)}, time_budget=SECONDS)
    machine = Machine(monkeypatch, lambda now: load)
    _, pace, _ = pacing.paced(plan, SECONDS, SECONDS, torch.device("cpu"), lambda _: None)
    took, iteration = machine.now - 1000, load * machine.ITERATION
    assert iteration <= took <= 0.1 * SECONDS + iteration and pace.iteration.mean() == iteration
    tasks = plan.config.test.tasks
    assert 0.1 * tasks * load < pace.after < 10 * tasks * load, "a task takes as long as its images say"
    begun = machine.now
    estimate_plan(plan, SECONDS)
    assert machine.now - begun <= 0.1 * SECONDS + iteration


def test_yardsticks_are_planned_for(monkeypatch, mine):
    plan = plan_search(settings={**SMALL, "data.name": str(mine), "test.tasks": 300})
    monkeypatch.setattr(Machine, "MEANS", 0.5)
    Machine(monkeypatch)
    found = estimate_plan(plan)["seconds"]
    assert found["yardstick: class means"] == pytest.approx(200 * Machine.MEANS)
    _, pace, _ = pacing.paced(plan, SECONDS, SECONDS, torch.device("cpu"), lambda _: None)
    assert pace.after >= found["evaluation"] + found["yardstick: class means"]


def test_what_was_decided_on_the_way_is_repeated_and_resumed_with_the_same_bits(monkeypatch, mine, tmp_path):
    machine, settings = Machine(monkeypatch, LOADS["becomes free"]), {**SMALL, "data.name": str(mine)}
    machine.stop_after = 30
    words = ["search", "--data", str(mine), *(word for name, value in SMALL.items() for word in (f"--{name}", value))]
    command = ["autometa", *map(str, words), "--out", str(tmp_path / "run")]
    with pytest.raises(Interrupted):
        machine.search(settings=settings, out=tmp_path / "run", command=command, checkpoint_every=20)
    stopped, machine.stop_after = machine.now, None
    monkeypatch.setattr(machine, "_load", lambda now: 0.5)
    machine.now += 5000
    _, took, run = machine.search(resume=tmp_path / "run")
    config = config_of(run)
    assert config.meta.planned[0] < 30 < config.meta.iterations and len(config.meta.planned) > 2
    assert 0.85 * SECONDS < took + (stopped - 1000) - 20 < 1.1 * SECONDS, "the time between does not count"
    again = shlex.split(command_to_repeat(run))
    assert "--time-budget" not in again and again[-8:-2:2] == ["--meta.iterations", "--meta.planned", "--warmup"]
    again[again.index("--out") + 1] = str(tmp_path / "again")
    assert call(*again[1:]).code == 0
    assert same_outcome(tmp_path / "run", tmp_path / "again")
    assert config_of(RunFolder.open(tmp_path / "again")) == config


def test_a_loop_that_was_cut_is_repeated_as_far_as_it_came(monkeypatch, tmp_path):
    machine = Machine(monkeypatch)
    own = {
        **TINY,
        "test.tasks": 10,
        "inner.steps": 1,
        "meta.batch": 2,
        "nodes": 1,
        "compare": "[]",
        "test.steps": 1,
        "test_weight_steps": 1,
    }
    words = ["search", *(word for name, value in own.items() for word in (f"--{name}", value))]
    answer = call(*words, "--preset", "quick", "--time-budget", "2m", "--out", tmp_path / "run", "-q")
    assert answer.code == 0 and 100 < machine.now - 1000 <= 120, answer.err
    run = RunFolder.open(tmp_path / "run")
    assert iterations_of(run, config_of(run))[0] < config_of(run).meta.iterations == 150
    again = shlex.split(command_to_repeat(run))
    assert "--time-budget" not in again and "[" + str(again[again.index("--meta.iterations") + 1]) + ",150]" in again
    again[again.index("--out") + 1] = str(tmp_path / "again")
    assert call(*again[1:]).code == 0
    one, other = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("run", "again"))
    assert one["scores"] == other["scores"] and one["genotype"] == other["genotype"]


def test_what_a_schedule_has_left_is_spread_over_the_new_plan():
    meta = MetaConfig(iterations=100, step_size_end=0.0)
    changed = meta.changed(50, 150).changed(100, 110)
    assert [changed.position(i) for i in (0, 25, 50, 75, 100, 105, 110)] == [0, 0.25, 0.5, 0.625, 0.75, 0.875, 1.0]
    assert changed.first_planned == 100 and changed.planned == (50, 100, 100, 150)
    assert [meta.position(i) for i in range(100)] == [i / 100 for i in range(100)], "not a bit moves without a change"
    for bad in ((50,), (50, 40), (60, 100, 50, 120), (50, 100, 120, 130), (0, 50)):
        with pytest.raises(InputError, match="planned must be pairs"):
            replace(MetaConfig(iterations=110), planned=bad).check_planned()
