"""Yardsticks that learn nothing: chance, and the nearest class mean of simple features, on a run's own test tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor

from autometa.data import Episodes
from autometa.train.config import EvalConfig
from autometa.train.scores import Score
from autometa.train.tasks import Source, chunks

MODE = "support_statistics"
TASKS = 200
"""Test tasks at most that the yardsticks answer: seconds, whatever the run's own test takes."""
AT_ONCE = 2**23
"""Pixels of images whose features are computed together, all channels counted."""
ORIENTATIONS, CELLS, BINS = 8, 4, 4
NAMES = {
    "pixels": "class means of the pixels",
    "gradients": "class means of a histogram of gradients",
    "colours": "class means of a histogram of colours",
}


def pixels(images: np.ndarray) -> np.ndarray:
    """float32 `[n, C, H, W]` in 0 .. 1 -> `[n, C * H * W]`."""
    return images.reshape(len(images), -1)


def gradients(images: np.ndarray) -> np.ndarray:
    """Histograms of oriented gradients (Dalal and Triggs 2005) of the grey image, over CELLS x CELLS cells, each of
    length 1: `[n, CELLS * CELLS * ORIENTATIONS]`."""
    grey = images.mean(axis=1)
    down, right = np.zeros_like(grey), np.zeros_like(grey)
    down[:, 1:-1] = grey[:, 2:] - grey[:, :-2]
    right[:, :, 1:-1] = grey[:, :, 2:] - grey[:, :, :-2]
    bins = np.floor(np.mod(np.arctan2(down, right), np.pi) / np.pi * ORIENTATIONS).astype(np.int64) % ORIENTATIONS
    height, width = grey.shape[1:]
    cell = (np.arange(height) * CELLS // height)[:, None] * CELLS + np.arange(width) * CELLS // width
    found = _histogram(cell * ORIENTATIONS + bins, CELLS * CELLS * ORIENTATIONS, np.hypot(down, right))
    blocks = found.reshape(len(images), -1, ORIENTATIONS)
    return (blocks / (np.linalg.norm(blocks, axis=2, keepdims=True) + 1e-3)).reshape(len(images), -1)


def colours(images: np.ndarray) -> np.ndarray:
    """Share of pixels of each colour, BINS levels a channel, under the square root (Hellinger's distance):
    `[n, BINS ** C]`; of grey images, of each grey level in as many levels as there are pairs of two: BINS ** 2."""
    channels = images.shape[1]
    levels = BINS if channels > 1 else BINS**2
    code = np.zeros(images[:, 0].shape, np.int64)
    for c in range(channels):
        code = code * levels + np.minimum((images[:, c] * levels).astype(np.int64), levels - 1)
    return np.sqrt(_histogram(code, levels**channels) / code[0].size)


FEATURES = {"pixels": pixels, "gradients": gradients, "colours": colours}


def _histogram(codes: np.ndarray, size: int, weights: np.ndarray | None = None) -> np.ndarray:
    """Of each image: codes int64 `[n, H, W]` below `size` -> float64 `[n, size]`."""
    n = len(codes)
    flat = (codes.reshape(n, -1) + np.arange(n)[:, None] * size).ravel()
    return np.bincount(flat, None if weights is None else weights.ravel(), n * size).reshape(n, size)


def nearest_means(support: np.ndarray, queries: np.ndarray, ways: int) -> np.ndarray:
    """Answers `[T, Q]` of the nearest class mean: support `[T, ways * shots, F]`, slot by slot, queries `[T, Q, F]`."""
    means = support.reshape(len(support), ways, -1, support.shape[-1]).mean(axis=2)
    distance = (means**2).sum(axis=2)[:, None] - 2 * queries @ means.transpose(0, 2, 1)
    return distance.argmin(axis=2)


def answered(episodes: Episodes, tasks: int) -> dict[str, np.ndarray]:
    """Share of right answers of each of the first `tasks` tasks, float64 `[tasks]`, by feature."""
    spec = episodes.spec
    each = spec.ways * spec.images_per_class * episodes.store.images[0].size
    true = np.repeat(np.arange(spec.ways), spec.queries)
    found: dict[str, list[np.ndarray]] = {name: [] for name in FEATURES}
    for start, stop in chunks(tasks, max(1, AT_ONCE // each)):
        drawn = episodes.tasks(torch.arange(start, stop, device="cpu"))
        parts = [images.cpu().numpy() for images, _ in (episodes.support(drawn), episodes.queries(drawn))]
        for name, feature in FEATURES.items():
            support, queries = (
                feature(p.reshape(-1, *p.shape[2:])).reshape(*p.shape[:2], -1).astype(np.float64) for p in parts
            )
            found[name].append((nearest_means(support, queries, spec.ways) == true).mean(axis=1))
    return {name: np.concatenate(shares) for name, shares in found.items()}


def baselines(source: Source, ways: int, test: EvalConfig, right: Tensor) -> dict:
    """Percent by chance and by each feature, and how far the network is ahead of it on the same tasks, paired.

    right: the network's share of right answers of each test task `[T]`, by support statistics. `verdict`: a sentence
    where the network does not surely beat one of them, else None.
    """
    tasks, right = min(TASKS, len(right)), right.double()
    made: dict = {"mode": MODE, "tasks": tasks, "chance": 100 / ways, "network": asdict(Score.of(right[:tasks]))}
    for name, shares in answered(source.testing(ways, test), tasks).items():
        own = torch.from_numpy(shares)
        made[name] = {**asdict(Score.of(own)), "ahead": asdict(Score.of(right[:tasks] - own))}
    whole = Score.of(right)
    made["verdict"] = _verdict(made, whole)
    return made


def _verdict(made: Mapping, whole: Score) -> str | None:
    if whole.mean - _width(whole.ci95) <= made["chance"]:
        return (
            f"Nothing was learned: {whole.mean:.1f} % is no better than guessing ({made['chance']:.1f} %) "
            f"over {whole.tasks} task{'s' * (whole.tasks > 1)}."
        )
    beside = {name: made[name] for name in NAMES if made[name]["ahead"]["mean"] <= _width(made[name]["ahead"]["ci95"])}
    if not beside:
        return None
    name = max(beside, key=lambda name: beside[name]["mean"])
    best, tasks = beside[name], made["tasks"]
    width = "" if math.isnan(best["ahead"]["ci95"]) else f" ± {best['ahead']['ci95']:.1f}"
    return (
        f"The network does not beat {NAMES[name]}, which learn nothing: {made['network']['mean']:.1f} against "
        f"{best['mean']:.1f} %, ahead by {best['ahead']['mean']:.1f}{width} over the same {tasks} "
        f"task{'s' * (tasks > 1)}."
    )


def _width(ci95: float) -> float:
    """Of an interval; of one task, which shows no spread, none."""
    return 0.0 if math.isnan(ci95) else ci95
