"""A tiny trained run, for tests of models."""

from __future__ import annotations

from pathlib import Path

import torch

from autometa.algorithms.train import ReptileConfig
from autometa.algorithms.train_run import train_network
from autometa.runs.folder import RunFolder
from autometa.train.config import DataConfig, EvalConfig, InnerConfig, MetaConfig
from autometa.train.phases import Terms

CONFIG = ReptileConfig(
    network="reptile-omniglot",
    filters=2,
    data=DataConfig("strokes:6x6x8", 8),
    inner=InnerConfig(ways=2, shots=2, batch=2, steps=1, lr=5e-3),
    meta=MetaConfig(iterations=2, batch=2),
    test=EvalConfig(tasks=2, shots=1, queries=2, batch=2, steps=2),
)


def trained(folder: Path, config: ReptileConfig = CONFIG) -> Path:
    """A finished run in a folder."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with RunFolder.create(folder, "train", config, ["autometa"], seed=0, notice=lambda _: None) as run:
        train_network(config, run, Terms(quiet=True))
    torch.set_num_threads(before)
    return folder
