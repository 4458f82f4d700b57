"""The interval over classes: quantiles against SciPy's, its mean, and how often it holds what other classes give."""

import numpy as np
import pytest

from autometa.train.class_interval import over_classes
from autometa.train.intervals import beta_quantile, clopper_pearson, korn_graubard, t_quantile

WAYS, TASKS, QUERIES = 5, 40, 5


def test_quantiles():
    """Tables: Student's t, and the exact intervals of 9 and 10 of 10 (Clopper and Pearson)."""
    assert [round(t_quantile(df), 3) for df in (1, 2, 3, 10, 200)] == [12.706, 4.303, 3.182, 2.228, 1.972]
    assert clopper_pearson(0.9, 10) == pytest.approx((0.5550, 0.9975), abs=1e-4)
    assert clopper_pearson(1.0, 10) == pytest.approx((0.6915, 1.0), abs=1e-4)
    assert beta_quantile(0.5, 2000.0, 2000.0) == pytest.approx(0.5, abs=1e-9)
    low, high = korn_graubard(0.6, 0.6 * 0.4 / 100, 1000, 10**6)
    assert (low, high) == pytest.approx(clopper_pearson(0.6, 100), abs=1e-4), "many classes: no factor for few"


def world(rng, classes, turns):
    """Centres `[turns * classes, 6]` in the order of virtual classes, and the spread of each: classes are unequal,
    turns are like their class, more or less."""
    base, alike = rng.normal(size=(classes, 6)), rng.uniform(0, 0.95, (classes, 1))
    other = [alike * base + np.sqrt(1 - alike**2) * rng.normal(size=base.shape) for _ in range(turns - 1)]
    return np.concatenate([base, *other]), np.tile(0.8 * np.exp(rng.normal(0, 0.5, classes)), turns)


def tasks_of(rng, centres, spread, tasks):
    """Answers `[T, ways * queries]` of the nearest of one support point a slot, and the virtual classes `[T, ways]`."""
    chosen = np.stack([rng.permutation(len(centres))[:WAYS] for _ in range(tasks)])
    mean, wide = centres[chosen], spread[chosen][..., None]
    support = mean + wide * rng.normal(size=mean.shape)
    queries = mean[:, :, None] + wide[:, :, None] * rng.normal(size=(tasks, WAYS, QUERIES, 6))
    distance = ((queries[:, :, :, None] - support[:, None, None]) ** 2).sum(axis=-1)
    return distance.argmin(axis=-1).reshape(tasks, -1), chosen


def accuracy(said):
    return 100 * (said == np.repeat(np.arange(WAYS), QUERIES)).mean(axis=1)


@pytest.mark.parametrize("classes, turns", [(3, 4), (4, 4), (12, 1)])
def test_it_holds_the_accuracy_of_other_classes(classes, turns):
    """In about 95% of sets of few classes, where the interval over tasks does in less than half of them, and whose
    accuracy is too low where turns of one class meet."""
    rng, sets = np.random.default_rng(0), 60
    truth = accuracy(tasks_of(rng, *world(rng, 2000, 1), 1000)[0]).mean()
    held, held_by_tasks, means = 0, 0, []
    for _ in range(sets):
        said, chosen = tasks_of(rng, *world(rng, classes, turns), TASKS)
        found, each = over_classes(said, chosen % classes, classes), accuracy(said)
        held += found["low"] <= truth <= found["high"]
        held_by_tasks += abs(each.mean() - truth) <= 1.96 * each.std(ddof=1) / TASKS**0.5
        means.append(found["mean"])
        assert (found["classes"], found["turned"]) == (classes, turns > 1)
    assert held >= 0.88 * sets and held_by_tasks < 0.55 * sets
    error = np.std(means, ddof=1) / sets**0.5
    assert abs(np.mean(means) - truth) < 3 * error + 1


def test_with_many_classes_it_is_close_to_that_over_tasks():
    rng = np.random.default_rng(1)
    said, chosen = tasks_of(rng, *world(rng, 659, 1), 200)
    found, each = over_classes(said, chosen, 659), accuracy(said)
    over_tasks = 2 * 1.96 * each.std(ddof=1) / 200**0.5
    assert found["mean"] == pytest.approx(each.mean()), "without turns it is the accuracy"
    assert over_tasks < found["high"] - found["low"] < 1.6 * over_tasks


def test_few_classes_promise_little():
    right = np.repeat(np.arange(WAYS), QUERIES)[None].repeat(TASKS, axis=0)
    slots = np.stack([np.random.default_rng(n).permutation(16)[:WAYS] for n in range(TASKS)])
    widths = {}
    for classes in (2, 4, 8, 16):
        found = over_classes(right, slots % classes, classes)
        assert (found["mean"], found["high"]) == (100, 100)
        widths[classes] = found["high"] - found["low"]
    assert widths[2] > 80 and widths[4] > 10 and widths[4] > widths[8] > widths[16] > 0.5
    half = np.where(np.arange(TASKS)[:, None] % 2, right, (right + 1) % WAYS)
    found = over_classes(half, slots % 2, 2)
    assert found["low"] < 10 and found["high"] > 90
    assert over_classes(right, slots * 0, 1) == {"mean": None, "low": 0.0, "high": 100.0, "classes": 1, "turned": True}


def test_answers_that_are_none_are_wrong():
    slots = np.arange(WAYS)[None].repeat(TASKS, axis=0)
    said = np.repeat(np.arange(WAYS), QUERIES)[None].repeat(TASKS, axis=0)
    said[: TASKS // 4] = -1
    assert over_classes(said, slots, WAYS)["mean"] == pytest.approx(75)
    assert over_classes(np.full_like(said, -1), slots, WAYS)["mean"] == 0
