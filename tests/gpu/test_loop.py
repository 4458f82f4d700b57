"""Training on a GPU: a replayed graph is the same computation, and so is a run that was stopped."""

from dataclasses import replace

import pytest
import torch

from autometa.data.episodes import DRAWING
from autometa.ops.backend import native, precision
from autometa.train import journal
from autometa.train.loop import Loop
from autometa.train.tasks import Source
from tests.gpu.conftest import GPU
from tests.tolerances import assert_agree
from tests.train.test_loop import FOUR, LONG, search, trainer

WIDER = replace(LONG, channels=5, meta=replace(LONG.meta, batch=3))
CONFIGS = {"metanas": LONG, "5 channels": WIDER, "reptile": FOUR}
ITERATIONS = (4, 5, 6, 7, 8)  # warm-up ends after the second of them


def run(config, source, monkeypatch, graph, told=None):
    """Outcomes and state after five meta-iterations."""
    monkeypatch.setenv("AUTOMETA_GRAPH", "1" if graph else "0")
    made = trainer(config, source)
    loop = Loop(made, pytest.fail if told is None else told.append)
    found = [known for i in ITERATIONS for known in loop.launch(i)] + loop.drain()
    return found, {name: value.clone() for name, value in made.capture()[0].items()}, made


@pytest.mark.parametrize("mode", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_replayed_graph_equals_the_same_ops_one_by_one(name, mode, on_gpu, monkeypatch):
    with precision(mode):
        (replayed, one, _), (eager, other, _) = (run(CONFIGS[name], on_gpu, monkeypatch, g) for g in (True, False))
    assert [i for i, _ in replayed] == [i for i, _ in eager] == list(ITERATIONS)
    for (_, a), (_, b) in zip(replayed, eager, strict=True):
        assert torch.equal(a.losses, b.losses) and torch.equal(a.accuracy, b.accuracy) and a.finite.all()
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", CONFIGS)
def test_chunks_of_slots_change_no_bit(name, on_gpu, monkeypatch):
    config = replace(CONFIGS[name], meta=replace(CONFIGS[name].meta, batch=5))
    _, whole, _ = run(config, on_gpu, monkeypatch, True)
    for slots in (1, 2):
        parts = replace(config, meta=replace(config.meta, max_slots=slots))
        _, found, _ = run(parts, on_gpu, monkeypatch, True)
        assert all(torch.equal(found[key], whole[key]) for key in whole)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_gpu_agrees_with_the_cpu(name, on_gpu, on_cpu, monkeypatch):
    """A first inner step from the same weights on the same images: losses, and the gradients in Adam's moments."""
    config = replace(CONFIGS[name], inner=replace(CONFIGS[name].inner, steps=1))
    gpu, cpu = trainer(config, on_gpu), trainer(config, on_cpu)
    found, expected = gpu.step(7), cpu.step(7)
    assert_agree(found.losses.cpu(), expected.losses, "slots, inner loop", torch.float32)
    assert_agree(gpu.arena.second.cpu().sqrt(), cpu.arena.second.sqrt(), "slots, inner loop", torch.float32)


def test_all_slots_are_taken_where_they_fit(on_gpu, monkeypatch):
    *_, made = run(LONG, on_gpu, monkeypatch, True)
    assert made.max_slots == LONG.meta.batch and made.capture()[1] == {"max_slots": LONG.meta.batch}


def test_tasks_are_drawn_on_the_gpu_and_are_those_of_the_cpu(on_gpu, on_cpu):
    assert all(native(op, GPU, dtype) for op, dtype in DRAWING), "the CUDA module is missing; see autometa doctor"
    inner, ids = replace(LONG.inner, batch=4, steps=3), torch.tensor([0, 5, 2**33])
    for mode in ("passes", "replacement"):
        there, here = (source.training(inner, "test", 3) for source in (on_gpu, on_cpu))
        assert there.home == GPU
        theirs, ours = there.tasks(ids), here.tasks(ids)
        for table in ("image", "rotation", "chosen"):
            assert torch.equal(getattr(theirs, table).cpu(), getattr(ours, table))
        a, b = (e.batches(t, 4, 3, mode) for e, t in ((there, theirs), (here, ours)))
        for step in range(3):
            (x, labels), (y, wanted) = a.step(step), b.step(step)
            assert x.device == GPU and torch.equal(x.cpu(), y) and torch.equal(labels.cpu(), wanted)


def test_images_too_large_for_the_gpu_stay_on_the_host(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 10**9))
    told = []
    large = Source.open(LONG.data, GPU, told.append)
    assert large.images.device.type == "cpu" and len(told) == 1 and "stay in the computer's memory" in told[0]
    monkeypatch.undo()
    whole, small = Source.open(LONG.data, GPU), trainer(LONG, large)
    loop = Loop(small, told.append)
    ((_, found),) = [*loop.launch(0), *loop.drain()]
    assert len(told) == 2 and "drawn on the CPU" in told[1]
    assert torch.equal(found.losses, trainer(LONG, whole).step(0).losses.cpu())


def test_resumed_equals_uninterrupted(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "LOG_EVERY", 3)
    expected = search(LONG, tmp_path / "whole", monkeypatch, device=GPU)
    tensors, lines, watch = search(LONG, tmp_path / "broken", monkeypatch, stops=(2, 6, 7, 13), device=GPU)
    assert lines == expected[1] and watch == expected[2]
    assert all(torch.equal(tensors[key], value) for key, value in expected[0].items())
