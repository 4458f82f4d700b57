"""How a test result is to be read: what to expect on other classes, and what needs no learning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from autometa.data import Episodes
from autometa.meta.bn_modes import EVERY, answers_name
from autometa.train.baselines import MODE, baselines
from autometa.train.class_interval import over_classes
from autometa.train.config import EvalConfig
from autometa.train.tasks import Source, chunks

REDRAWN = 1000
"""Tasks drawn again at once, to see which classes met in them."""


def classes_of_tasks(episodes: Episodes, tasks: int) -> Tensor:
    """The class of each slot of the first tasks, turned or not: its place among the classes, int64 `[tasks, ways]`."""
    drawn = [episodes.tasks(torch.arange(*part, device="cpu")).chosen.cpu() for part in chunks(tasks, REDRAWN)]
    return torch.cat(drawn) % len(episodes.classes)


def judged(source: Source, ways: int, test: EvalConfig, found: Mapping[str, Tensor], right: Tensor) -> dict[str, Any]:
    """`new_classes` and `baselines` of result.json, of normalisation by support statistics, which predict uses;
    `new_classes.modes` tells the interval in each BN mode.

    found: what evaluation kept per task; right: shares of right answers `[tasks]`. Empty where answers were not kept.
    """
    if "predicted" not in found:
        return {}
    episodes = source.testing(ways, test)
    slots = classes_of_tasks(episodes, len(right)).numpy()
    kept = {mode: found[name].numpy() for mode in EVERY if (name := answers_name(mode)) in found}
    told = {mode: over_classes(said, slots, len(episodes.classes)) for mode, said in kept.items()}
    modes = {mode: {name: one[name] for name in ("mean", "low", "high")} for mode, one in told.items()}
    expected = {**told[MODE], "modes": modes}
    return {"new_classes": expected, "baselines": baselines(source, ways, test, right)}
