"""Meta-learners in training: every one in the same trainer, its state saved, resumed, divided and handed on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

from autometa.algorithms import metanas_steps, train
from autometa.algorithms.metanas import MetaNASConfig
from autometa.algorithms.train import ReptileConfig
from autometa.errors import InputError
from autometa.meta.leap import Leap
from autometa.meta.learner import LEARNERS, MetaLearner, TaskChunk
from autometa.meta.maml import ANIL, FOMAML, MAML
from autometa.meta.maml_plus_plus import MAMLPlusPlus
from autometa.meta.matching import Matching
from autometa.meta.meta_sgd import MetaSGD
from autometa.meta.proto_maml import ProtoMAML
from autometa.meta.protonet import ProtoNet
from autometa.meta.protonet_tuned import TunedProtoNet
from autometa.meta.ranks import Ranks
from autometa.meta.reptile import Reptile
from autometa.meta.unicorn import Unicorn
from autometa.nas.relax.relaxation import RELAXATIONS
from autometa.nas.spaces.blocks import BlockCell
from autometa.ops.cross_entropy import cross_entropy
from autometa.runs.files import plain
from autometa.train.candidates import CandidateConfig, CandidateTrainer
from autometa.train.config import DataConfig, EvalConfig, InnerConfig, MetaConfig, from_json
from autometa.train.learned import Learned
from autometa.train.loop import Loop
from autometa.train.tasks import Source
from tests.registries import restored
from tests.train.graphs import FakeGraphs

INNER = InnerConfig(ways=2, shots=2, batch=2, steps=2, lr=0.05, queries=2)
META = MetaConfig(iterations=5, batch=3, step_size=0.25, schedule="constant")
TEST = EvalConfig(tasks=2, queries=2, steps=2, batch=2)
DATA = DataConfig("strokes:6x6x6", 8)
NET = ReptileConfig(filters=3, data=DATA, inner=INNER, meta=META, test=TEST)
SEARCH = MetaNASConfig(
    channels=2, cells=1, reductions=(0,), nodes=1, data=DATA, inner=INNER, meta=META, test=TEST, warmup=1, drop_path=0.0
)
ANY_WAYS = {
    "protonet-tuned": TunedProtoNet(),
    "protonet": ProtoNet(),
    "matching": Matching(),
    "proto-maml": ProtoMAML(),
    "unicorn": Unicorn(),
}
EACH = {
    "reptile": Reptile(),
    "fomaml": FOMAML(),
    "maml": MAML(),
    "anil": ANIL(),
    "sgd": FOMAML(outer="sgd"),
    "meta-sgd": MetaSGD(),
    "maml-plus-plus": MAMLPlusPlus(multi_step=0.5, first_order=0.3),
    "leap": Leap(),
    **ANY_WAYS,
}
SMOOTH = {
    "reptile": Reptile(),
    **{name: replace(learner, outer="sgd") for name, learner in EACH.items() if name not in ("reptile", "sgd")},
}
"""Without the outer Adam, which makes steps of full length from gradients that are 0 but for rounding."""


def near(learner) -> dict[str, float]:
    """Second derivatives come from the reference, whose float32 sums depend on the slots beside and on threads; seen
    after one meta-iteration: 3e-5 of a value. It grows a hundredfold in the next one."""
    return {"rtol": 1e-6, "atol": 1e-7} if not getattr(learner, "second_order", False) else {"rtol": 1e-3, "atol": 3e-5}


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOMETA_CACHE", str(tmp_path))
    with restored():
        yield Source.open(DATA)


def trainer(source, config):
    make = metanas_steps if isinstance(config, MetaNASConfig) else train
    return make.trainer(config.build(source.image_shape), source, config)


@pytest.mark.parametrize("base", [NET, SEARCH], ids=["train", "metanas"])
@pytest.mark.parametrize("name", EACH)
def test_it_moves_and_goes_on_from_a_checkpoint_with_the_same_bits(source, base, name):
    config = replace(base, learner=EACH[name])
    whole, before = trainer(source, config), trainer(source, config).arena.theta.clone()
    for i in range(4):
        done = whole.step(i)
        assert bool(done.finite.all()) and torch.isfinite(done.losses).all()
    assert not torch.equal(whole.arena.theta, before)
    first, second = trainer(source, config), trainer(source, config)
    first.step(0), first.step(1)
    second.restore(*first.capture())
    second.step(2), second.step(3)
    assert torch.equal(second.arena.theta, whole.arena.theta)
    for key, value in whole.state.items():
        assert torch.equal(second.state[key], value), key


@pytest.mark.parametrize("name", SMOOTH)
def test_chunks_of_slots_give_the_same(source, name):
    config = replace(NET, learner=SMOOTH[name])
    whole, parts = trainer(source, config), trainer(source, config)
    parts.max_slots = 2
    for i in range(2):
        whole.step(i), parts.step(i)
    torch.testing.assert_close(whole.arena.theta, parts.arena.theta, **near(SMOOTH[name]))


@pytest.mark.parametrize("name", ["fomaml", "maml-plus-plus", *ANY_WAYS])
def test_replayed_as_a_graph_it_is_the_same(source, name):
    """What a learner keeps is as it was after warming up and capturing."""
    config = replace(NET, learner=EACH[name])
    plain_run, replayed = trainer(source, config), trainer(source, config)
    loop = Loop(replayed, pytest.fail, FakeGraphs())
    for i in range(3):
        plain_run.step(i)
        loop.launch(i)
    loop.drain()
    assert torch.equal(replayed.arena.theta, plain_run.arena.theta)
    for key, value in plain_run.state.items():
        assert torch.equal(replayed.state[key], value), key


@pytest.mark.parametrize("name", ["fomaml", "proto-maml", "unicorn"])
def test_the_architecture_learns_from_queries_at_the_adapted_weights(source, name):
    """The relaxation whose gradient is that of the query loss leaves it one."""
    config = replace(SEARCH, learner=SMOOTH[name], warmup=0, arch_step_size=1.0, relaxation=RELAXATIONS["query"]())
    run = trainer(source, config)
    before = run.arena.theta[:, run.before_architecture :].clone()
    run.step(0)
    assert float((run.arena.theta[:, run.before_architecture :] - before).abs().max()) > 1e-6


class Half(Ranks):
    """One of two processes, whose parts this one adds up."""

    def copied(self, values):
        pass

    def scattered(self, rows, own, total):
        pass


@pytest.mark.parametrize("base", [NET, SEARCH], ids=["train", "metanas"])
@pytest.mark.parametrize("name", ["meta-sgd", "maml-plus-plus", *ANY_WAYS])
def test_two_processes_give_the_meta_weights_of_one(source, base, name):
    config = replace(base, learner=SMOOTH[name])
    whole, halves = trainer(source, config), [trainer(source, config) for _ in range(2)]
    for rank, half in enumerate(halves):
        half.divide_(Half(rank, 2, 0))
    before = whole.arena.theta.clone()
    for i in range(2):
        one, parts = whole.step(i), []
        for half in halves:
            half.reach(i)
            half.counter.fill_(i)
            parts.append(half.begun(i < half.warmup))
        for half in halves:
            done = half.ended(sum(parts))
            torch.testing.assert_close(done.losses, one.losses, rtol=1e-5, atol=1e-6)
    change = (whole.arena.theta - before).abs().max()
    for half in halves:
        assert (half.arena.theta - whole.arena.theta).abs().max() < 1e-3 * change
    assert torch.equal(halves[0].arena.theta, halves[1].arena.theta)
    for key, value in whole.state.items():
        torch.testing.assert_close(halves[0].state[key], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("relaxation", ["same-batch", "held-out", "query", "training-speed"])
@pytest.mark.parametrize("name", ["protonet", "matching"])
def test_without_an_inner_loop_the_architecture_takes_the_query_losss_gradient(source, name, relaxation):
    learner = replace(EACH[name], outer="sgd")
    config = replace(SEARCH, learner=learner, warmup=0, arch_step_size=1.0, t_min=0.3, t_max=5.0)
    run = trainer(source, replace(config, relaxation=RELAXATIONS[relaxation]()))
    before, network = run.arena.theta.clone(), config.build(source.image_shape)
    tasks = run.episodes.tasks(range(3))
    support, query = run.episodes.support(tasks), run.episodes.queries(tasks)
    leaf = before.expand(3, -1).clone().requires_grad_(True)
    task = TaskChunk(None, Support(*support), None, lambda *given: at_the_end(network, *given, features=True))
    model = learner.classifier(network, network.layout.row)
    out = at_the_end(model, learner.ready(leaf, run.arena.head_of_slot, task), query[0], 1)
    (gradient,) = torch.autograd.grad(cross_entropy(out, query[1]).sum(), leaf)
    run.step(0)
    cut = run.before_architecture
    assert float(gradient[:, cut:].abs().max()) > 1e-5
    sizes = torch.where(torch.arange(before.shape[1]) < cut, META.step_size, 1.0)
    torch.testing.assert_close(before - run.arena.theta, sizes * gradient.mean(0, keepdim=True), rtol=1e-3, atol=1e-6)


@dataclass(frozen=True)
class Support:
    images: torch.Tensor
    labels: torch.Tensor

    def support(self):
        return self.images, self.labels


def at_the_end(model, phi, images, step, **how):
    """At the lowest temperature, as pruned as training prunes."""
    return model.logits(phi, images, temperature=0.3, threshold=SEARCH.prune_training, **how)


def test_warm_up_leaves_the_architecture_alone(source):
    config = replace(SEARCH, learner=FOMAML())
    run = trainer(source, config)
    cut, before = run.before_architecture, run.arena.theta.clone()
    run.step(0)
    assert torch.equal(run.arena.theta[:, cut:], before[:, cut:])
    run.step(1)
    assert not torch.equal(run.arena.theta[:, cut:], before[:, cut:])


@pytest.mark.parametrize("name", EACH)
def test_evaluation_adapts_as_the_learner_does(source, name):
    config = replace(NET, learner=EACH[name])
    run = trainer(source, config)
    run.step(0)
    network, learned = config.build(source.image_shape), Learned.of(run.capture()[0])
    found = train.evaluate_chunk(network, learned, source, config, 0, 2)
    assert bool(found["finite"].all()) and found["support_statistics"].shape == (2,)


@pytest.mark.parametrize("name", SMOOTH)
def test_candidates_side_by_side_are_those_alone(source, name):
    config = CandidateConfig(2, 0, 1, DATA, SMOOTH[name], INNER, META, replace(TEST, part="val"))
    cells = [BlockCell.parse("0c1m"), BlockCell.parse("0i0a")]
    iterations = 1 if getattr(SMOOTH[name], "second_order", False) else 2
    both = CandidateTrainer.create(cells, config, source)
    for i in range(iterations):
        both.step(i)
    for g, cell in enumerate(cells):
        alone = CandidateTrainer.create([cell], config, source)
        for i in range(iterations):
            alone.step(i)
        own = both.network.layouts[g].unpack(both.arena.theta[g])
        for key, value in alone.network.layouts[0].unpack(alone.arena.theta[0]).items():
            torch.testing.assert_close(own[key], value, **near(SMOOTH[name]))


@pytest.mark.parametrize("name", ["meta-sgd", "maml-plus-plus"])
def test_a_cell_goes_on_beside_wider_ones_and_alone(source, name):
    """What is learned beside theta is as wide as the widest network, and a snapshot fits everywhere."""
    config = CandidateConfig(2, 0, 1, DATA, SMOOTH[name], INNER, META, replace(TEST, part="val"))
    small, wide = (BlockCell.parse(key) for key in ("0c1m", "0i0a|1c2m"))
    alone, both = (CandidateTrainer.create(cells, config, source) for cells in ([small], [wide, small]))
    alone.step(0)
    both.resume(1, alone.snapshot(0, small.key))
    again = CandidateTrainer.create([small], config, source)
    again.resume(0, both.snapshot(1, small.key))
    for run in (alone, both, again):
        run.step(1)
    wanted = alone.snapshot(0, small.key).tensors
    for found in (both.snapshot(1, small.key).tensors, again.snapshot(0, small.key).tensors):
        assert set(found) == set(wanted)
        for key, value in wanted.items():
            shared = min(value.shape[-1], found[key].shape[-1])
            torch.testing.assert_close(found[key][..., :shared], value[..., :shared], rtol=1e-4, atol=1e-6)


def test_a_config_names_its_learner():
    config = replace(NET, learner=FOMAML(outer="sgd"))
    value = plain(config)
    assert value["learner"] == {"name": "fomaml", "outer": "sgd"}
    assert from_json(ReptileConfig, value) == config
    with pytest.raises(InputError, match="unknown meta-learner 'famaml'; did you mean fomaml"):
        from_json(ReptileConfig, {**value, "learner": {"name": "famaml"}})
    with pytest.raises(InputError, match="outer must be adam or sgd"):
        from_json(ReptileConfig, {**value, "learner": {"name": "maml", "outer": "lamb"}})


def test_what_a_learner_anneals_is_a_stage_of_its_own():
    """Each is timed apart, for estimates and time budgets."""
    learner = MAMLPlusPlus(multi_step=0.1, first_order=0.5)
    assert replace(NET, learner=learner).stages == (0.0, 0.1, 0.5) and NET.stages == (0.0,)
    assert replace(SEARCH, learner=learner).stages == (0.0, 0.1, 0.2, 0.5) and SEARCH.stages == (0.0, 0.2)


def test_registered_by_name(source):
    @dataclass(frozen=True)
    class Still(MetaLearner):
        """A learner that learns nothing."""

        def update_(self, arena, moves, finite, sizes, state):
            return

    LEARNERS.register("still", Still)
    config = from_json(ReptileConfig, {**plain(NET), "learner": "still"})
    run = trainer(source, config)
    before = run.arena.theta.clone()
    run.step(0)
    assert torch.equal(run.arena.theta, before) and config.learner.name == "still"
    with pytest.raises(InputError, match="called still exists already"):
        LEARNERS.register("still", Still)
