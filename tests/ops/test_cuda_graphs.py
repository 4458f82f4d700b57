"""The CUDA ops within a captured graph: a whole small meta-iteration, replayed on other tasks, equals eager calls."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from autometa.ops._cuda import cuda_refuses
from autometa.ops.adam import adam_
from autometa.ops.batch_indices import batch_indices
from autometa.ops.clip_grad import clip_grad_
from autometa.ops.drop_masks import drop_masks
from autometa.ops.finite_slots import finite_slots
from autometa.ops.gather_images import gather_images
from autometa.ops.reptile import reptile_
from autometa.ops.rows import Rows
from autometa.ops.sample_tasks import sample_tasks
from autometa.ops.sgd import sgd_

REASON = cuda_refuses(torch.device("cuda"), torch.float32)
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(REASON is not None, reason=str(REASON))]
DEVICE, BACKEND = "cuda", "cuda"
SLOTS, ROW, CLASSES, PER_CLASS = 3, 800, 12, 20


class Iteration:
    """Tasks drawn, images gathered, their pixels taken for gradients, two optimiser steps, the meta-update."""

    def __init__(self):
        made = torch.Generator().manual_seed(0)
        random = torch.randn(2, SLOTS, ROW, generator=made).to(DEVICE)
        self.images = torch.randint(0, 256, (CLASSES * PER_CLASS, 1, 20, 20), dtype=torch.uint8, generator=made)
        self.images = self.images.to(DEVICE)
        self.class_start = torch.arange(0, CLASSES * PER_CLASS + 1, PER_CLASS, device=DEVICE)
        self.classes = torch.arange(CLASSES, device=DEVICE)
        self.task_ids = torch.arange(SLOTS, device=DEVICE)
        self.theta, self.phi, self.second = random[0, :1].clone(), random[0].clone(), random[1].abs()
        self.steps = torch.zeros(SLOTS, 2, dtype=torch.int64, device=DEVICE)
        zeros = torch.zeros(SLOTS, dtype=torch.int64, device=DEVICE)
        self.rows = Rows(torch.tensor([[0, 700, ROW]], device=DEVICE), zeros, zeros.clone())
        self.scale, self.shift = torch.full((1,), 1 / 255, device=DEVICE), torch.zeros(1, device=DEVICE)
        self.exempt = torch.arange(20, device=DEVICE) % 7 == 2
        self.rate, self.none, self.limit = (
            torch.full((1, 2), value, dtype=torch.float64, device=DEVICE) for value in (0.01, 0.0, 0.5)
        )

    def state(self) -> list[torch.Tensor]:
        return [self.theta, self.phi, self.second, self.steps]

    def run(self) -> None:
        options = {"seed": 5, "backend": BACKEND}
        image, rotation, _ = sample_tasks(
            self.class_start, self.classes, self.task_ids, rotations=4, ways=5, shots=2, queries=1, **options
        )
        picks = batch_indices(self.task_ids, n_items=10, batch=2, steps=2, mode="passes", **options)
        for t in range(2):
            index = image[..., :2].flatten(1).gather(1, picks[:, t])
            turns = rotation.gather(1, picks[:, t] // 2)
            batch = gather_images(self.images, index, turns, self.scale, self.shift, backend=BACKEND)
            mask = drop_masks(self.task_ids, self.exempt, keep=0.8, step=t, batch=2, **options)
            grad = (batch.view(SLOTS, 2, 20, 20) * mask[:, :, None]).view(SLOTS, ROW)
            clip_grad_(grad, self.limit, self.rows, backend=BACKEND)
            adam_(self.phi, grad, self.second, self.steps, self.rate, self.none, self.rows, backend=BACKEND)
            sgd_(self.phi, grad, self.rate, self.none, self.rows, backend=BACKEND)
        finite = finite_slots(self.phi, backend=BACKEND)
        reptile_(self.theta, self.phi, self.rate, finite, self.rows, backend=BACKEND)


def captured(run: Callable[[], None]) -> torch.cuda.CUDAGraph:
    """A graph of one call, after calls on another stream that load the kernels."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph


def test_replays_equal_eager_calls():
    eager, graphed = Iteration(), Iteration()
    before = [value.clone() for value in graphed.state()]
    graph = captured(graphed.run)
    for value, start in zip(graphed.state(), before, strict=True):
        value.copy_(start)
    for number in range(4):
        for one in (eager, graphed):
            one.task_ids.copy_(torch.arange(SLOTS) + 100 * number)
        eager.run()
        graph.replay()
        for found, expected, start in zip(graphed.state(), eager.state(), before, strict=True):
            assert torch.equal(found, expected) and not torch.equal(found, start)


def test_nothing_waits_for_the_device():
    """torch raises where something of its own does; ours can only launch."""
    iteration = Iteration()
    iteration.run()
    torch.cuda.set_sync_debug_mode("error")
    try:
        iteration.run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert bool(torch.isfinite(iteration.phi).all())


def test_the_current_stream_is_used():
    """Work on another stream, behind something slow, waits for it and for nothing else."""
    iteration, expected = Iteration(), Iteration()
    expected.run()
    start, iteration.phi[:] = iteration.phi.clone(), 0.0
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        iteration.phi.copy_(start)
        iteration.run()
    stream.synchronize()
    assert torch.equal(iteration.theta, expected.theta)
