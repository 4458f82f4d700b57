import os
from pathlib import Path

import numpy as np
import pytest

from autometa.data import ClassEntry, ImageStore, Recipe, write_store
from autometa.data.omniglot import open_omniglot


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache, monkeypatch):
    """No test reads or writes the user's cache."""
    monkeypatch.setenv("AUTOMETA_CACHE", str(cache))


@pytest.fixture(scope="session")
def omniglot_root():
    for root in (os.environ.get("AUTOMETA_DATA"), Path(__file__).parents[3] / "shared" / "data"):
        for folder in (Path(root), Path(root) / "omniglot") if root else ():
            if (folder / "images_background.zip").exists() and (folder / "images_evaluation.zip").exists():
                return folder
    pytest.skip("Omniglot's zips are not here: set AUTOMETA_DATA to their folder")


@pytest.fixture(scope="session")
def omniglot(omniglot_root, cache):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOMETA_CACHE", str(cache))
        return open_omniglot(root=omniglot_root)


def build_store(folder, counts, size=6, channels=1, seed=0):
    """A store of random images with classes `Group<c // 2>/class<c>` of the given numbers of images."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (sum(counts), channels, size, size), dtype=np.uint8)
    classes = [
        ClassEntry(f"Group{c // 2}/class{c}", f"Group{c // 2}", "train", count) for c, count in enumerate(counts)
    ]
    path = folder / f"store{seed}"
    write_store(path, "random", Recipe(channels, size, "box", "as-is"), classes, images)
    return ImageStore.open(path), images


@pytest.fixture
def make_store(tmp_path):
    return lambda counts, **kwargs: build_store(tmp_path, counts, **kwargs)
