"""Yardsticks without learning: right on images that a feature tells apart, at chance on those that it does not."""

import numpy as np
import pytest
import torch

from autometa.data import ImageStore, Recipe, Split
from autometa.data.store import ClassEntry, write_store
from autometa.train.baselines import answered, baselines, nearest_means
from autometa.train.config import EvalConfig
from autometa.train.tasks import Source

CLASSES, IMAGES, SIZE = 5, 8, 12
TEST = EvalConfig(tasks=30, shots=2, queries=3)


def coloured(rng, c):
    """One hue a class, pixels in any order: colours know it, and gradients do not."""
    hue = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [0, 255, 255]])[c]
    return np.where(rng.random((1, SIZE, SIZE)) < 0.5, hue[:, None, None], 0)


def striped(rng, c):
    """Stripes in one direction a class, of any phase and colour: gradients alone know it."""
    y, x = np.mgrid[:SIZE, :SIZE]
    wave = np.sin((x * np.cos(c * np.pi / 5) + y * np.sin(c * np.pi / 5)) * 1.6 + rng.random() * 2 * np.pi)
    return 127 + 100 * rng.uniform(0.5, 1, (3, 1, 1)) * wave


def nothing(rng, c):
    return rng.integers(0, 256, (3, SIZE, SIZE))


@pytest.fixture
def source(tmp_path):
    """Of a way to draw an image of a class: a data set all of whose classes are for testing."""

    def made(draw):
        rng = np.random.default_rng(0)
        images = [draw(rng, c).astype(np.uint8) for c in range(CLASSES) for _ in range(IMAGES)]
        entries = [ClassEntry(f"c{c}", "", "test", IMAGES) for c in range(CLASSES)]
        write_store(tmp_path / draw.__name__, "drawn", Recipe(3, SIZE, "box", "as-is"), entries, images)
        none = np.arange(0)
        return Source(ImageStore.open(tmp_path / draw.__name__), Split("all", none, none, np.arange(CLASSES)))

    return made


def test_nearest_means():
    support = np.array([[[0.0], [2.0], [9.0], [11.0]]])
    assert nearest_means(support, np.array([[[3.0], [6.0], [-9.0]]]), 2).tolist() == [[0, 1, 0]]


@pytest.mark.parametrize("draw, knows", [(coloured, "colours"), (striped, "gradients"), (nothing, None)])
def test_each_feature_knows_what_it_measures(source, draw, knows):
    shares = answered(source(draw).testing(CLASSES, TEST), TEST.tasks)
    means = {name: found.mean() for name, found in shares.items()}
    assert all(found.shape == (TEST.tasks,) for found in shares.values())
    assert knows is None or means[knows] > 0.9, means
    if draw is coloured:
        del means["pixels"]
    assert all(mean < (0.75 if knows else 0.3) for name, mean in means.items() if name != knows), means


def test_a_network_that_learned_nothing_is_told(source):
    colour = source(coloured)
    own = torch.from_numpy(answered(colour.testing(CLASSES, TEST), TEST.tasks)["colours"])
    as_good = baselines(colour, CLASSES, TEST, own)
    assert as_good["colours"]["ahead"] == {"mean": 0.0, "ci95": 0.0, "tasks": 30} and as_good["chance"] == 20
    assert "does not beat class means of a histogram of colours" in as_good["verdict"]
    guessing = baselines(colour, CLASSES, TEST, torch.tensor([0.1, 0.2, 0.3]).repeat(10))
    assert guessing["verdict"].startswith("Nothing was learned: 20.0 % is no better than guessing (20.0 %)")
    better = baselines(source(nothing), CLASSES, TEST, torch.tensor([0.7, 0.8, 0.9]).repeat(10))
    assert better["verdict"] is None and better["pixels"]["ahead"]["mean"] > 40
