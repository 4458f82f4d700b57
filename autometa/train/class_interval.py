"""What accuracy to expect on other classes, and how sure that is: an interval over classes as well as tasks.

Tasks share classes. With few test classes, each with its quarter turns, a hundred tasks are a hundred looks at the same
few classes, and an interval over tasks alone says how the same classes would do again, not how others would.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from autometa.train.intervals import clopper_pearson, korn_graubard

SURE = 20
"""Classes from which on most of what class and task part share is taken off: of few classes that difference is too
uncertain, and intervals hold too seldom (simulated: 87% of the time with 4 classes, 95% with this)."""

Odds = TypeVar("Odds", float, np.ndarray)
ALIKE = 0.05
"""The least correlation of two answers about one class: a few classes without any error do not promise that the next
one has none. Where errors are seen their own spread decides."""


@dataclass(frozen=True)
class Pairs:
    """Answers by pairs of different slots of a task, float64 `[T, ways, ways]`: wrong, queries of one slot that were
    taken for the other; right, queries of the first that were answered rightly with the other to choose. Both are 0
    where the two slots hold turns of one class. slots: the class of each slot, int64 `[T, ways]`, below `classes`."""

    wrong: np.ndarray
    right: np.ndarray
    slots: np.ndarray
    classes: int


def pairs_of(predicted: np.ndarray, slots: np.ndarray, classes: int) -> Pairs:
    """predicted: slots that were answered, int `[T, ways * queries]`, slot by slot, -1 for none: as wrong as an answer
    can be, shared out evenly among the others."""
    tasks, ways = slots.shape
    answers = predicted.reshape(tasks, ways, -1)
    counts = (answers[..., None] == np.arange(ways)).sum(axis=2).astype(np.float64)
    other = slots[:, :, None] != slots[:, None, :]
    none = (answers < 0).sum(axis=2)[..., None] / np.maximum(other.sum(axis=2, keepdims=True), 1)
    right = np.diagonal(counts, axis1=1, axis2=2)[..., None]
    return Pairs(np.where(other, counts + none, 0.0), np.where(other, right, 0.0), slots, classes)


def over_classes(predicted: np.ndarray, slots: np.ndarray, classes: int) -> dict[str, float | int | bool | None]:
    """Percent of right answers to expect in tasks of as many *different* classes, with its 95% interval.

    predicted, slots: as of `pairs_of`. Gives `mean` (None where one class is all there is), `low`, `high`, how many
    `classes` were tested, and whether tasks held turns of one class beside each other (`turned`).

    Mean: turns of one class are no classes of their own to whoever takes pictures the right way up, and are harder to
    tell apart than different classes. They are taken out of the choice by Luce's axiom, which softmax obeys: the odds
    of a wrong against a right answer, for each different class that could be chosen, times ways - 1. Without turns
    that is the accuracy as it is.

    Variance: every answer belongs to a task and to two classes, the right one and the one it could be taken for; turns
    belong to their class. Class part by the jackknife (leaving out a class with all pairs that it is in), task part as
    ever, less what is in both (Cameron, Gelbach and Miller 2011, two-way; Aronow et al. 2015, pairs). Interval of Korn
    and Graubard, with two degrees of freedom less than there are classes. Of two classes there is but one pair, whose
    spread nobody can see: each class counts as one answer, and the interval says nearly nothing.

    Simulated with classes of unequal difficulty (tests/train/test_class_interval.py): of sets of 4 to 659 classes
    90 to 100%, most 95%, give an interval that holds the accuracy on other classes; the interval over tasks holds it in
    a fifth (5 classes) to 0.85 (659 classes) of them. With 659 classes it is 1.3 to 1.45 times as wide as that one.
    """
    ways = slots.shape[1]
    turned = bool((np.sort(slots, axis=1)[:, 1:] == np.sort(slots, axis=1)[:, :-1]).any())
    told = {"mean": None, "low": 0.0, "high": 100.0, "classes": classes, "turned": turned}
    pairs = pairs_of(predicted, slots, classes)
    wrong, right = float(pairs.wrong.sum()), float(pairs.right.sum())
    if classes < 2 or wrong + right == 0:
        return told
    odds = wrong / right if right else np.inf
    share = _accuracy(odds, ways)
    if classes == 2:
        low, high = clopper_pearson(share, 2)
    else:
        alike = 1 + (predicted.size / classes - 1) * ALIKE
        low, high = korn_graubard(share, _variance(pairs, ways, wrong, right), predicted.size / alike, classes - 2)
    return {**told, "mean": 100 * float(share), "low": 100 * low, "high": 100 * high}


def _accuracy(odds: Odds, ways: int) -> Odds:
    return 1 / (1 + (ways - 1) * odds)


def _variance(pairs: Pairs, ways: int, wrong: float, right: float) -> float:
    """Of the accuracy, over classes and tasks."""
    if not right:
        return 0.0
    odds, n = wrong / right, pairs.classes
    scale = (ways - 1) * _accuracy(odds, ways) ** 2 / right
    deviation = scale * (pairs.wrong - odds * pairs.right)
    own = deviation.sum(axis=2) + deviation.sum(axis=1)
    of_tasks = float((deviation.sum(axis=(1, 2)) ** 2).sum())
    by_class = np.bincount(pairs.slots.ravel(), own.ravel(), n)
    left = [_without(table, pairs) for table in (pairs.wrong, pairs.right)]
    kept = left[1] > 0
    again = _accuracy(left[0][kept] / left[1][kept], ways)
    jackknife = (n - 1) / n * float(((again - again.mean()) ** 2).sum())
    linear = float((by_class**2).sum())
    # a class that a task holds twice, as turns, is one cluster there
    key = np.arange(len(own))[:, None] * n + pairs.slots
    _, place = np.unique(key, return_inverse=True)
    in_both = float((np.bincount(place.ravel(), own.ravel()) ** 2).sum())
    of_classes = jackknife * (1 - in_both / linear * (n - 2) / (n + SURE)) if linear > 0 else 0.0
    return max(of_classes, 0.0) + of_tasks


def _without(table: np.ndarray, pairs: Pairs) -> np.ndarray:
    """Sums of all pairs that a class is not in, `[classes]`."""
    touching = table.sum(axis=2) + table.sum(axis=1)
    return table.sum() - np.bincount(pairs.slots.ravel(), touching.ravel(), pairs.classes)
