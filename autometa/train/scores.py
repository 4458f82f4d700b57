"""How accuracy is reported: mean and 95% confidence interval over tasks, in each BN mode."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from autometa.meta.bn_modes import EVERY


@dataclass(frozen=True)
class Score:
    """Accuracy in percent: mean over tasks and half width of its 95% confidence interval (normal, over tasks)."""

    mean: float
    ci95: float
    tasks: int

    @classmethod
    def of(cls, per_task: Tensor) -> Score:
        """From each task's share of right answers, `[T]`."""
        values = per_task.to(torch.float64) * 100
        spread = float(values.std(correction=1)) if len(values) > 1 else math.nan
        return cls(float(values.mean()), 1.96 * spread / math.sqrt(len(values)), len(values))


def scores(per_task: Mapping[str, Tensor]) -> dict[str, Score]:
    """One score per BN mode."""
    return {mode: Score.of(per_task[mode]) for mode in EVERY if mode in per_task}


def as_json(found: Mapping[str, Score]) -> dict:
    """Plain dictionaries for result.json."""
    return {mode: asdict(score) for mode, score in found.items()}
