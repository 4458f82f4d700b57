"""Accuracy of a form on test tasks, and the confidence below which it says none of these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from autometa.data import DataError, Episodes
from autometa.models.confidence import KEEPS
from autometa.models.model import Model
from autometa.train.frozen import bytes_of
from autometa.train.tasks import Source

Answer = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Support images uint8 `[M, C, H, W]`, their labels `[M]`, queries -> probabilities `[n, ways]`."""
TASKS = 60
MOST_SHOTS, QUERIES = 5, 5


@dataclass(frozen=True)
class Measured:
    """Percent of right answers, of tasks of `ways` classes of test pictures; least: probability of the best class that
    KEEPS of the right answers reach, refused: percent of pictures of other classes below it; None where there are too
    few classes."""

    ways: int
    shots: int
    tasks: int
    accuracy: float
    spread: float
    least: float | None
    refused: float | None


def measure(model: Model, source: Source, answer: Answer, tasks: int = TASKS) -> Measured | None:
    """None where the data have too few test classes or pictures."""
    ways, test = model.network.ways, model.config.test
    found = None
    for wanted in (2 * ways, ways):
        for shots in range(MOST_SHOTS, 0, -1):
            try:
                episodes = source.testing(wanted, _asking(test, shots))
            except DataError:
                continue
            found = found or (episodes, wanted, shots)
    if found is None:
        return None
    episodes, wanted, shots = found
    rows = [_answers(episodes, i, ways, answer) for i in range(tasks)]
    right = torch.cat([row[0] for row in rows])
    each = torch.stack([row[0].double().mean() for row in rows])
    spread = 196 * float(each.std()) / tasks**0.5
    sure = torch.cat([row[1] for row in rows])
    least = refused = None
    if wanted > ways and bool(right.any()):
        half = len(rows) // 2
        chosen = torch.cat([row[1][row[0]] for row in rows[:half]])
        least = float(np.floor(100 * np.quantile(chosen.numpy(), 1 - KEEPS)) / 100) if len(chosen) else 0.0
        others = torch.cat([row[2] for row in rows[half:]])
        refused = 100 * float((others < least).double().mean())
    assert len(sure)
    return Measured(ways, shots, tasks, 100 * float(right.double().mean()), spread, least, refused)


def _asking(test, shots: int):
    return replace(test, shots=shots, queries=QUERIES)


def _answers(episodes: Episodes, i: int, ways: int, answer: Answer) -> tuple[Tensor, ...]:
    """Whether each answer is right, its probability, and that of pictures of classes not taught."""
    tasks = episodes.tasks(torch.tensor([i]))
    (support, labels), (queries, truth) = episodes.support(tasks), episodes.queries(tasks)
    support, labels, queries, truth = (x[0].cpu() for x in (support, labels, queries, truth))
    taught, asked = labels < ways, torch.cat([queries[truth < ways], queries[truth >= ways]])
    sure, said = answer(bytes_of(support[taught]), labels[taught], bytes_of(asked)).nan_to_num(0.0).max(dim=1)
    known = int((truth < ways).sum())
    return said[:known] == truth[truth < ways], sure[:known], sure[known:]
