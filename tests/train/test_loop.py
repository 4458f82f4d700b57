"""A loop on a device with graphs: the same bits, lines and checkpoints as step by step, whatever happens in between."""

import json
from dataclasses import replace

import pytest
import torch

from autometa.algorithms import metanas_steps, train
from autometa.algorithms.metanas import MetaNASConfig
from autometa.data.episodes import DRAWING
from autometa.errors import DivergedError
from autometa.ops import backend
from autometa.runs import RunFolder, load_latest, read_metrics
from autometa.train import journal, phases
from autometa.train.config import MetaConfig
from autometa.train.loop import LAG, Loop
from autometa.train.observations import ArchitectureSeries
from autometa.train.phases import Terms
from autometa.train.tasks import Source
from tests.algorithms.test_metanas import TINY, network, one_thread, source  # noqa: F401  fixtures
from tests.ops import cuda_on_host
from tests.train.graphs import FakeGraphs

LONG = replace(TINY, meta=replace(TINY.meta, iterations=14), warmup=6, drop_path=0.2)
FOUR = train.ReptileConfig(
    filters=3, data=TINY.data, inner=TINY.inner, meta=MetaConfig(iterations=14, batch=3), test=TINY.test
)


def trainer(config, source):  # noqa: F811
    make = metanas_steps if isinstance(config, MetaNASConfig) else train
    return make.trainer(config.build(source.image_shape), source, config)


def same(one, other):
    for a, b in zip(one, other, strict=True):
        assert a[0] == b[0]
        for name in ("losses", "accuracy", "finite", "update", "architecture"):
            x, y = getattr(a[1], name), getattr(b[1], name)
            assert x.dtype == y.dtype and torch.equal(x, y), (a[0], name)


@pytest.mark.parametrize("config", [LONG, FOUR, replace(LONG, warmup=0), replace(LONG, warmup=14)])
def test_a_replayed_run_equals_one_step_by_step(config, source):  # noqa: F811
    plain, run, graphs = trainer(config, source), trainer(config, source), FakeGraphs()
    expected = [(i, plain.step(i)) for i in range(14)]
    loop, found = Loop(run, pytest.fail, graphs), []
    for i in range(14):
        found += loop.launch(i)
        assert i + 1 - LAG <= len(found) <= i + 1
    same(found + loop.drain(), expected)
    assert all(torch.equal(a, b) for a, b in zip(run.capture()[0].values(), plain.capture()[0].values(), strict=True))
    phases = 1 + (0 < getattr(config, "warmup", 0) < 14)
    assert graphs.captured == phases and graphs.replays == 14


def test_step_sizes_come_window_by_window(source, monkeypatch):  # noqa: F811
    config = replace(LONG, meta=replace(LONG.meta, schedule="cosine"), arch_schedule="linear")
    plain, found = trainer(config, source), []
    expected = [(i, plain.step(i)) for i in range(14)]
    monkeypatch.setattr("autometa.train.trainer.WINDOW", 3)
    run = trainer(config, source)
    loop = Loop(run, pytest.fail, FakeGraphs())
    for i in range(14):
        found += loop.launch(i)
    same(found + loop.drain(), expected)
    assert torch.equal(run.arena.theta, plain.arena.theta)


@pytest.mark.parametrize("config", [LONG, FOUR], ids=["metanas", "reptile"])
def test_the_cuda_kernels_compiled_for_the_host_train_with_the_cores_bits(config, source, monkeypatch):  # noqa: F811
    plain = trainer(config, source)
    expected = [(i, plain.step(i)) for i in range(7)]
    cuda_on_host.use(monkeypatch)
    monkeypatch.setitem(backend.PREFERENCE, "cpu", ("cuda", "cpp", "reference"))
    run, found = trainer(config, source), []
    assert all(backend.native(op, run.device, dtype, "cuda") for op, dtype in DRAWING)
    loop = Loop(run, pytest.fail, FakeGraphs())
    for i in range(7):
        found += loop.launch(i)
    same(found + loop.drain(), expected)
    assert all(torch.equal(a, b) for a, b in zip(run.capture()[0].values(), plain.capture()[0].values(), strict=True))


@pytest.mark.parametrize("how", ["switched off", "refused"])
def test_without_a_graph_the_same_ops_run_one_by_one(how, source, monkeypatch):  # noqa: F811
    plain, run, told = trainer(LONG, source), trainer(LONG, source), []
    graphs = FakeGraphs("refused" if how == "refused" else None)
    monkeypatch.setenv("AUTOMETA_GRAPH", "0" if how == "switched off" else "1")
    loop = Loop(run, told.append, graphs)
    found = [known for i in range(8) for known in loop.launch(i)] + loop.drain()
    same(found, [(i, plain.step(i)) for i in range(8)])
    assert graphs.replays == 0 and len(told) == (2 if how == "refused" else 0), "one sentence per phase"


