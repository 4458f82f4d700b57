"""Episodes from their numbers, and one inner step's batch with everything in it."""

import torch

from autometa.ops.batch_indices import batch_indices
from autometa.ops.gather_images import gather_images
from autometa.ops.sample_tasks import sample_tasks
from benchmarks.measure import side_by_side

CLASSES, PER_CLASS = 1200, 20
START, CHOICE = torch.arange(0, CLASSES * PER_CLASS + 1, PER_CLASS), torch.arange(CLASSES)
TASKS = torch.arange(10)
EPISODE = {"rotations": 4, "ways": 20, "shots": 10, "queries": 1, "seed": 0}


def test_sample_tasks(benchmark):
    def run(backend):
        return sample_tasks(START, CHOICE, TASKS, **EPISODE, backend=backend)

    ratios = side_by_side(benchmark, lambda: run("cpp"), {"reference": lambda: run("reference")})
    assert ratios["reference"] > 1


def test_one_inner_steps_batch(benchmark):
    """10 tasks x 20 images at 28x28, episodes and indices included, on one thread: meant to take < 2 ms."""
    made = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (CLASSES * PER_CLASS, 1, 28, 28), dtype=torch.uint8, generator=made)
    scale, shift = torch.tensor([1 / 255]), torch.zeros(1)
    out = torch.empty(10, 20, 1, 28, 28)

    def run(backend):
        image, rotation, _ = sample_tasks(START, CHOICE, TASKS, **EPISODE, backend=backend)
        index = batch_indices(TASKS, n_items=200, batch=20, steps=1, seed=0, mode="replacement", backend=backend)[:, 0]
        support = image[..., :10].flatten(1).gather(1, index)
        turns = rotation.gather(1, index // 10)
        gather_images(images, support, turns, scale, shift, out=out, backend=backend)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ratios = side_by_side(benchmark, lambda: run("cpp"), {"reference": lambda: run("reference")})
    finally:
        torch.set_num_threads(threads)
    assert ratios["reference"] > 1
