"""What one inner step's images cost: 10 tasks x 20 images at 28x28, indices included; the target is 2 ms.

    python -m pytest benchmarks/bench_episodes.py --benchmark-only

The data are random bytes as large as Omniglot, so that the benchmark needs no download.
"""

import numpy as np
import pytest
import torch

from autometa.data import ClassEntry, Episodes, ImageStore, Recipe, TaskSpec, write_store
from autometa.ops.backend import compiled_error

TARGET_SECONDS = 2e-3
TASKS, BATCH, STEPS = 10, 20, 5
SPECS = {"20-way 10-shot": TaskSpec(20, 10, 0, 4), "5-way 15-shot": TaskSpec(5, 15, 0, 4)}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "omniglot-like"
    classes = [ClassEntry(f"class{index}", "", "", 20) for index in range(1623)]
    rng = np.random.default_rng(0)
    images = (rng.integers(0, 256, (1, 28, 28), dtype=np.uint8) for _ in range(20 * 1623))
    write_store(path, "bench", Recipe(size=28), classes, images)
    return ImageStore.open(path)


@pytest.fixture(params=["reference", "cpp"])
def backend(request, monkeypatch):
    if request.param == "cpp" and compiled_error():
        pytest.skip(compiled_error())
    monkeypatch.setenv("AUTOMETA_BACKEND", request.param)
    return request.param


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def check(episodes, first):
    """The benchmark says nothing where a batch shows other images than its indices name."""
    batches = episodes.batches(episodes.tasks(range(first, first + TASKS)), BATCH, STEPS, "replacement")
    images, labels = batches.step(0)
    assert images.shape == (TASKS, BATCH, 1, 28, 28) and labels.shape == (TASKS, BATCH)
    store = episodes.store
    for task in range(TASKS):
        index, turns = int(batches.index[task, 0, 0]), int(batches.rotation[task, 0, 0])
        expected = torch.rot90(torch.tensor(store.images[index]), turns, (-2, -1)) / 255
        torch.testing.assert_close(images[task, 0], expected)


@pytest.mark.parametrize("mode", ["replacement", "passes"])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_inner_step(benchmark, store, backend, spec, mode):
    """All steps of a meta-iteration, drawing its tasks included, divided by the number of steps."""
    episodes = Episodes(store, np.arange(964), spec, seed=0)
    check(episodes, 0)
    first = iter(range(0, 10**9, TASKS))

    def meta_iteration():
        start = next(first)
        batches = episodes.batches(episodes.tasks(range(start, start + TASKS)), BATCH, STEPS, mode)
        for t in range(STEPS):
            batches.step(t)

    benchmark.pedantic(meta_iteration, rounds=200, warmup_rounds=20)
    per_step = benchmark.stats.stats.median / STEPS
    benchmark.extra_info.update(backend=backend, step_ms=1e3 * per_step, target_ms=1e3 * TARGET_SECONDS)
    assert backend != "cpp" or per_step < TARGET_SECONDS


def test_one_step_alone(benchmark, store, backend):
    """A single step with its own indices, nothing shared between steps."""
    episodes = Episodes(store, np.arange(964), SPECS["20-way 10-shot"], seed=0)
    tasks = episodes.tasks(range(TASKS))
    check(episodes, 0)
    steps = iter(range(10**9))
    benchmark.pedantic(
        lambda: episodes.batches(tasks, BATCH, 1, "replacement", first_step=next(steps)).step(0),
        rounds=500,
        warmup_rounds=20,
    )
    median = benchmark.stats.stats.median
    benchmark.extra_info.update(backend=backend, step_ms=1e3 * median, target_ms=1e3 * TARGET_SECONDS)
    assert backend != "cpp" or median < TARGET_SECONDS