def test_iterations_may_begin_anywhere(source):  # noqa: F811
    plain, run = trainer(LONG, source), trainer(LONG, source)
    for i in range(9):
        plain.step(i)
    halfway = plain.capture()[0]
    run.restore({name: value.clone() for name, value in halfway.items()}, {})
    loop = Loop(run, pytest.fail, FakeGraphs())
    same([*loop.launch(9), *loop.launch(10), *loop.drain()], [(i, plain.step(i)) for i in (9, 10)])


def test_slots_at_once_follow_the_free_memory_and_change_nothing(source):  # noqa: F811
    config = replace(LONG, meta=replace(LONG.meta, batch=5))
    whole = trainer(config, source)
    expected = whole.step(0)
    for free, each, at_once in ((1000, 1, 5), (50, 10, 3), (50, 20, 2), (1, 100, 1)):
        run = trainer(config, source)
        loop = Loop(run, pytest.fail, FakeGraphs(free=free, each=each))
        ((_, found),) = [*loop.launch(0), *loop.drain()]
        assert run.max_slots == at_once
        assert torch.equal(found.losses, expected.losses) and torch.equal(run.arena.theta, whole.arena.theta)
        assert run.capture()[1] == {}, "the CPU's checkpoints stay as they were"


def test_a_full_memory_halves_the_slots(source):  # noqa: F811
    config = replace(LONG, meta=replace(LONG.meta, batch=5))
    whole, run, told = trainer(config, source), trainer(config, source), []
    loop = Loop(run, told.append, FakeGraphs(most=1, slots=lambda: run.max_slots))
    ((_, found),) = [*loop.launch(0), *loop.drain()]
    assert run.max_slots == 1 and len(told) == 3 and "1 slots at once" in told[-1]
    assert torch.equal(found.losses, whole.step(0).losses)


class Stopped(Exception):
    pass


def search(config, path, monkeypatch, graphs=None, stops=(), device="cpu"):
    """meta_train of a run folder; `stops`: iterations at which it breaks and is resumed."""
    launch = Loop.launch
    source = Source.open(config.data, device)  # noqa: F811
    for stop in [*stops, None]:

        def stopping(loop, i, stop=stop):
            if i == stop:
                raise Stopped
            return launch(loop, i)

        monkeypatch.setattr(Loop, "launch", stopping)
        monkeypatch.setattr(phases, "Loop", lambda run, notice: Loop(run, notice, graphs))
        make = RunFolder.resume if path.exists() else lambda p, c: RunFolder.create(p, "search", config, c)
        with make(path, ["autometa"]) as folder:
            try:
                run, terms = trainer(config, source), Terms(quiet=True, checkpoint_seconds=1e-9)
                net = config.build(source.image_shape)
                series = ArchitectureSeries(folder, net, config.t_max, config.meta.iterations)
                phases.meta_train(run, folder, terms, "search", series=series)
            except Stopped:
                assert stop is not None
    monkeypatch.setattr(Loop, "launch", launch)
    last = load_latest(path / "checkpoints/search")
    lines = b"".join((path / f"metrics-{name}.jsonl").read_bytes() for name in ("search", "architecture"))
    return last.tensors, lines, last.state["session"]["watch"]


def test_lines_checkpoints_and_resumption_are_those_of_a_run_step_by_step(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "LOG_EVERY", 3)
    expected = search(LONG, tmp_path / "plain", monkeypatch)
    steps = [json.loads(line)["step"] for line in expected[1].splitlines()]
    assert steps == [0, 3, 6, 9, 12, 13, *range(14)]
    for name, stops in (("whole", ()), ("broken", (2, 6, 7, 13))):
        tensors, lines, watch = search(LONG, tmp_path / name, monkeypatch, FakeGraphs(), stops)
        assert lines == expected[1] and watch == expected[2]
        assert all(torch.equal(tensors[key], value) for key, value in expected[0].items())


def test_divergence_names_its_iteration_and_keeps_every_line(tmp_path, monkeypatch):
    config = replace(LONG, inner=replace(LONG.inner, lr=1e30), meta=replace(LONG.meta, iterations=40), warmup=0)
    monkeypatch.setattr(journal, "LOG_EVERY", 1)
    said, steps = [], []
    for name, graphs in (("plain", None), ("late", FakeGraphs())):
        with pytest.raises(DivergedError) as caught:
            search(config, tmp_path / name, monkeypatch, graphs)
        said.append(str(caught.value))
        last = load_latest(tmp_path / name / "checkpoints/search")
        steps.append(last.step)
        assert [row["step"] for row in read_metrics(tmp_path / name / "metrics-search.jsonl")] == list(range(last.step))
    assert all("(seen in step 10)" in text for text in said) and steps[0] == 11
    assert steps[0] <= steps[1] <= steps[0] + LAG
