"""Devices of small models, and their C code built and run."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autometa.algorithms.metanas import MetaNASConfig
from autometa.data import Recipe
from autometa.export.c.project import Device, some_pictures
from autometa.models.model import Model
from autometa.train.learned import Learned
from benchmarks.on_device import write
from tests.export.made import NETWORKS, WAYS, model, pictures

KINDS = (*NETWORKS, "search")

COMPILERS = ("gcc", "clang")
EACH_COMPILER = pytest.mark.parametrize(
    "compiler",
    [
        pytest.param(name, marks=pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed"))
        for name in COMPILERS
    ],
)
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")


def meta_learned(kind: str) -> Model:
    """A model, `search`: of a search network, most of it pruned by its own architecture."""
    if kind != "search":
        return model(kind)
    config = MetaNASConfig(channels=4, cells=2, reductions=(1,), nodes=2, t_min_test=0.3)
    config = replace(config, inner=replace(config.inner, ways=WAYS))
    network = config.build((1, 9, 9))
    theta, start = network.initial(0), network.layout.weights
    theta[start:] = torch.randn(len(theta) - start, generator=torch.Generator().manual_seed(1))
    learned = Learned(theta, torch.zeros_like(theta), torch.tensor([7, 7, 7]))
    return Model(config, network, learned, Recipe(1, 9), "made up")


def device(kind: str, learn: str, weights: str = "float32", frozen: bool = False) -> Device:
    """With the statistics of made up pictures."""
    own = meta_learned(kind)
    return Device.of(kind, own, pictures(12, own.recipe.size, 3), learn, weights, frozen)


def written(made: Device, folder: Path, main: str | None = None) -> Path:
    """Its files, with another program in place of the self-test."""
    files = made.files(None, some_pictures(pictures(7, made.model.recipe.size, 4), made.model.recipe))
    return write(files, folder, main)
