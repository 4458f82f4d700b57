"""Frozen statistics: measured once on training tasks, the same in every step and answer."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from autometa.algorithms.metanas import MetaNASConfig
from autometa.algorithms.train import ReptileConfig
from autometa.data import Recipe
from autometa.errors import InputError
from autometa.meta.bn_modes import FROZEN, MODES
from autometa.models.classifier import learn
from autometa.models.model import Model
from autometa.slots.statistics import Given
from autometa.train.config import DataConfig, EvalConfig, InnerConfig
from autometa.train.frozen import bytes_of, evaluated, frozen_of, frozen_statistics, names_of, training_pictures
from autometa.train.learned import Learned
from autometa.train.run_config import read_config
from autometa.train.tasks import Source

SHARED = dict(
    data=DataConfig("strokes:8x6x6", 9, "ink"),
    inner=InnerConfig(ways=3, shots=2, batch=4, batch_mode="replacement", steps=2, lr=1e-2),
    test=EvalConfig(tasks=4, shots=2, queries=3, batch=4, steps=3, frozen=True),
)
CONFIGS = {
    "four-layer": ReptileConfig(filters=4, **SHARED),
    "cell": ReptileConfig(network="cell:0c0m|1a2f", filters=4, repeats=0, **SHARED),
    "search": MetaNASConfig(channels=4, cells=2, reductions=(1,), nodes=2, test_weight_steps=2, **SHARED),
}
EACH = pytest.mark.parametrize("name", CONFIGS)


@pytest.fixture(scope="module")
def source():
    return Source.open(SHARED["data"])


def case(name, source):
    config = CONFIGS[name]
    network = config.build(source.image_shape)
    return config, network, Learned.untrained(network, 0)


def plain(config):
    return replace(config, test=replace(config.test, frozen=False))


@EACH
def test_the_other_modes_keep_their_bits(name, source):
    config, network, learned = case(name, source)
    found = evaluated(config, network, learned, source, 0, 4)
    without = evaluated(plain(config), network, learned, source, 0, 4)
    assert set(found) - set(without) == {f"{config.answering}{FROZEN}", f"predicted.{FROZEN}"}
    assert all(torch.equal(found[key], value) for key, value in without.items())
    assert set(names_of(config)) - set(names_of(plain(config))) == {f"{config.answering}{FROZEN}"}


@EACH
def test_every_step_and_answer_has_these_statistics(name, source):
    config, network, learned = case(name, source)
    store = source.store
    model = Model(config, network, learned, Recipe(1, 9), store.data_hash)
    still = frozen_of(config, network, learned.theta)
    episodes = source.testing(3, config.test)
    found = evaluated(config, network, learned, source, 0, 2)[f"predicted.{FROZEN}"]
    for i in range(2):
        tasks = episodes.tasks(torch.tensor([i]))
        (support, labels), (queries, _) = episodes.support(tasks), episodes.queries(tasks)
        batches = episodes.batches(tasks, 4, config.adaptation_steps, "replacement")
        made = learn(model, bytes_of(support[0]), labels[0], "abc", frozen=still)
        assert all(torch.equal(a, b) for a, b in zip(made.statistics, still, strict=True) if a is not None)
        drawn = [(images, which) for images, which in map(batches.step, range(config.adaptation_steps))]
        phi = config.adapt(_Looking(network, still), learned, _Batches(drawn, support, labels), 1)
        said = config.classifier(network).logits(phi, queries, Given(still))[0].argmax(dim=-1)
        assert torch.equal(said.to(torch.int16), found[i])
        assert float((made.phi - learned.theta).abs().max()) > 1e-4, "it learned"


class _Batches:
    """Batches that were drawn."""

    def __init__(self, drawn, support, labels):
        self.drawn, self.whole = drawn, (support, labels)

    def step(self, t):
        return self.drawn[t]

    def support(self):
        return self.whole


class _Looking:
    """A network with given statistics, written once more."""

    def __init__(self, network, still):
        self.network, self.still = network, still

    def logits(self, phi, images, statistics=None, **how):
        return self.network.logits(phi, images, Given(self.still), **how)

    def __getattr__(self, name):
        return getattr(self.network, name)


@EACH
def test_they_do_not_depend_on_how_many_tasks_are_learned_at_once(name, source):
    config, network, learned = case(name, source)
    whole = evaluated(config, network, learned, source, 0, 4)[f"predicted.{FROZEN}"]
    parts = [evaluated(config, network, learned, source, *part)[f"predicted.{FROZEN}"] for part in ((0, 1), (1, 4))]
    assert torch.equal(whole, torch.cat(parts))


def rows(images):
    return {row.numpy().tobytes() for row in images.flatten(1)}


def test_they_are_of_training_classes(source):
    config, network, learned = case("four-layer", source)
    pictures = training_pictures(config, source)
    assert pictures.dtype == torch.uint8 and pictures.shape[1:] == (1, 9, 9) and len(pictures) >= 320
    split, start = source.split, source.store.class_start
    seen = torch.cat([source.store.tensor()[start[c] : start[c + 1]] for c in split.train.tolist()])
    turned = torch.cat([seen.rot90(k, (2, 3)) for k in range(4)])
    assert rows(pictures) <= rows(turned) and not rows(pictures) <= rows(seen[: len(seen) // 2])
    mean, variance = frozen_statistics(network, learned.theta, pictures)[0][0]
    assert bool((variance > 0).all()) and mean.shape == (4,)


def test_images_that_cannot_be_read_are_told():
    config = replace(CONFIGS["four-layer"], data=DataConfig("nowhere/", 9, "ink"))
    network = config.build((1, 9, 9))
    with pytest.raises(InputError, match="frozen statistics are of training pictures, which cannot be read here"):
        frozen_of(config, network, network.initial(0))


def test_settings_of_before_do_not_have_them():
    from autometa.runs.files import plain as as_json

    told = as_json(CONFIGS["four-layer"])
    told = {"algorithm": "train", **told}
    assert told["test"].pop("frozen") is True
    assert read_config(told).test.frozen is False
    assert FROZEN not in MODES
