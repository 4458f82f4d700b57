"""A classifier learns new classes from folders, any number of ways, and is saved and loaded with what taught it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from autometa.algorithms.metanas_run import search_metanas
from autometa.data import load_class_folder, load_images
from autometa.errors import InputError
from autometa.models.classifier import Classifier, balanced, learn
from autometa.models.model import Model, resized
from autometa.runs.folder import RunFolder
from autometa.train.phases import Terms
from tests.algorithms.test_metanas import TINY


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOMETA_CACHE", str(root / "cache"))
        config = replace(TINY, meta=replace(TINY.meta, iterations=2), test=replace(TINY.test, tasks=2))
        with RunFolder.create(root / "run", "search metanas", config, ["autometa"], seed=0) as folder:
            search_metanas(config, folder, Terms(quiet=True))
        yield RunFolder.open(root / "run")
    torch.set_num_threads(before)


def draw(folder, classes, images=2, seed=0):
    """Class folders of random ink on paper."""
    rng = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for k in range(images):
            pixels = rng.integers(0, 255, (20, 20), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{k}.png")
    return folder


def adapt(run, support, **settings):
    model = Model.of(run)
    return learn(model, *load_class_folder(support, model.recipe), **settings)


@pytest.mark.parametrize("ways", [2, 3, 5])
def test_learns_any_number_of_classes_and_answers_the_same_after_loading(run, tmp_path, ways):
    names = [f"class {k}" for k in range(ways)]
    support = draw(tmp_path / "support", names)
    made = adapt(run, support)
    made.save(tmp_path / "out")
    loaded = Classifier.load(tmp_path / "out")
    photos = sorted(support.rglob("*.png"))
    answers = loaded.predict_files(photos)
    assert made.names == tuple(names)
    assert all(name in names and probability == max(every.values()) for _, name, probability, every in answers)
    images = load_images(photos, made.recipe)
    assert torch.equal(made.probabilities(images), loaded.probabilities(images))
    torch.testing.assert_close(loaded.probabilities(images).sum(dim=1), torch.ones(len(photos)))


def test_an_answer_does_not_depend_on_the_other_photos(run, tmp_path):
    support = draw(tmp_path / "support", ["a", "b", "c"])
    made = adapt(run, support)
    images = load_images(sorted(support.rglob("*.png")), made.recipe)
    together = made.probabilities(images)
    alone = torch.cat([made.probabilities(images[i : i + 1]) for i in range(len(images))])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_more_ways_start_at_the_mean_row_and_fewer_take_the_first(run):
    model = Model.of(run)
    old = model.network.layout
    more = model.with_ways(5)
    weight = old.view(model.learned.theta[None], "head.weight")[0]
    grown = more.network.layout.view(more.learned.theta[None], "head.weight")[0]
    assert torch.equal(grown[:3], weight)
    torch.testing.assert_close(grown[3:], weight.mean(0).expand(2, -1))
    fewer = model.with_ways(2).network.layout
    assert torch.equal(fewer.view(resized(model.learned.theta, old, fewer)[None], "head.weight")[0], weight[:2])


def test_support_sets_are_balanced_by_repetition():
    labels = torch.tensor([0, 1, 1, 1, 2, 2])
    assert balanced(labels).tolist() == [0, 0, 0, 1, 2, 3, 4, 5, 4]
    assert torch.equal(labels[balanced(labels)].bincount(), torch.tensor([3, 3, 3]))


def test_learning_lowers_the_loss_of_the_support_set(run):
    images = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(3)
    model = Model.of(run)
    model = replace(model, config=replace(model.config, test_weight_steps=10))
    taught = learn(model, images, labels, ("a", "b", "c"), steps=30)
    assert float(taught.probabilities(images)[labels, labels].log().mean()) > np.log(1 / 3)


def test_other_steps_and_another_seed_learn_otherwise(run, tmp_path):
    support = draw(tmp_path / "support", ["a", "b", "c"])
    rows = [adapt(run, support, **how).phi for how in ({}, {"steps": 1}, {"seed": 9}, {"seed": None})]
    assert torch.equal(rows[0], rows[3])
    assert not torch.equal(rows[0], rows[1]) and not torch.equal(rows[0], rows[2])


def test_a_loaded_classifier_holds_the_start_it_was_adapted_from(run, tmp_path):
    support = draw(tmp_path / "support", ["a", "b"])
    made = adapt(run, support)
    made.save(tmp_path)
    kept, first = Classifier.load(tmp_path), Model.of(run)
    assert torch.equal(kept.start.learned.theta, first.learned.theta) and kept.start.network.ways == 3
    assert torch.equal(kept.start.learned.second, first.learned.second)
    again = learn(kept.start, kept.lesson.images, kept.lesson.labels, kept.names)
    assert torch.equal(again.phi, made.phi)
    with pytest.raises(InputError, match="adapt again"):
        _ = replace(made, lesson=None).start


def test_a_notice_where_there_are_more_classes_than_ways(run, tmp_path):
    told = []
    adapt(run, draw(tmp_path / "three", ["a", "b", "c"]), notice=told.append)
    assert not told
    adapt(run, draw(tmp_path / "four", ["a", "b", "c", "d"]), notice=told.append)
    assert len(told) == 1 and "expect lower accuracy" in told[0]


def test_bad_folders_are_told(run, tmp_path):
    with pytest.raises(InputError, match="one class"):
        adapt(run, draw(tmp_path / "one", ["only"]))
    with pytest.raises(InputError, match="no classifier"):
        Classifier.load(tmp_path)
