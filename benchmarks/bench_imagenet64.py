"""Natural images, 64x64 JPEG: converted, and drawn as few-shot batches, beside a plain Pillow-and-DataLoader pipeline.

    AUTOMETA_DATA=... python -m pytest benchmarks/bench_imagenet64.py --benchmark-only

Needs `imagenet64/imagenet64.zip` in AUTOMETA_DATA. `extra_info` holds images per second.
"""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from autometa.data import Episodes, TaskSpec, open_dataset
from autometa.data.formats.recognise import recognise
from autometa.data.prepare import processors, read_all, recipe_of

TASKS, WAYS, SHOTS, STEPS = 10, 5, 15, 5
CONVERTED = 2000
SIZE = 64


@pytest.fixture(scope="module")
def place():
    found = Path(os.environ.get("AUTOMETA_DATA", "nowhere")) / "imagenet64/imagenet64.zip"
    if not found.exists():
        pytest.skip("AUTOMETA_DATA has no imagenet64/imagenet64.zip")
    return found


class JpegFiles(Dataset):
    """What a training script does without a store: open, convert and scale each image when it is drawn."""

    def __init__(self, archive: Path, folder: Path, per_class: int = SHOTS):
        taken: dict[str, list[Path]] = {}
        with zipfile.ZipFile(archive) as opened:
            (table,) = [name for name in opened.namelist() if name.endswith("train.csv")]
            for row in opened.read(table).decode().splitlines()[1:]:
                file, label = row.split(",")
                if len(taken.setdefault(label, [])) < per_class:
                    path = folder / file
                    path.write_bytes(opened.read(f"{table.removesuffix('train.csv')}images/{file}"))
                    taken[label].append(path)
        self.classes = list(taken.values())

    def __len__(self) -> int:
        return TASKS * WAYS * SHOTS

    def __getitem__(self, index: int) -> torch.Tensor:
        task, rest = divmod(index, WAYS * SHOTS)
        chosen = np.random.default_rng(task).permutation(len(self.classes))[:WAYS]
        path = self.classes[chosen[rest // SHOTS]][rest % SHOTS]
        with Image.open(io.BytesIO(path.read_bytes()), formats=("JPEG", "PNG")) as image:
            pixels = np.asarray(image.convert("RGB").resize((SIZE, SIZE)), dtype=np.float32)
        return torch.from_numpy(pixels).permute(2, 0, 1) / 255


@pytest.mark.parametrize("threads", sorted({1, processors()}))
def test_convert(benchmark, place, threads):
    found = recognise(place)
    sources = [source for c in found.classes for source in c.images][:CONVERTED]
    how = recipe_of(found, SIZE)

    def convert() -> int:
        return sum(1 for _ in read_all(sources, how, threads))

    assert benchmark.pedantic(convert, rounds=3, warmup_rounds=1) == CONVERTED
    benchmark.extra_info["images per second"] = round(CONVERTED / benchmark.stats.stats.median)


def test_draw_from_the_store(benchmark, place):
    store, split = open_dataset(place, size=SIZE, variant="colour")
    episodes = Episodes(store, split.train, TaskSpec(WAYS, SHOTS, 0), 0)
    drawn = iter(range(10**9))

    def draw() -> torch.Tensor:
        first = next(drawn) * TASKS
        batches = episodes.batches(episodes.tasks(range(first, first + TASKS)), WAYS * SHOTS, STEPS, "passes")
        return batches.step(0)[0]

    assert benchmark(draw).shape == (TASKS, WAYS * SHOTS, 3, SIZE, SIZE)
    benchmark.extra_info["images per second"] = round(TASKS * WAYS * SHOTS / benchmark.stats.stats.median)


@pytest.mark.parametrize("workers", [0, processors()])
def test_draw_with_pillow_and_dataloader(benchmark, place, tmp_path, workers):
    loader = DataLoader(JpegFiles(place, tmp_path), batch_size=WAYS * SHOTS, num_workers=workers)

    def draw() -> int:
        return sum(len(batch) for batch in loader)

    assert benchmark.pedantic(draw, rounds=3, warmup_rounds=1) == TASKS * WAYS * SHOTS
    benchmark.extra_info["images per second"] = round(TASKS * WAYS * SHOTS / benchmark.stats.stats.median)
