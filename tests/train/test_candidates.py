"""Candidates side by side: each as if alone, as the existing trainer trains it, failures its own."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch

from autometa.algorithms import train
from autometa.algorithms.train import ReptileConfig
from autometa.errors import InputError
from autometa.nas.networks.many_cells import BlockNetwork
from autometa.nas.spaces.blocks import BlockCell
from autometa.runs.files import plain
from autometa.train import candidates, scoring
from autometa.train.candidates import CandidateConfig, CandidateTrainer, Outcome, Snapshot
from autometa.train.config import DataConfig, EvalConfig, InnerConfig, MetaConfig, from_json
from autometa.train.learned import Learned
from autometa.train.loop import Loop
from autometa.train.scoring import score, train_candidates
from autometa.train.tasks import Source
from autometa.train.trainer import Trainer
from tests.ops.arenas import native
from tests.train.graphs import FakeGraphs

CELLS = [BlockCell.parse(key) for key in ("0c1m", "0i0f", "0c1c|1f1i|2m3a", "1a1c")]
TINY = CandidateConfig(
    filters=2,
    repeats=0,
    scale_rate=2,
    data=DataConfig("strokes:9x6x8", 8),
    inner=InnerConfig(ways=3, shots=3, batch=6, steps=2, lr=5e-3),
    meta=MetaConfig(iterations=3, batch=2, step_size=0.7),
    validation=EvalConfig(tasks=5, shots=1, queries=2, batch=3, steps=3, part="val", max_slots=4),
)


@pytest.fixture(scope="module", autouse=True)
def one_thread(tmp_path_factory):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOMETA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def source(one_thread):
    return Source.open(TINY.data)


def timeless(outcomes: list[Outcome]) -> list[Outcome]:
    assert all(o.seconds > 0 for o in outcomes)
    return [replace(o, seconds=0.0) for o in outcomes]


@dataclass(frozen=True)
class Alone:
    """The network of one cell, as the existing trainers want it."""

    network: BlockNetwork
    ways: int = TINY.inner.ways

    @property
    def layout(self):
        return self.network.layouts[0]

    def initial(self, seed):
        return self.network.initial(seed)[0]

    def logits(self, phi, images, statistics=None, *, features=False):
        return self.network.logits(phi, images, torch.zeros(len(phi), dtype=torch.int64), statistics, features)


def alone(cell: BlockCell, source: Source) -> Alone:
    return Alone(BlockNetwork(TINY.macro(source.image_shape), [cell]))


def trained(cells, config, source) -> CandidateTrainer:
    trainer = CandidateTrainer.create(cells, config, source)
    for i in range(config.meta.iterations):
        trainer.step(i)
    return trainer


def row_of(trainer: CandidateTrainer, g: int, row: torch.Tensor) -> torch.Tensor:
    """A row without gaps."""
    return torch.cat([v.flatten() for v in trainer.network.layouts[g].unpack(row).values()])


@native
def test_paused_and_resumed_beside_others_is_as_uninterrupted(source):
    whole, kept = timeless(train_candidates(CELLS, TINY, source)), {}
    half = train_candidates(CELLS, TINY, source, last=1, keep=kept.__setitem__)
    assert timeless(half) != whole and len(kept) == len(CELLS)
    rest = train_candidates(CELLS[::-1], TINY, source, starts=[kept[g] for g in range(len(CELLS))][::-1], first=1)
    assert timeless(rest)[::-1] == whole
    alone = train_candidates(CELLS[2:3], TINY, source, starts=[kept[2]], first=1)
    assert timeless(alone) == whole[2:3]


def test_a_checkpoint_comes_back_from_its_bytes(source):
    kept = {}
    train_candidates(CELLS[:2], TINY, source, last=1, keep=kept.__setitem__)
    again = Snapshot.decoded(kept[0].encoded())
    assert (again.key, again.watch) == (CELLS[0].key, kept[0].watch) and set(again.tensors) == set(kept[0].tensors)
    assert all(torch.equal(value, again.tensors[name]) for name, value in kept[0].tensors.items())
    for damaged in (b"", kept[0].encoded()[:-1], b"\xff" * 100):
        with pytest.raises(InputError, match="the checkpoint of a candidate is damaged"):
            Snapshot.decoded(damaged)


def test_a_cell_begins_with_the_weights_that_another_one_shares(source):
    kept = {}
    train_candidates(CELLS[:1], TINY, source, keep=kept.__setitem__)
    child = BlockCell.parse("0c1m|2i1f")
    trainer = CandidateTrainer.create([CELLS[1], child], TINY, source)
    fresh = trainer.network.layouts[1].unpack(trainer.arena.theta[1].clone())
    trainer.inherit(1, kept[0])
    own = trainer.network.layouts[1].unpack(trainer.arena.theta[1])
    theirs = alone(CELLS[0], source).layout.unpack(kept[0].tensors["theta"])
    shared = {name for name in own if name in theirs and theirs[name].shape == own[name].shape}
    assert {"stem.conv_weight", "cell0.node0.op0.weight", "head.bias"} <= shared < set(own)
    assert all(torch.equal(own[name], (theirs if name in shared else fresh)[name]) for name in own)
    begun = train_candidates([child], TINY, source, starts=[kept[0]])
    assert timeless(begun) != timeless(train_candidates([child], TINY, source))
    assert timeless(train_candidates([CELLS[1], child], TINY, source, starts=[None, kept[0]]))[1:] == timeless(begun)


@native
@pytest.mark.parametrize("max_slots", [None, 1, 3])
def test_a_candidate_does_not_depend_on_those_beside_it(source, max_slots):
    config = replace(TINY, meta=replace(TINY.meta, max_slots=max_slots))
    together = timeless(train_candidates(CELLS, config, source))
    assert [o.key for o in together] == [cell.key for cell in CELLS]
    assert all(o.failure is None and 0 <= o.accuracy <= 100 and o.interval > 0 for o in together)
    for cell, outcome in zip(CELLS, together, strict=True):
        assert timeless(train_candidates([cell], TINY, source)) == [outcome]
    assert timeless(train_candidates(CELLS[::-1], config, source)) == together[::-1]


def test_reference_and_compiled_train_alike(source, monkeypatch):
    """In their losses: Adam turns the sign of a gradient near 0 into a whole step."""
    found = {}
    for name in ("auto", "reference"):
        monkeypatch.setenv("AUTOMETA_BACKEND", name)
        found[name] = CandidateTrainer.create(CELLS, TINY, source).step(0).losses
    assert found["auto"].shape == (TINY.inner.steps, len(CELLS) * TINY.meta.batch)
    assert torch.allclose(found["auto"], found["reference"], rtol=0.02)
    assert torch.allclose(found["auto"][0], found["reference"][0], rtol=1e-5)


@pytest.mark.parametrize("g", range(len(CELLS)))
def test_one_cell_trains_as_the_existing_trainer_does(source, g):
    """The same bits: theta, second moments and counts."""
    network = alone(CELLS[g], source)
    existing = Trainer(
        arena=train.Arena.single(network.layout, network.initial(TINY.seed), TINY.meta.batch),
        episodes=source.training(TINY.inner, "val", TINY.seed),
        optimiser=TINY.inner.optimiser(TINY.learner),
        inner=TINY.inner,
        meta=TINY.meta,
        logits=lambda ids, _: lambda phi, images, t: network.logits(phi, images),
    )
    for i in range(TINY.meta.iterations):
        step = existing.step(i)
    trainer = CandidateTrainer.create([CELLS[g]], TINY, source)
    for i in range(TINY.meta.iterations):
        own = trainer.step(i)
    assert torch.equal(own.losses, step.losses) and torch.equal(own.finite, step.finite)
    for name, value in existing.capture()[0].items():
        assert torch.equal(getattr(trainer.arena, name), value) and bool(value.any())
    assert not torch.equal(trainer.arena.theta[0], network.initial(TINY.seed))


@pytest.mark.parametrize("mode", ["transductive", "support_statistics"])
@pytest.mark.parametrize("adam_state", ["carry", "reset"])
def test_scores_are_those_of_reptiles_evaluation(source, adam_state, mode):
    config = replace(TINY, mode=mode, inner=replace(TINY.inner, adam_state=adam_state))
    trainer = trained(CELLS, config, source)
    right, finite = score(trainer, source)
    assert bool(finite.all()) and right.dtype == torch.float64
    as_reptile = ReptileConfig(inner=config.inner, meta=config.meta, test=config.validation)
    batch = config.meta.batch
    for g, cell in enumerate(CELLS):
        network = alone(cell, source)
        own = trainer.network.layouts[g]
        rows = {
            "theta": trainer.arena.theta[g : g + 1],
            "second": trainer.arena.second[g * batch : (g + 1) * batch],
        }
        moved = {n: torch.stack([network.layout.pack(own.unpack(r)) for r in value]) for n, value in rows.items()}
        learned = Learned.of({**moved, "steps": trainer.arena.steps[g * batch : (g + 1) * batch]})
        found = train.evaluate_chunk(network, learned, source, as_reptile, 0, 5, (mode,))
        assert torch.equal(right[g], found[mode])


def test_every_cell_sees_the_same_tasks(source):
    """Equal cells in one batch have equal outcomes, another seed has others."""
    trainer = trained([CELLS[0], CELLS[1], CELLS[0]], TINY, source)
    assert torch.equal(trainer.arena.theta[0], trainer.arena.theta[2])
    assert not torch.equal(trainer.arena.theta[0], trainer.arena.theta[1])
    other = trained([CELLS[0], CELLS[1]], replace(TINY, seed=1), source)
    assert not torch.equal(other.arena.theta[0], trainer.arena.theta[0])


@native
@pytest.mark.parametrize("iterations, reason", [(12, "training diverged: "), (3, "5 of 5 validation tasks left")])
def test_a_diverged_cell_is_named_and_harms_nobody(source, monkeypatch, iterations, reason):
    config = replace(TINY, meta=replace(TINY.meta, iterations=iterations))
    expected = timeless(train_candidates([CELLS[0], CELLS[2], CELLS[3]], config, source))
    initial = BlockNetwork.initial

    def poisoned(network, seed):
        theta = initial(network, seed)
        theta[1, 3] = torch.inf
        return theta

    monkeypatch.setattr(BlockNetwork, "initial", poisoned)
    found = timeless(train_candidates(CELLS, config, source))
    assert found[1].failure.startswith(reason) and math.isnan(found[1].accuracy) and math.isnan(found[1].interval)
    assert found[1].key == CELLS[1].key and found[1].parameters > 0 and found[1].macs > 0
    assert [found[0], *found[2:]] == expected


@native
def test_the_rest_goes_on_with_the_same_bits_when_a_cell_is_left_out(source):
    trainer, other = (CandidateTrainer.create(CELLS, TINY, source) for _ in range(2))
    trainer.step(0), other.step(0)
    trainer.leave_out([1])
    assert trainer.alive == [0, 2, 3] and trainer.arena.slots == 3 * TINY.meta.batch
    trainer.step(1), other.step(1)
    kept = [0, 2, 3]
    assert torch.equal(trainer.arena.theta, other.arena.theta[kept])
    trainer.leave_out([0, 2, 3])
    assert trainer.alive == [] and score(trainer, source)[0].shape == (0, 5)


def arena_of(trainer: CandidateTrainer) -> list[torch.Tensor]:
    return [getattr(trainer.arena, name) for name in ("theta", "phi", "second", "steps", "layout_of_slot")]


@native
def test_a_replayed_run_equals_one_step_by_step(source, monkeypatch):
    """As on a GPU, results coming late; a cell that diverges is left out all the same, and a new graph is made."""
    config = replace(TINY, meta=replace(TINY.meta, iterations=20, max_slots=5))
    plain, run = (CandidateTrainer.create(CELLS, config, source) for _ in range(2))
    for trainer in (plain, run):
        trainer.arena.theta[1] = torch.nan
    plain.train(pytest.fail)
    made = []

    def replaying(trainer, notice):
        made.append(FakeGraphs())
        return Loop(trainer, notice, made[-1])

    monkeypatch.setattr(candidates, "Loop", replaying)
    run.train(pytest.fail)
    assert plain.alive == run.alive == [0, 2, 3] and plain.failures == run.failures
    assert all(torch.equal(a, b) for a, b in zip(arena_of(run), arena_of(plain), strict=True))
    assert [graphs.captured for graphs in made] == [1, 1] and sum(graphs.replays for graphs in made) == 20


@native
def test_slots_at_once_follow_the_free_memory(source, monkeypatch):
    config = replace(TINY, meta=replace(TINY.meta, iterations=2))
    plain, run = (CandidateTrainer.create(CELLS, config, source) for _ in range(2))
    run.max_slots = None
    monkeypatch.setattr(candidates, "Loop", lambda trainer, notice: Loop(trainer, notice, FakeGraphs(free=50, each=10)))
    run.train(pytest.fail)
    plain.max_slots = 8
    monkeypatch.undo()
    plain.train(pytest.fail)
    assert run.max_slots == 4, "eight slots in chunks of at most 0.8 * 50 / 10"
    assert all(torch.equal(a, b) for a, b in zip(arena_of(run), arena_of(plain), strict=True))


@native
def test_a_full_memory_halves_the_slots_that_are_scored(source, monkeypatch):
    trainer = trained(CELLS, TINY, source)
    expected, scored, tried = score(trainer, source), scoring._scored, []

    def full(*arguments):
        tried.append(arguments[-1])
        if tried[-1] > 1:
            raise torch.OutOfMemoryError("no room")
        return scored(*arguments)

    monkeypatch.setattr(scoring, "_scored", full)
    found = score(trainer, source)
    assert tried == [4, 2, 1] and all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_nothing_to_train(source):
    assert train_candidates([], TINY, source) == []


def test_config_survives_json_and_is_checked(source):
    assert from_json(CandidateConfig, plain(TINY)) == TINY
    CandidateConfig().check()
    wrong = {
        "filters must be at least 2": {"filters": 1},
        "test classes stay unseen": {"validation": replace(TINY.validation, part="test")},
        "mode must be": {"mode": "running"},
        "inner.lr": {"inner": replace(TINY.inner, lr=0.0)},
        "repeats": {"repeats": -1},
    }
    for message, change in wrong.items():
        with pytest.raises(InputError, match=message):
            train_candidates(CELLS, replace(TINY, **change), source)
    assert candidates.SLOTS >= 1
