"""Conversion: killed and begun again, in flat memory, whichever number of threads decodes."""

import os
import signal
import subprocess
import sys
import time
import tracemalloc
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autometa.data.formats.sources import SourceClass, SourceDataset
from autometa.data.images import Recipe
from autometa.data.prepare import AHEAD, prepare, read_all, without_bad


@dataclass(frozen=True)
class Number:
    """An image that shows its own number, slower the smaller it is."""

    value: int
    name: str = ""

    def read(self, recipe: Recipe) -> np.ndarray:
        time.sleep(0.002 * (self.value % 3 == 0))
        return np.full((recipe.channels, recipe.size, recipe.size), self.value % 256, np.uint8)


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_images_come_in_order(threads):
    found = [int(image[0, 0, 0]) for image in read_all([Number(k) for k in range(200)], Recipe(size=2), threads)]
    assert found == list(range(200))


def test_a_taker_that_stops_early_stops_the_readers():
    images = read_all([Number(k) for k in range(100_000)], Recipe(size=2), 2)
    assert next(images)[0, 0, 0] == 0
    before = time.monotonic()
    images.close()
    assert time.monotonic() - before < 2


def test_memory_does_not_grow_with_the_set():
    image, threads, count = 84 * 84 * 3, 2, 2000
    sources = [Number(3 * k + 1) for k in range(count)]
    tracemalloc.start()
    for _ in read_all(sources, Recipe(channels=3, size=84), threads):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    in_flight = (AHEAD * threads + threads + 1) * 2 * image  # each perhaps with the copy it was made from
    assert peak < in_flight + 1_000_000 < count * image / 5, "how many wait depends on the clock, never on the set"


def test_leaving_out_keeps_order_and_parts():
    classes = tuple(SourceClass(f"c{k}", "g", "train", tuple(Number(10 * k + i) for i in range(3))) for k in range(4))
    found = SourceDataset("made", "made", Path("."), classes, "", "grey", "")
    kept, bad = without_bad(found, Recipe(size=2), 2)
    assert kept == found and bad == []


def test_killed_and_begun_again(tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    monkeypatch.setenv("AUTOMETA_CACHE", str(cache))
    for name in ("a", "b"):
        (tmp_path / "mine" / name).mkdir(parents=True)
        for k in range(150):
            pixels = np.random.default_rng(k).integers(0, 256, (128, 128, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "mine" / name / f"{k:03d}.png")
    environment = {**os.environ, "AUTOMETA_CACHE": str(cache), "PATH": ""}
    words = [sys.executable, "-m", "autometa", "data", "prepare", str(tmp_path / "mine"), "-q"]
    child = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while child.poll() is None and not list(cache.glob(".*.tmp-*/images.npy")):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert child.returncode == -signal.SIGKILL, "it was fast enough to end before it could be killed"
    assert not list(cache.glob("mine-*"))
    store = prepare(tmp_path / "mine", size=32, variant="colour").store
    store.verify()
    assert len(store.images) == 300 and not list(cache.glob(".*.tmp-*"))
