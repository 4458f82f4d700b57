"""Episodes: distinct, uniform, a function of the task's number, and the same in C++ and NumPy."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autometa.ops.philox import TASK, bounded, philox_uint32
from autometa.ops.sample_tasks import permutation, sample_tasks
from autometa.ops.sample_tasks.native import sample_tasks_native
from tests.ops.arenas import native

BACKENDS = ("reference", pytest.param("cpp", marks=native))


def starts(*sizes):
    return torch.tensor([0, *itertools.accumulate(sizes)], dtype=torch.int64)


def sample(backend, sizes=(20,) * 30, classes=None, ids=range(50), **options):
    settings = {"rotations": 4, "ways": 5, "shots": 2, "queries": 3, "seed": 1, **options}
    classes = torch.arange(len(sizes)) if classes is None else torch.tensor(classes, dtype=torch.int64)
    ids = torch.tensor(list(ids), dtype=torch.int64)
    if "group_start" in options:
        settings["group_start"] = torch.tensor(options["group_start"], dtype=torch.int64)
    return sample_tasks(starts(*sizes), classes, ids, **settings, backend=backend)


@native
@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(6, 40), min_size=5, max_size=12),
    st.sampled_from((1, 4)),
    st.integers(1, 5),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, 2**63 - 1), max_size=5),
)
def test_cpp_equals_numpy(sizes, rotations, ways, shots, queries, seed, ids):
    options = {"rotations": rotations, "ways": ways, "shots": shots, "queries": queries, "seed": seed}
    for found, expected in zip(
        sample("cpp", sizes, ids=ids, **options),
        sample("reference", sizes, ids=ids, **options),
        strict=True,
    ):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_task_of_one_group(backend):
    """The group is the draw after all others; classes and images are those that the group alone would give."""
    classes, groups, names = [6, 5, 4, 3, 2, 1, 0], [0, 2, 7], {"rotations": 4, "ways": 3, "seed": 5}
    image, rotation, chosen = sample(backend, (20,) * 7, classes, range(400), group_start=groups, **names)
    last = philox_uint32(5, TASK, np.arange(400), 3 + 3 * 5)
    group = bounded(last, 2)
    assert 150 < group.sum() < 250
    for task in range(400):
        first, end = groups[group[task]], groups[group[task] + 1]
        one, turns, own = sample(backend, (20,) * 7, classes[first:end], [task], **names)
        assert torch.equal(image[task], one[0]) and torch.equal(rotation[task], turns[0])
        count = end - first
        assert torch.equal(chosen[task], own[0] // count * 7 + first + own[0] % count)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("groups", "message"),
    (
        ([0, 1, 30], "group 0 has too few classes for 5 ways"),
        ([0, 20, 10, 30], "group 1 has too few classes"),
        ([0, 20], "from 0 to the number of classes"),
        ([1, 30], "from 0 to the number of classes"),
        ([0], "an entry per group and one more"),
    ),
)
def test_groups_that_are_refused(backend, groups, message):
    with pytest.raises(ValueError, match=message):
        sample(backend, group_start=groups)


def floyd(numbers, size):
    """The algorithm word by word, with a list."""
    found = []
    for number, j in zip(numbers, range(size - len(numbers), size), strict=True):
        t = int(bounded(np.uint32(number), j + 1))
        if t in found:
            found.insert(found.index(t) + 1, j)
        else:
            found.insert(0, t)
    return found


@pytest.mark.parametrize("backend", BACKENDS)
def test_follows_the_draws_in_the_documented_order(backend):
    sizes, classes, ways, each = (9, 7, 30, 8, 11), [4, 2, 0, 3], 3, 5
    image, rotation, chosen = sample(backend, sizes, classes, [2**40 + 3], ways=ways, seed=9)
    numbers = philox_uint32(9, TASK, 2**40 + 3, np.arange(ways + ways * each))
    assert chosen[0].tolist() == floyd(numbers[:ways], 16)
    for way, virtual in enumerate(chosen[0].tolist()):
        real = classes[virtual % 4]
        assert rotation[0, way] == virtual // 4
        within = floyd(numbers[ways + way * each : ways + (way + 1) * each], sizes[real])
        assert image[0, way].tolist() == [int(starts(*sizes)[real]) + one for one in within]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_task_depends_on_its_number_alone(backend):
    together = sample(backend, ids=[7, 3, 99])
    alone = sample(backend, ids=[3])
    other_seed = sample(backend, ids=[3], seed=2)
    for many, one, other in zip(together, alone, other_seed, strict=True):
        assert torch.equal(many[1], one[0])
        assert not torch.equal(one, other)


@pytest.mark.parametrize("backend", BACKENDS)
def test_images_are_distinct_and_of_their_class(backend):
    sizes, classes = (5, 9, 6, 5, 12), [1, 2, 4]
    image, rotation, chosen = sample(backend, sizes, classes, range(200), rotations=1, ways=3)
    assert bool((rotation == 0).all())
    edges = starts(*sizes)
    real = torch.tensor(classes)[chosen]
    assert bool((image >= edges[real][..., None]).all()) and bool((image < edges[real + 1][..., None]).all())
    assert all(len(set(row)) == 5 for row in image.flatten(0, 1).tolist())
    assert all(len(set(row)) == 3 for row in chosen.tolist())
    assert set(chosen.flatten().tolist()) == {0, 1, 2}


def test_floyd_gives_every_permutation_alike():
    outcomes = list(itertools.permutations(range(5), 3))
    numbers = philox_uint32(11, TASK, np.arange(12000)[:, None], np.arange(3)[None])
    found = permutation(numbers, 5)
    counts = np.array([(found == np.array(outcome)).all(axis=1).sum() for outcome in outcomes])
    assert counts.sum() == 12000
    assert ((counts - 200) ** 2 / 200).sum() < 98.3  # chi-square, 59 degrees of freedom: 0.1%


@native
def test_cpp_classes_are_uniform():
    *_, chosen = sample("cpp", (5,) * 10, ids=range(4000), rotations=4, ways=2)
    counts = np.bincount(chosen[:, 1].numpy(), minlength=40)
    assert ((counts - 100) ** 2 / 100).sum() < 72.1  # chi-square, 39 degrees of freedom: 0.1%


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("options", "message"),
    (
        ({"ways": 121}, "121 ways need as many classes, there are 120"),
        ({"shots": 18}, "a task needs 21 images per class, class 0 has 20"),
        ({"rotations": 2}, "rotations must be 1 or 4"),
        ({"seed": -1}, "seed must lie"),
        ({"ways": 0}, "ways >= 1"),
        ({"classes": [3, 30]}, "classes must lie in 0..29"),
        ({"ids": [4, -1]}, "task_ids must be at least 0"),
    ),
)
def test_bad_arguments(backend, options, message):
    with pytest.raises(ValueError, match=message):
        sample(backend, **options)


@native
def test_opcheck():
    class_start, classes, ids = starts(*(20,) * 6), torch.arange(6), torch.arange(3)
    image, rotation, chosen = (torch.zeros(3, 2, *more, dtype=torch.int64) for more in ((4,), (), ()))
    assert torch.library.opcheck(
        sample_tasks_native.custom,
        (class_start, classes, torch.tensor([0, 6]), ids, 4, 2, 1, 3, 5, image, rotation, chosen),
    )
