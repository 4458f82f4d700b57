"""Auto-Meta's candidates on a GPU: replayed as step by step, each cell as if alone, as on a CPU."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from autometa.runs.files import read_json
from autometa.train.candidates import CandidateTrainer
from autometa.train.scoring import score, train_candidates
from autometa.train.tasks import Source
from tests.cli.driving import call
from tests.cli.test_auto_meta import TINY as SEARCH
from tests.gpu.conftest import GPU
from tests.tolerances import assert_agree
from tests.train.test_candidates import CELLS, TINY, timeless


@pytest.fixture(scope="module")
def there(as_runs_compute):
    return Source.open(TINY.data, GPU)


@pytest.fixture(scope="module")
def here(as_runs_compute):
    return Source.open(TINY.data)


def trained(cells, source, monkeypatch, graph: bool, told=None) -> CandidateTrainer:
    monkeypatch.setenv("AUTOMETA_GRAPH", "1" if graph else "0")
    trainer = CandidateTrainer.create(cells, TINY, source)
    trainer.train(pytest.fail if told is None else told.append)
    return trainer


def test_a_replayed_graph_equals_the_same_ops_one_by_one(there, monkeypatch):
    """`pytest.fail` is told where a graph cannot be captured."""
    one, other = (trained(CELLS, there, monkeypatch, graph) for graph in (True, False))
    for name in ("theta", "phi", "second", "steps"):
        assert torch.equal(getattr(one.arena, name), getattr(other.arena, name)), name
    assert one.max_slots == one.arena.slots, "all of them fit"
    assert all(torch.equal(a, b) for a, b in zip(score(one, there), score(other, there), strict=True))


def test_a_cell_trains_beside_others_as_alone(there):
    together = timeless(train_candidates(CELLS, TINY, there))
    assert all(outcome.failure is None for outcome in together)
    for cell, outcome in zip(CELLS, together, strict=True):
        assert timeless(train_candidates([cell], TINY, there)) == [outcome]


@pytest.mark.parametrize("slots", [1, 3])
def test_chunks_of_slots_change_no_bit(there, slots):
    parts = replace(TINY, meta=replace(TINY.meta, max_slots=slots))
    assert timeless(train_candidates(CELLS, parts, there)) == timeless(train_candidates(CELLS, TINY, there))


def test_a_gpu_agrees_with_the_cpu(there, here):
    """A first inner step from the same weights on the same images: losses, and the gradients in Adam's moments."""
    config = replace(TINY, inner=replace(TINY.inner, steps=1))
    gpu, cpu = (CandidateTrainer.create(CELLS, config, source) for source in (there, here))
    found, expected = gpu.step(2), cpu.step(2)
    assert_agree(found.losses.cpu(), expected.losses, "slots, inner loop", torch.float32)
    assert_agree(gpu.arena.second.cpu().sqrt(), cpu.arena.second.sqrt(), "slots, inner loop", torch.float32)


def test_a_diverging_cell_is_left_out_and_the_graph_made_anew(there, monkeypatch):
    config = replace(TINY, meta=replace(TINY.meta, iterations=20))
    trainer, expected = (CandidateTrainer.create(cells, config, there) for cells in (CELLS, CELLS[1:]))
    trainer.arena.theta[0] = torch.nan
    trainer.train(pytest.fail), expected.train(pytest.fail)
    assert trainer.alive == [1, 2, 3] and list(trainer.failures) == [0]
    for k, g in enumerate(trainer.alive):
        own = trainer.network.layouts[g].unpack(trainer.arena.theta[k])
        due = expected.network.layouts[g - 1].unpack(expected.arena.theta[k])
        assert all(torch.equal(own[name], value) for name, value in due.items())


@pytest.mark.parametrize("who", [(), ("--workers", "1")])
def test_a_search_on_a_gpu(who, tmp_path):
    answer = call("search", "auto-meta", "--preset", "quick", *SEARCH, "--device", "cuda", "--out", tmp_path, *who)
    assert answer.code == 0, answer.err
    result = read_json(tmp_path / "result.json")
    assert result["device"] == "cuda" and result["candidates"] == {"trained": 58, "failed": 0}
