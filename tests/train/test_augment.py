"""Augmentation as a setting of runs: training tasks alone, the same when repeated, refused out of its range."""

import pytest
import torch

import autometa
from autometa.algorithms.train import ReptileConfig
from autometa.api.settings import settle
from autometa.errors import InputError
from autometa.models.model import Model
from autometa.ops.augment_images import Augment
from autometa.runs.files import plain
from autometa.runs.folder import RunFolder
from autometa.train.config import DataConfig, EvalConfig, InnerConfig, from_json
from autometa.train.tasks import Source

CHANGED = Augment(shift=0.2, noise=0.1)
TINY = {
    "data.name": "strokes:6x6x12",
    "data.variant": "ink",
    "data.image_size": 14,
    "meta.iterations": 6,
    "meta.batch": 2,
    "test.tasks": 4,
    "test.steps": 2,
    "inner.shots": 5,
    "filters": 8,
}


def test_training_tasks_are_changed_and_those_of_tests_are_not():
    config = DataConfig("strokes:6x6x12", 14)
    plain_source = Source.open(config)
    source = Source.open(DataConfig("strokes:6x6x12", 14, augment=CHANGED))

    def support(opened, part):
        made = opened.training(InnerConfig(shots=2), "test", 0) if part == "train" else opened.testing(5, EvalConfig())
        return made.support(made.tasks([0, 1]))[0]

    assert not torch.equal(support(source, "train"), support(plain_source, "train"))
    assert torch.equal(support(source, "test"), support(plain_source, "test"))


def test_settings_by_name_and_their_limits():
    config = settle(ReptileConfig(), settings={"data.augment.shift": 0.1, "data.augment.rotation": "8"})
    assert config.data.augment == Augment(shift=0.1, rotation=8.0)
    assert from_json(ReptileConfig, plain(config)) == config
    with pytest.raises(InputError, match=r"data.augment.scale must lie in 0 .. 0.9, not 1"):
        settle(ReptileConfig(), settings={"data.augment.scale": 1.0})
    with pytest.raises(InputError, match="data.fit must be crop or stretch or ink, not pad"):
        settle(ReptileConfig(), settings={"data.fit": "pad"})


def test_configs_of_before_have_none():
    told = plain(ReptileConfig())
    del told["data"]["augment"], told["data"]["fit"]
    assert from_json(ReptileConfig, told) == ReptileConfig()
    assert not ReptileConfig().data.augment.active


def test_a_run_with_it_is_another_one_and_the_same_when_repeated(tmp_path):
    settings = {**TINY, "data.augment.shift": 0.1, "data.augment.noise": 0.1}
    plain_run = autometa.train("reptile-omniglot", settings=TINY, out=tmp_path / "plain", quiet=True)
    autometa.train("reptile-omniglot", settings=settings, out=tmp_path / "whole", quiet=True)
    autometa.train("reptile-omniglot", settings=settings, out=tmp_path / "again", quiet=True)
    first, second = (Model.of(RunFolder.open(tmp_path / name)).learned.theta for name in ("whole", "again"))
    without = Model.of(RunFolder.open(tmp_path / "plain")).learned.theta
    assert torch.equal(first, second) and not torch.equal(first, without) and plain_run["scores"]


@pytest.mark.parametrize(
    ("algorithm", "more"),
    [
        (
            "metanas",
            {
                "channels": 4,
                "cells": 2,
                "reductions": (1,),
                "nodes": 2,
                "meta.iterations": 3,
                "warmup": 1,
                "test_weight_steps": 1,
                "compare": (),
            },
        ),
        (
            "auto-meta",
            {
                "blocks": 1,
                "beam": 2,
                "meta.iterations": 2,
                "final_meta.iterations": 2,
                "final_inner.shots": 5,
                "macro.filters": 4,
                "final.filters": 4,
                "validation.tasks": 4,
                "validation.steps": 1,
            },
        ),
    ],
)
def test_searches_take_it(algorithm, more, tmp_path):
    common = {
        "data.name": "strokes:6x6x12",
        "test.tasks": 4,
        "test.steps": 1,
        "inner.shots": 5,
        "data.augment.shift": 0.2,
    }
    found = autometa.search(algorithm, preset="quick", settings={**common, **more}, out=tmp_path / "run", quiet=True)
    assert found["scores"] and RunFolder.open(tmp_path / "run").config["data"]["augment"]["shift"] == 0.2
