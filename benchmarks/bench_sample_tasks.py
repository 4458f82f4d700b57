"""Episodes from their numbers, and one inner step's batch with everything in it."""

import pytest
import torch

from autometa.ops.batch_indices import batch_indices
from autometa.ops.gather_images import gather_images
from autometa.ops.sample_tasks import sample_tasks
from benchmarks.device import DEVICES, NATIVE
from benchmarks.measure import side_by_side

CLASSES, PER_CLASS = 1200, 20
EPISODE = {"rotations": 4, "ways": 20, "shots": 10, "queries": 1, "seed": 0}


def tables(device: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Where classes begin, those to choose from, and the numbers of ten tasks."""
    starts = torch.arange(0, CLASSES * PER_CLASS + 1, PER_CLASS, device=device)
    return starts, torch.arange(CLASSES, device=device), torch.arange(10, device=device)


@pytest.mark.parametrize("device", DEVICES)
def test_sample_tasks(benchmark, device):
    given = tables(device)

    def run(backend):
        return sample_tasks(*given, **EPISODE, backend=backend)

    rivals = {"reference": lambda: run("reference")}
    ratios = side_by_side(benchmark, lambda: run(NATIVE[device]), rivals, device=device)
    assert ratios["reference"] > 1


@pytest.mark.parametrize("device", DEVICES)
def test_one_inner_steps_batch(benchmark, device):
    """10 tasks x 20 images at 28x28, episodes and indices included, on one thread: meant to take < 2 ms."""
    made = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (CLASSES * PER_CLASS, 1, 28, 28), dtype=torch.uint8, generator=made)
    given, images = tables(device), images.to(device)
    scale, shift = torch.tensor([1 / 255], device=device), torch.zeros(1, device=device)
    out = torch.empty(10, 20, 1, 28, 28, device=device)
    options = {"n_items": 200, "batch": 20, "steps": 1, "seed": 0, "mode": "replacement"}

    def run(backend):
        image, rotation, _ = sample_tasks(*given, **EPISODE, backend=backend)
        index = batch_indices(given[2], **options, backend=backend)[:, 0]
        support = image[..., :10].flatten(1).gather(1, index)
        turns = rotation.gather(1, index // 10)
        gather_images(images, support, turns, scale, shift, out=out, backend=backend)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rivals = {"reference": lambda: run("reference")}
        ratios = side_by_side(benchmark, lambda: run(NATIVE[device]), rivals, device=device)
    finally:
        torch.set_num_threads(threads)
    assert ratios["reference"] > 1
