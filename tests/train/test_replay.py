"""Replaying gives what the step gives; results come late, once, in order, and with the values they were sent with."""

import contextlib
from types import SimpleNamespace

import pytest
import torch

from autometa.train.replay import WARM_UP, CudaGraphs, Lagged, replayed
from tests.train.graphs import FakeGraphs


class Counting:
    """A step whose result depends on state that it changes in place."""

    def __init__(self):
        self.total = torch.tensor([1.0, 2.0])
        self.number = torch.zeros(1, dtype=torch.int64)
        self.runs = 0

    def __call__(self):
        self.runs += 1
        self.total.mul_(1.5).add_(self.number)
        self.number += 1
        return self.total * 10

    @property
    def state(self):
        return [self.total, self.number]


def test_replays_equal_the_step_from_the_first_one_on():
    plain, step, graphs = Counting(), Counting(), FakeGraphs()
    run = replayed(step, step.state, graphs, pytest.fail)
    assert step.runs == WARM_UP + 1 and step.number.item() == 0 and step.total.tolist() == [1.0, 2.0]
    for _ in range(5):
        assert torch.equal(run(), plain())
    assert graphs.captured == 1 and graphs.replays == 5 and torch.equal(step.total, plain.total)


def test_what_cannot_be_captured_runs_as_it_is_after_one_sentence():
    plain, step, told = Counting(), Counting(), []
    run = replayed(step, step.state, FakeGraphs("operation not permitted\nwhen stream is capturing"), told.append)
    assert [run().tolist() for _ in range(3)] == [plain().tolist() for _ in range(3)]
    assert len(told) == 1 and "not permitted when stream" in told[0]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, ValueError])
def test_other_errors_are_not_hidden_and_leave_the_state_alone(error):
    step = Counting()

    def failing():
        step()
        raise error("no")

    with pytest.raises(error):
        replayed(failing, step.state, FakeGraphs(), pytest.fail)
    assert step.number.item() == 0 and step.total.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("depth, count", [(1, 5), (3, 10), (4, 2), (4, 4)])
def test_results_come_in_order_and_never_more_than_the_depth_late(depth, count):
    graphs, static = FakeGraphs(), torch.zeros(2)
    lagged, seen = Lagged(depth, graphs), []
    for number in range(count):
        static.fill_(number)  # one place for all results, as a graph has
        arrived = lagged.send(number, static)
        assert [n for n, _ in arrived] == ([number - depth] if number >= depth else [])
        seen += arrived
    seen += lagged.drain()
    assert [n for n, _ in seen] == list(range(count)) and lagged.drain() == []
    assert [v.tolist() for _, v in seen] == [[n, n] for n in range(count)]
    assert graphs.buffers == min(depth, count)
    assert [n for n, _ in [*lagged.send(count, static), *lagged.drain()]] == [count], "usable after a drain"


@pytest.mark.parametrize("error", [RuntimeError, ValueError, torch.OutOfMemoryError])
@pytest.mark.parametrize("ends_well", [True, False])
def test_a_broken_capture_tells_what_broke_it_and_gives_the_stream_back(error, ends_well, monkeypatch):
    current = ["main"]

    @contextlib.contextmanager
    def graph(made, pool, stream):
        current[0] = stream
        try:
            yield
        finally:
            if not ends_well:
                raise RuntimeError("the capture was invalidated")
            current[0] = "main"

    names = {"graph": graph, "graph_pool_handle": lambda: 0, "current_stream": lambda device: current[0]}
    names |= {"Stream": lambda device: "side", "CUDAGraph": lambda: SimpleNamespace(replay=None)}
    ended = []
    monkeypatch.setattr(CudaGraphs, "broken", None)
    monkeypatch.setattr(CudaGraphs, "_end_pool", lambda self, pool: ended.append(pool))
    names["set_stream"] = lambda stream: current.__setitem__(0, stream)
    for name, stand_in in names.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)

    def step():
        assert current == ["side"]
        raise error("this op waits")

    with pytest.raises(error, match="this op waits"):
        CudaGraphs(torch.device("cuda", 0)).capture(step)
    assert current == ["main"]
    if ends_well:
        _, result = CudaGraphs(torch.device("cuda", 0)).capture(lambda: torch.ones(1))
        assert result.item() == 1 and not ended
        return
    assert ended == [0], "torch does not end the pool of a capture that cannot be ended"
    with pytest.raises(RuntimeError, match="an earlier capture could not be ended .the capture was invalidated"):
        CudaGraphs(torch.device("cuda", 0)).capture(lambda: torch.ones(1))
    emptied = []
    for name in ("synchronize", "empty_cache"):
        monkeypatch.setattr(torch.cuda, name, lambda *_, name=name: emptied.append(name))
    CudaGraphs(torch.device("cuda", 0)).release()
    assert emptied == ["synchronize"], "emptying the cache fails from then on"
