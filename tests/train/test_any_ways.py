"""Learners of any number of ways learn, and what they learned serves other numbers: taught, saved, exported."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from autometa.algorithms import train
from autometa.algorithms.metanas import MetaNASConfig
from autometa.algorithms.train import ReptileConfig
from autometa.data import Recipe
from autometa.errors import InputError
from autometa.export.program import export_adaptation, export_classifier
from autometa.meta.learner import LEARNERS
from autometa.models.classifier import Classifier, learn
from autometa.models.model import Model
from autometa.slots.arena import Arena
from autometa.train.config import DataConfig, EvalConfig, InnerConfig, MetaConfig
from autometa.train.learned import Learned
from autometa.train.tasks import Source

NAMES = ("protonet", "protonet-tuned", "matching", "proto-maml", "unicorn")
LEARNS = {
    "protonet-tuned": ({}, 0.1),
    "protonet": ({}, 0.1),
    "matching": ({"scale": 8.0}, 0.1),
    "proto-maml": ({}, 0.1),
    "unicorn": ({}, 0.4),
}
"""Settings of the learner and its inner rate."""
INNER = InnerConfig(ways=5, shots=1, batch=5, steps=2, lr=0.1, queries=5)


@pytest.mark.parametrize("name", NAMES)
def test_it_learns(tmp_path, monkeypatch, name):
    """Drawn characters of unseen alphabets, above chance and above the same learner on an untrained network."""
    monkeypatch.setenv("AUTOMETA_CACHE", str(tmp_path))
    settings, lr = LEARNS[name]
    config = ReptileConfig(
        filters=12,
        data=DataConfig("strokes:12x8x10", 14, "ink"),
        learner=LEARNERS[name](**settings),
        inner=replace(INNER, lr=lr),
        meta=MetaConfig(iterations=60, batch=4, step_size=3e-3, schedule="constant"),
        test=EvalConfig(tasks=60, queries=5, steps=3, max_slots=60),
    )
    source = Source.open(config.data)
    run = train.trainer(config.build(source.image_shape), source, config)
    network = config.build(source.image_shape)

    def right(learned):
        found = train.evaluate_chunk(network, learned, source, config, 0, 60)
        return float(found["support_statistics"].mean())

    for i in range(config.meta.iterations):
        run.step(i)
    after, before = right(Learned.of(run.capture()[0])), right(Learned.untrained(network, config.seed))
    assert after > 0.2 + 0.2, "chance is 0.2"
    assert after > before + 0.05, (before, after)


def model(name, kind="train"):
    """A model of five ways as it begins."""
    data, test = DataConfig("strokes", 9), EvalConfig(steps=4, batch=7)
    inner = replace(INNER, lr=0.5)
    common = dict(learner=LEARNERS[name](), data=data, inner=inner, test=test)
    if kind == "train":
        config = ReptileConfig(filters=3, **common)
    else:
        config = MetaNASConfig(channels=2, cells=1, reductions=(0,), nodes=1, test_weight_steps=1, **common)
    network = config.build((1, 9, 9))
    return Model(config, network, Learned.untrained(network, 0), Recipe(1, 9), "made up")


def pictures(ways, each=2):
    """Even areas of a shade of the class's own, with some noise."""
    random = np.random.default_rng(0)
    found = random.integers(0, 60, (ways * each, 1, 9, 9))
    for k in range(ways):
        found[k * each : (k + 1) * each, :, k % 9, :] += 40 + 60 * (k // 9 % 3)
    return found.clip(0, 255).astype(np.uint8), np.repeat(np.arange(ways), each)


@pytest.mark.parametrize("ways", [2, 10, 20, 64])
@pytest.mark.parametrize("name", NAMES)
def test_any_number_of_classes_is_taught_without_a_notice(tmp_path, name, ways):
    images, labels = pictures(ways)
    classes = [f"class {k}" for k in range(ways)]
    made = learn(model(name), images, labels, classes, notice=pytest.fail)
    found = made.probabilities(images)
    assert found.shape == (len(images), ways)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(len(images)))
    if not LEARNERS[name].inner_loop:  # steps at an untuned rate on an untrained network may lead anywhere
        assert float((found.argmax(dim=1).numpy() == labels).mean()) > 1.5 / ways
    made.save(tmp_path)
    loaded = Classifier.load(tmp_path)
    assert torch.equal(loaded.probabilities(images), found)
    alone = torch.cat([made.probabilities(images[i : i + 1]) for i in (0, 1)])
    torch.testing.assert_close(alone, found[:2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["meta-sgd", "maml-plus-plus"])
def test_what_was_taught_by_learned_rates_is_kept_with_them(tmp_path, name):
    """Rates of a few steps, none of them 1: the classifier answers the same once it is loaded."""
    before = model(name)
    arena = Arena.single(before.network.layout, before.learned.theta, 1)
    state = {key: 0.7 * value for key, value in before.config.learner.state(arena, 2).items()}
    trained, (images, labels) = replace(before, learned=replace(before.learned, state=state)), pictures(5)
    for one in (before, trained):
        made = learn(one, images, labels, list("abcde"))
        made.save(tmp_path)
        assert torch.equal(Classifier.load(tmp_path).probabilities(images), made.probabilities(images))
    kept = Classifier.load(tmp_path).lesson.learned.state
    assert set(kept) == set(trained.config.learner.adapts_with)
    assert all(torch.equal(kept[key], state[key]) for key in kept)


def test_the_notice_stays_for_a_last_layer_of_rows():
    told = []
    learn(model("fomaml"), *pictures(6), [f"class {k}" for k in range(6)], notice=told.append)
    assert len(told) == 1 and "6 classes for a network trained on 5" in told[0]


@pytest.mark.parametrize("kind", ["train", "metanas"])
@pytest.mark.parametrize("name", ["protonet", "proto-maml", "unicorn"])
def test_an_exported_classifier_answers_the_same(name, kind):
    images, labels = pictures(7)
    made = learn(model(name, kind), images, labels, [f"class {k}" for k in range(7)])
    program = export_classifier(made).program.module()
    wanted = made.probabilities(images)
    assert float((wanted - wanted[:1]).abs().max()) > 1e-3
    torch.testing.assert_close(program(images=torch.as_tensor(images)), wanted, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_what_an_export_cannot_carry_is_refused_in_one_sentence(name):
    with pytest.raises(InputError, match=f"learned by {name} cannot be exported.*export the classifier instead"):
        export_adaptation(model(name), 1)
    if name == "matching":
        images, labels = pictures(3)
        made = learn(model(name), images, labels, list("abc"))
        with pytest.raises(InputError, match="compares with the images that it was taught, and cannot be exported"):
            export_classifier(made)


def test_a_damaged_memory_is_told(tmp_path):
    images, labels = pictures(3)
    made = learn(model("matching"), images, labels, list("abc"))
    made.save(tmp_path / "whole")
    cut = replace(made, phi=made.phi[:, :-1])
    cut.save(tmp_path / "cut")
    Classifier.load(tmp_path / "whole")
    with pytest.raises(InputError, match="is damaged: a row of .* holds no support set"):
        Classifier.load(tmp_path / "cut")


def test_tuned_prototypes_are_trained_as_prototypes_and_begin_as_they_answer(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOMETA_CACHE", str(tmp_path))
    plain = ReptileConfig(
        filters=4,
        data=DataConfig("strokes:6x6x10", 14, "ink"),
        learner=LEARNERS["protonet"](),
        inner=INNER,
        meta=MetaConfig(iterations=5, batch=2, step_size=3e-3, schedule="constant"),
        test=EvalConfig(tasks=8, queries=5, steps=4, max_slots=8),
    )
    source, right, ends = Source.open(plain.data), {}, {}
    for name, steps in (("protonet", 4), ("protonet-tuned", 0), ("protonet-tuned", 4)):
        config = replace(plain, learner=LEARNERS[name](), test=replace(plain.test, steps=steps))
        network = config.build(source.image_shape)
        run = train.trainer(network, source, config)
        for i in range(config.meta.iterations):
            run.step(i)
        ends[name, steps] = run.arena.theta.clone()
        found = train.evaluate_chunk(network, Learned.of(run.capture()[0]), source, config, 0, 8)
        right[name, steps] = found["support_statistics"]
    assert torch.equal(ends["protonet", 4], ends["protonet-tuned", 4])
    assert torch.equal(right["protonet", 4], right["protonet-tuned", 0])
    assert not torch.equal(right["protonet-tuned", 4], right["protonet-tuned", 0])
