"""A time budget for all of a run: what its loop may take, with measurements made up."""

import numpy as np
import pytest
import torch
from PIL import Image

from autometa.api import pacing
from autometa.api.estimate import Rest
from autometa.api.planning import plan_search

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
    monkeypatch.setattr(pacing, "rest", lambda *_: Rest(0.0, {"evaluation": evaluation}, rival, 0))
    monkeypatch.setattr(pacing, "iteration_seconds", lambda *_: iteration)
    told = []
    made, loop = pacing.paced(plan, BUDGET, BUDGET, torch.device("cpu"), told.append)
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


def test_a_search_on_photos_is_planned_shorter_where_iterations_take_long(monkeypatch, tmp_path):
    for c in range(6):
        (tmp_path / f"mine/{c}").mkdir(parents=True)
        for n in range(3):
            pixels = np.random.default_rng([c, n]).integers(0, 256, (20, 20), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"mine/{c}/{n}.png")
    plan = plan_search(settings={"data.name": str(tmp_path / "mine")}, time_budget=BUDGET)
    made, loop, told = paced(monkeypatch, plan, 100.0, iteration=4.0)
    config = made.config
    assert config.meta.iterations == int(pacing.LENGTHS * loop / 4.0) // 10 * 10 < plan.config.meta.iterations
    assert config.warmup == plan.config.warmup * config.meta.iterations // plan.config.meta.iterations
    assert "one takes 4 s here and now" in told[-1]
    same, *_ = paced(monkeypatch, plan, 100.0, iteration=1e-3)
    assert same == plan
    asked = plan_search(settings={"data.name": str(tmp_path / "mine"), "meta.iterations": 900})
    assert paced(monkeypatch, asked, 100.0, iteration=4.0)[0] == asked, "a length that was asked for stays"
