"""Drawn alphabets: the same everywhere, whole alphabets apart, neither trivial nor hopeless."""

import numpy as np
import pytest
import torch

from autometa.data import DataError, Episodes, StrokesConfig, TaskSpec, open_dataset
from autometa.data.pen import draw_strokes
from autometa.data.strokes import Hand, alphabet_characters, open_strokes, strokes_split, write_drawings

SMALL = StrokesConfig(alphabets=8, characters=10, drawings=10, size=14)


@pytest.fixture(scope="module")
def strokes(cache):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOMETA_CACHE", str(cache))
        return open_strokes(SMALL)


def test_shape_names_and_parts(strokes):
    assert strokes.images.shape == (800, 1, 14, 14)
    assert strokes.class_names[:2] == ("Strokes000/character01", "Strokes000/character02")
    split = strokes_split(strokes)
    groups = [{strokes.groups[index] for index in ids} for ids in (split.train, split.val, split.test)]
    assert [len(group) for group in groups] == [5, 1, 2]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]


def test_pixels_are_the_same_on_every_machine(strokes):
    assert strokes.data_hash == "3fb67e5cc398dfbcaf564784dee3a19563788d551ee3abca8e3621d920584dc5"


def test_seeds_differ(strokes):
    other = StrokesConfig(alphabets=8, characters=10, drawings=10, size=14, seed=1)
    images = write_drawings(other, 0, alphabet_characters(other, 0), Hand())
    assert (images != strokes.images[:100, 0]).any(axis=(1, 2)).all()


def test_smaller_sets_are_parts_of_larger_ones(strokes):
    fewer = StrokesConfig(alphabets=3, characters=6, drawings=4, size=14)
    images = write_drawings(fewer, 2, alphabet_characters(fewer, 2), Hand())
    larger = strokes.images[200:300, 0].reshape(10, 10, 14, 14)
    assert np.array_equal(images.reshape(6, 4, 14, 14), larger[:6, :4])


def test_every_drawing_has_ink_and_differs_from_the_others(strokes):
    flat = strokes.images.reshape(800, -1)
    ink = flat.mean(axis=1) / 255
    assert ink.min() > 0.01 and ink.max() < 0.5 and 0.05 < ink.mean() < 0.2
    assert len(np.unique(flat, axis=0)) == 800


def nearest_neighbour_accuracy(store, classes, tasks=400):
    episodes = Episodes(store, classes, TaskSpec(ways=5, shots=1, queries=3), seed=0)
    drawn = episodes.tasks(range(tasks))
    (support, _), (queries, labels) = episodes.support(drawn), episodes.queries(drawn)
    nearest = torch.cdist(queries.flatten(2), support.flatten(2)).argmin(dim=-1)
    return (nearest == labels).float().mean().item()


def test_difficulty(strokes):
    split = strokes_split(strokes)
    for classes in (split.train, split.test):
        assert 0.30 < nearest_neighbour_accuracy(strokes, classes) < 0.90


def test_default_set_is_omniglot_like():
    store, split = open_dataset("strokes")
    assert store.images.shape == (16000, 1, 28, 28)
    assert (len(split.train), len(split.val), len(split.test)) == (560, 80, 160)
    assert 0.50 < nearest_neighbour_accuracy(store, split.test) < 0.80


def test_a_straight_line_is_drawn_where_it_should_be():
    t = np.arange(7) / 6
    points = np.stack([0.25 + 0.5 * t, np.full(7, 0.5)], axis=-1)[None, None]
    image = draw_strokes(points, np.array([0.05]), 20)[0]
    assert (image[9:11, 5:15] == 255).all()
    assert not image[:8].any() and not image[12:].any() and not image[:, :3].any() and not image[:, 17:].any()


def test_pen_width_and_position_do_not_depend_on_the_neighbours():
    config = StrokesConfig(alphabets=3, characters=3, drawings=1)
    points = np.stack([char[:1] for char in alphabet_characters(config, 0)])
    radius = np.array([0.02, 0.06, 0.04])
    together = draw_strokes(points, radius, 28)
    alone = [draw_strokes(points[k : k + 1], radius[k : k + 1], 28)[0] for k in range(3)]
    assert np.array_equal(together, np.stack(alone))
    assert draw_strokes(points[:1], np.array([0.06]), 28).sum() > together[0].sum()


def test_ink_outside_is_cut_off():
    t = np.arange(7)[:, None] / 6
    points = (np.array([-3.0, -2.0]) + t * np.array([6.0, 5.0]))[None, None]
    image = draw_strokes(points, np.array([0.03]), 16)[0]
    assert 0 < image.mean() < 128


def test_names():
    store, _ = open_dataset("strokes:3x2x3", size=8, seed=5)
    assert store.images.shape == (18, 1, 8, 8)
    for name in ("strokes:3x2", "strokes:axbxc", "strokes:2x5x5", "strokes:5x0x5"):
        with pytest.raises(DataError, match="strokes"):
            open_dataset(name)
    with pytest.raises(DataError, match="size"):
        open_dataset("strokes", size=2)
