"""Reptile (Nichol et al. 2018, arXiv 1803.02999, algorithm 2)."""

from __future__ import annotations

from dataclasses import dataclass

from autometa.meta.learner import MetaLearner


@dataclass(frozen=True)
class Reptile(MetaLearner):
    """Reptile: theta moves towards the mean of the weights that the tasks' inner loops found."""
