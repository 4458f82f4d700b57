"""Meta-learners beside Reptile: what `target` leaves is what theta moves towards."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from autometa.algorithms.train import ReptileConfig, register, reptile_trainer, trainer
from autometa.errors import InputError
from autometa.meta.inner_loop import slot_gradients
from autometa.ops import cross_entropy
from autometa.train.config import DataConfig, EvalConfig, InnerConfig, MetaConfig
from autometa.train.tasks import Source
from tests.registries import restored

CONFIG = ReptileConfig(
    filters=3,
    data=DataConfig("strokes:6x6x6", 8),
    inner=InnerConfig(ways=2, shots=2, batch=2, steps=2),
    meta=MetaConfig(iterations=5, batch=3, step_size=0.25, schedule="constant"),
    test=EvalConfig(tasks=2, queries=2, steps=2, batch=2),
)


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOMETA_CACHE", str(tmp_path))
    with restored():
        yield Source.open(CONFIG.data)


def fomaml(source, config, seen=None):
    network = config.build(source.image_shape)
    episodes = source.training(config.inner, "test", config.seed, queries=2)

    def target(arena, ids, logits):
        if seen is not None:
            seen.append(ids.tolist())
        images, labels = episodes.queries(episodes.tasks(ids))
        _, gradient = slot_gradients(lambda p, x, y, t: cross_entropy(logits(p, x, t), y), arena.phi, images, labels, 2)
        arena.phi.copy_(arena.theta.index_select(0, arena.group_of_slot) - gradient)

    return replace(reptile_trainer(network, source, config), episodes=episodes, target=target)


def test_without_a_target_it_is_reptile(source):
    one = trainer(CONFIG.build(source.image_shape), source, CONFIG)
    other = replace(one, arena=reptile_trainer(CONFIG.build(source.image_shape), source, CONFIG).arena)
    other = replace(other, target=lambda arena, ids, logits: None)
    for i in range(2):
        one.step(i)
        other.step(i)
    assert torch.equal(one.arena.theta, other.arena.theta)


def test_first_order_maml_is_a_step_against_the_mean_query_gradient(source):
    seen = []
    run = fomaml(source, CONFIG, seen)
    plain = reptile_trainer(CONFIG.build(source.image_shape), source, CONFIG)
    plain.episodes = run.episodes
    before = run.arena.theta.clone()
    run.step(4)
    plain.step(4)
    assert seen == [[12, 13, 14]]
    images, labels = run.episodes.queries(run.episodes.tasks(torch.tensor(seen[0])))
    phi = plain.arena.phi  # what both adapted to
    network = CONFIG.build(source.image_shape)
    _, gradient = slot_gradients(lambda p, x, y, t: cross_entropy(network.logits(p, x), y), phi, images, labels, 2)
    torch.testing.assert_close(
        run.arena.theta, before - 0.25 * gradient.mean(dim=0, keepdim=True), rtol=1e-5, atol=1e-6
    )
    assert not torch.equal(run.arena.theta, plain.arena.theta)


def test_chunks_of_slots_give_the_same(source):
    seen = []
    whole, parts = fomaml(source, CONFIG), fomaml(source, CONFIG, seen)
    parts.max_slots = 2
    for i in range(2):
        whole.step(i)
        parts.step(i)
    assert seen == [[0, 1], [2], [3, 4], [5]]
    torch.testing.assert_close(whole.arena.theta, parts.arena.theta, rtol=1e-6, atol=1e-7)


def test_registered_by_name(source):
    made = []
    register("mine", lambda *arguments: made.append(arguments) or reptile_trainer(*arguments))
    config = replace(CONFIG, learner="mine")
    config.check()
    trainer(config.build(source.image_shape), source, config)
    assert len(made) == 1
    with pytest.raises(InputError, match="unknown meta-learner 'other' .known: reptile, mine."):
        replace(CONFIG, learner="other").check()
    with pytest.raises(InputError, match="there already"):
        register("mine", reptile_trainer)
