"""Ways and shots that are drawn for every meta-iteration: what is drawn, who sees it, and what it changes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from autometa.algorithms.train import ReptileConfig
from autometa.data.errors import DataError
from autometa.data.torchmeta import LoaderSource
from autometa.errors import InputError
from autometa.meta.leap import Leap
from autometa.meta.maml_plus_plus import MAMLPlusPlus
from autometa.meta.matching import Matching
from autometa.meta.protonet import ProtoNet
from autometa.meta.reptile import Reptile
from autometa.nas.spaces.blocks import BlockCell
from autometa.runs.files import plain
from autometa.train.candidates import CandidateConfig, CandidateTrainer
from autometa.train.config import InnerConfig, from_json
from autometa.train.loop import Loop
from autometa.train.shapes import shape_of, told
from tests.train.graphs import FakeGraphs
from tests.train.test_learners import ANY_WAYS, DATA, META, NET, SEARCH, SMOOTH, TEST, Half, near, source, trainer

__all__ = ["source"]
INNER = InnerConfig(ways=4, shots=3, batch=4, steps=2, lr=0.05, queries=2, least_ways=2, least_shots=1)
SHOTS = replace(INNER, least_ways=None)
RUNS = {
    **{name: replace(NET, inner=INNER, learner=learner) for name, learner in ANY_WAYS.items()},
    **{name: replace(NET, inner=SHOTS, learner=own) for name, own in (("reptile", Reptile()), ("leap", Leap()))},
    "maml-plus-plus": replace(NET, inner=SHOTS, learner=MAMLPlusPlus(multi_step=0.5, first_order=0.9)),
    "metanas": replace(SEARCH, inner=INNER, learner=ProtoNet()),
}
EACH = pytest.mark.parametrize("name", RUNS)


def test_draws_cover_the_range_and_are_those_of_seed_and_iteration():
    inner = InnerConfig(ways=7, shots=10, least_ways=5, least_shots=1)
    found = [shape_of(inner, 3, i) for i in range(600)]
    assert {ways for ways, _ in found} == {5, 6, 7} and {shots for _, shots in found} == set(range(1, 11))
    assert len(set(found)) == 30, "ways and shots are drawn apart"
    counts = torch.bincount(torch.tensor([shots for _, shots in found]))[1:]
    assert int(counts.min()) > 30 and int(counts.max()) < 100
    assert found == [shape_of(inner, 3, i) for i in range(600)]
    assert found != [shape_of(inner, 4, i) for i in range(600)]
    assert {shape_of(replace(inner, least_shots=None), 3, i)[1] for i in range(20)} == {10}


@EACH
def test_tasks_have_the_drawn_shape_and_a_resumed_run_the_same_bits(source, name):
    whole, seen = trainer(source, RUNS[name]), set()
    for i in range(4):
        done = whole.step(i)
        assert bool(done.finite.all()) and torch.isfinite(done.losses).all()
        ways, shots = shape_of(RUNS[name].inner, RUNS[name].seed, i)
        tasks = whole.shaped.tasks(range(3))
        images, labels = whole.shaped.support(tasks)
        assert images.shape[:2] == (3, ways * shots) and labels.unique().tolist() == list(range(ways))
        seen.add((ways, shots))
    assert len(seen) > 1
    first, second = trainer(source, RUNS[name]), trainer(source, RUNS[name])
    first.step(0), first.step(1)
    second.restore(*first.capture())
    second.step(2), second.step(3)
    assert torch.equal(second.arena.theta, whole.arena.theta)


@pytest.mark.parametrize("name", ["protonet", "proto-maml", "reptile"])
def test_one_slot_equals_many_and_two_processes_one(source, name):
    config = replace(RUNS[name], learner=SMOOTH[name])
    whole, parts = trainer(source, config), trainer(source, config)
    halves = [trainer(source, config) for _ in range(2)]
    parts.max_slots, before = 1, whole.arena.theta.clone()
    for rank, half in enumerate(halves):
        half.divide_(Half(rank, 2, 0))
    for i in range(3):
        whole.step(i), parts.step(i)
        for half in halves:
            half.reach(i)
            half.counter.fill_(i)
        sums = sum(half.begun(False) for half in halves)
        for half in halves:
            half.ended(sums)
    torch.testing.assert_close(whole.arena.theta, parts.arena.theta, **near(config.learner))
    change = (whole.arena.theta - before).abs().max()
    assert (halves[0].arena.theta - whole.arena.theta).abs().max() < 1e-3 * change


@pytest.mark.parametrize("learner", [ProtoNet(), Matching(), *(ANY_WAYS[name] for name in ("proto-maml", "unicorn"))])
def test_a_task_of_fewer_ways_is_that_of_a_network_for_so_many(source, learner):
    run = trainer(source, replace(NET, inner=INNER, learner=learner))
    for i in range(4):
        ways, shots = shape_of(INNER, NET.seed, i)
        same = replace(INNER, ways=ways, shots=shots, least_ways=None, least_shots=None)
        alone = trainer(source, replace(NET, inner=same, learner=learner))
        body = int(run.arena.bounds[0, 1])  # a last layer of rows that are alike, or made anew
        alone.arena.theta[:, :body] = run.arena.theta[:, :body]
        torch.testing.assert_close(run.step(i).losses, alone.step(i).losses, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["protonet", "unicorn"])
def test_candidates_see_tasks_of_the_drawn_shape(source, name):
    config = CandidateConfig(2, 0, 1, DATA, SMOOTH[name], INNER, META, replace(TEST, part="val"))
    cells = [BlockCell.parse("0c1m"), BlockCell.parse("0i0a")]
    both, alone = (CandidateTrainer.create(own, config, source) for own in (cells, cells[:1]))
    for i in range(3):
        both.step(i), alone.step(i)
    assert both.shaped.spec.ways < INNER.ways or both.shaped.spec.shots < INNER.shots
    own, other = both.network.layouts[0].unpack(both.arena.theta[0]), alone.network.layouts[0]
    for key, value in other.unpack(alone.arena.theta[0]).items():
        torch.testing.assert_close(own[key], value, **near(SMOOTH[name]))


def test_a_graph_holds_one_shape_and_is_not_captured(source):
    notices, graphs = [], FakeGraphs()
    plain_run, looped = trainer(source, RUNS["protonet"]), trainer(source, RUNS["protonet"])
    loop = Loop(looped, notices.append, graphs)
    for i in range(3):
        plain_run.step(i)
        loop.launch(i)
    loop.drain()
    assert torch.equal(looped.arena.theta, plain_run.arena.theta) and graphs.captured == 0
    assert notices == ["iterations run op by op, slower than as a CUDA graph: each has tasks of another shape"]


def test_what_cannot_be_is_refused_in_one_sentence():
    for changes, words in (
        ({"least_ways": 1}, r"inner.least_ways must be from 2 to inner.ways \(4\), not 1"),
        ({"least_ways": 5}, r"inner.least_ways must be from 2 to inner.ways \(4\), not 5"),
        ({"least_shots": 0}, r"inner.least_shots must be from 1 to inner.shots \(3\), not 0"),
    ):
        with pytest.raises(InputError, match=words):
            replace(NET, inner=replace(INNER, **changes), learner=ProtoNet()).check()
    for config in (replace(NET, inner=INNER), replace(SEARCH, inner=INNER)):
        with pytest.raises(InputError, match="reptile has a last layer for 4 classes; leave inner.least_ways out"):
            config.check()
    with pytest.raises(DataError, match="a loader's tasks are of one shape"):
        LoaderSource([]).training(INNER, "test", 0)
    replace(NET, inner=SHOTS).check()
    rival = ReptileConfig.like(replace(SEARCH, inner=INNER, learner=ProtoNet()))
    assert rival.inner.least_ways is None and rival.inner.least_shots == 1, "its rival's last layer has rows"


def test_what_a_model_card_says():
    assert told(INNER) == "2 to 4 classes and 1 to 3 support images of each"
    assert told(replace(INNER, least_ways=4, shots=1)) == "4 classes and 1 support image of each"


def test_runs_of_before_are_read():
    value = plain(NET)
    del value["inner"]["least_ways"], value["inner"]["least_shots"]
    assert from_json(ReptileConfig, value) == NET
