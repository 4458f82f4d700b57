"""Laws of episodes: who is in a task, which way it is turned, and what the inner loop sees of it."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autometa.data import DataError, Episodes, TaskSpec
from autometa.ops.augment_images import Augment

COUNTS = [6, 9, 7, 6, 12, 8, 6]
SPEC = TaskSpec(ways=5, shots=2, queries=4, rotations=4)
CLASSES = np.array([1, 2, 4, 5, 6])


@pytest.fixture
def episodes(make_store):
    return Episodes(make_store(COUNTS)[0], CLASSES, SPEC, seed=3)


def class_of(store, image):
    return np.searchsorted(store.class_start, image, side="right") - 1


def check_tables(episodes, tasks):
    spec, pool = episodes.spec, episodes.classes
    image, chosen = tasks.image.numpy(), tasks.chosen.numpy()
    assert image.shape == (len(tasks), spec.ways, spec.shots + spec.queries)
    for task in range(len(tasks)):
        assert len(set(chosen[task])) == spec.ways
        for way in range(spec.ways):
            assert len(set(image[task, way])) == spec.shots + spec.queries
            assert set(class_of(episodes.store, image[task, way])) == {pool[chosen[task, way] % len(pool)]}
    assert np.array_equal(tasks.rotation.numpy(), chosen // len(pool))


def test_classes_differ_and_support_and_queries_are_disjoint(episodes):
    check_tables(episodes, episodes.tasks(range(50)))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ways=st.integers(1, 7),
    shots=st.integers(1, 5),
    queries=st.integers(0, 1),
    rotations=st.sampled_from([1, 4]),
    seed=st.integers(0, 2**32 - 1),
    first=st.integers(0, 2**40),
)
def test_any_shape_of_task(tmp_path_factory, ways, shots, queries, rotations, seed, first):
    from tests.data.conftest import build_store

    store, _ = build_store(tmp_path_factory.mktemp("any"), COUNTS)
    episodes = Episodes(store, np.arange(7), TaskSpec(ways, shots, queries, rotations), seed)
    tasks = episodes.tasks([first, first + 1])
    check_tables(episodes, tasks)
    images, labels = episodes.queries(tasks)
    assert images.shape == (2, ways * queries, 1, 6, 6) and labels.shape == (2, ways * queries)


def test_images_are_those_of_the_tables_turned(make_store):
    store, images = make_store(COUNTS, channels=3)
    episodes = Episodes(store, CLASSES, SPEC, seed=0)
    tasks = episodes.tasks([4, 9])
    (support, support_labels), (queries, query_labels) = episodes.support(tasks), episodes.queries(tasks)
    assert support.shape == (2, 10, 3, 6, 6) and queries.shape == (2, 20, 3, 6, 6)
    assert support.dtype == torch.float32 and support_labels.dtype == torch.int64
    for task in range(2):
        for way in range(5):
            for m in range(6):
                turns = int(tasks.rotation[task, way])
                expected = np.rot90(images[tasks.image[task, way, m]], turns, (1, 2)).astype(np.float32) / 255
                part, labels = (support, support_labels) if m < 2 else (queries, query_labels)
                place = way * 2 + m if m < 2 else way * 4 + m - 2
                np.testing.assert_allclose(part[task, place].numpy(), expected, atol=1e-6)
                assert labels[task, place] == way


def test_turned_classes_are_classes_of_their_own(episodes):
    tasks = episodes.tasks(range(300))
    assert set(tasks.chosen.flatten().tolist()) == set(range(20))
    pairs = [(set(task.tolist()), {virtual % 5 for virtual in task.tolist()}) for task in tasks.chosen]
    assert any(len(real) < len(virtual) for virtual, real in pairs), "a class and its turn never met in a task"


def test_without_rotations_nothing_turns(make_store):
    episodes = Episodes(make_store(COUNTS)[0], CLASSES, TaskSpec(5, 1, 1), seed=0)
    tasks = episodes.tasks(range(20))
    assert not tasks.rotation.any() and tasks.chosen.max() == 4


def test_task_does_not_depend_on_the_batch_it_is_drawn_in(episodes):
    together, alone = episodes.tasks([3, 7, 9]), episodes.tasks([7])
    assert torch.equal(together.image[1:2], alone.image) and torch.equal(together.chosen[1:2], alone.chosen)
    assert torch.equal(episodes.support(together)[0][1:2], episodes.support(alone)[0])
    for mode in ("passes", "replacement"):
        first, second = (episodes.batches(tasks, 4, 3, mode) for tasks in (together, alone))
        assert torch.equal(first.index[1:2], second.index) and torch.equal(first.labels[1:2], second.labels)


def test_tasks_depend_on_number_and_seed(episodes, make_store):
    assert not torch.equal(episodes.tasks([0]).image, episodes.tasks([1]).image)
    other = Episodes(episodes.store, CLASSES, SPEC, seed=4)
    assert not torch.equal(episodes.tasks([0]).image, other.tasks([0]).image)
    again = Episodes(episodes.store, CLASSES, SPEC, seed=3)
    assert torch.equal(episodes.tasks([0]).image, again.tasks([0]).image)


@pytest.mark.parametrize("mode", ["passes", "replacement"])
def test_batches_show_support_images_with_their_labels(episodes, mode):
    tasks = episodes.tasks([0, 5])
    support, labels = episodes.support(tasks)
    batches = episodes.batches(tasks, batch=4, steps=6, mode=mode)
    assert len(batches) == 6
    for t in range(6):
        images, shown = batches.step(t)
        assert images.shape == (2, 4, 1, 6, 6) and shown.shape == (2, 4)
        for task in range(2):
            for k in range(4):
                same = (support[task] == images[task, k]).flatten(1).all(dim=1)
                assert labels[task][same].tolist() == [int(shown[task, k])]


def test_passes_show_every_support_image_once(episodes):
    batches = episodes.batches(episodes.tasks(range(5)), batch=4, steps=5, mode="passes")
    seen = (4 * batches.index + batches.rotation).reshape(5, 2, 10).sort(dim=-1).values
    assert torch.equal(seen[:, 0], seen[:, 1])
    assert (seen[:, 0].diff(dim=-1) > 0).all()


def test_later_steps_can_be_asked_for_alone(episodes):
    tasks = episodes.tasks([2, 3])
    for mode in ("passes", "replacement"):
        whole = episodes.batches(tasks, 3, 7, mode)
        rest = episodes.batches(tasks, 3, 3, mode, first_step=4)
        assert torch.equal(whole.index[:, 4:], rest.index)


def test_scale_and_shift_per_channel(make_store):
    store, images = make_store(COUNTS, channels=3)
    episodes = Episodes(store, CLASSES, TaskSpec(2, 1, 0), 0, scale=[1, 2, 3], shift=[0.5, 0, -1])
    tasks = episodes.tasks([0])
    support, _ = episodes.support(tasks)
    expected = images[tasks.image[0, :, 0]] * np.array([1, 2, 3])[:, None, None] + np.array([0.5, 0, -1])[:, None, None]
    np.testing.assert_allclose(support[0].numpy(), expected, rtol=1e-6)


def test_values_lie_between_0_and_1(episodes):
    images, _ = episodes.queries(episodes.tasks(range(20)))
    assert images.min() >= 0 and 0.99 < images.max() <= 1


def test_messages_name_the_class_and_the_numbers(make_store):
    store, _ = make_store(COUNTS)
    for spec, classes, options, message in (
        (TaskSpec(6, 1, 1), CLASSES, {}, "6 ways.*there are 5"),
        (TaskSpec(21, 1, 1, 4), CLASSES, {}, "21 ways.*there are 20"),
        (TaskSpec(2, 3, 4), CLASSES, {}, "Group3/class6 has 6 images.*3 shots and 4 queries need 7"),
        (TaskSpec(2, 1, 1), np.array([0, 7]), {}, "class ids lie in 0 .. 6"),
        (TaskSpec(2, 1, 1), np.array([0, 0, 1]), {}, "twice"),
        (TaskSpec(1, 1, 1), np.array([]), {}, "there are 0"),
        (TaskSpec(2, 1, 1), CLASSES, {"seed": -1}, "seed"),
        (TaskSpec(2, 1, 1), CLASSES, {"scale": [1, 2]}, "1 value"),
    ):
        with pytest.raises(DataError, match=message):
            Episodes(store, classes, spec, **{"seed": 0, **options})


@pytest.mark.parametrize("rotations", [1, 4])
def test_the_classes_of_a_task_are_of_one_group(make_store, rotations):
    store, _ = make_store(COUNTS)  # two classes a group, the last one has a group of its own
    spec = TaskSpec(ways=2, shots=2, queries=4, rotations=rotations, grouped=True)
    episodes = Episodes(store, np.array([6, 3, 1, 0, 2]), spec, seed=3)
    alone = [6] if rotations == 4 else []  # turned it is four classes
    assert episodes.classes.tolist() == [*alone, 3, 2, 1, 0]
    assert episodes.choices == (28 + 28 + 6 if rotations == 4 else 2)
    tasks = episodes.tasks(range(200))
    check_tables(episodes, tasks)
    groups = [[store.groups[c] for c in row] for row in episodes.classes[tasks.chosen.numpy() % len(episodes.classes)]]
    assert all(a == b for a, b in groups)
    counts = np.unique([a for a, _ in groups], return_counts=True)[1]
    assert len(counts) == 2 + len(alone) and counts.min() > 100 / len(counts), "each group as likely"


def test_no_group_has_enough_classes(make_store):
    spec = TaskSpec(ways=3, shots=1, queries=1, grouped=True)
    with pytest.raises(DataError, match="3 ways need as many classes in a group, the largest of 4 groups has 2"):
        Episodes(make_store(COUNTS)[0], np.arange(7), spec, seed=0)


@pytest.mark.parametrize("wrong", [(0, 1, 1), (1, 0, 1), (1, 1, -1), (1, 1, 1, 2)])
def test_task_shapes_are_checked(wrong):
    with pytest.raises(DataError, match="ways|rotations"):
        TaskSpec(*wrong)


CHANGED = Augment(shift=0.2, rotation=20.0, contrast=0.5, noise=0.1)


def test_a_picture_of_a_task_is_changed_once_wherever_it_is_seen(make_store):
    store, _ = make_store(COUNTS)
    plain = Episodes(store, CLASSES, SPEC, seed=3)
    changed = Episodes(store, CLASSES, SPEC, seed=3, augment=CHANGED)
    tasks = changed.tasks(range(4))
    assert torch.equal(tasks.image, plain.tasks(range(4)).image)
    support, labels = changed.support(tasks)
    assert not torch.equal(support, plain.support(tasks)[0])
    assert torch.equal(labels, plain.support(tasks)[1])
    count = support.shape[1]
    batches = changed.batches(tasks, 3, 2 * count // 2, "passes")
    for step in range(len(batches)):
        shown, named = batches.step(step)
        for task in range(4):
            for image, label in zip(shown[task], named[task], strict=True):
                same = (support[task] == image).flatten(1).all(dim=1)
                assert same.any() and int(labels[task][same][0]) == int(label)
    queries, _ = changed.queries(tasks)
    alone = changed.tasks([2])
    assert torch.equal(changed.queries(alone)[0], queries[2:3])


def test_a_picture_that_stands_twice_in_tasks_is_changed_each_time_otherwise(make_store):
    store, _ = make_store([2, 2])
    episodes = Episodes(store, np.arange(2), TaskSpec(2, 1, 1), seed=0, augment=CHANGED)
    support, _ = episodes.support(episodes.tasks(range(50)))
    assert len(support.flatten(0, 1).flatten(1).unique(dim=0)) == 100


def test_without_augmentation_bits_are_those_of_before(make_store):
    store, _ = make_store(COUNTS)
    asked = (Episodes(store, CLASSES, SPEC, seed=3), Episodes(store, CLASSES, SPEC, seed=3, augment=Augment()))
    first, second = (one.support(one.tasks(range(3)))[0] for one in asked)
    assert asked[1].augment is None and torch.equal(first, second)
