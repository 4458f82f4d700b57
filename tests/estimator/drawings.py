"""Characters of the built-in strokes, as people hold images: files, Pillow images, arrays, tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from autometa.data.strokes import Hand, StrokesConfig, alphabet_characters, write_drawings


def strokes(characters: int = 5, drawings: int = 6, size: int = 28, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """uint8 `[characters * drawings, size, size]`, black ink on white, and their numbers `[characters * drawings]`."""
    config = StrokesConfig(alphabets=3, characters=characters, drawings=drawings, size=size, seed=seed)
    ink = write_drawings(config, 0, alphabet_characters(config, 0), Hand())
    return 255 - ink, np.repeat(np.arange(characters), drawings)


def shots(images: np.ndarray, labels: np.ndarray, count: int = 1) -> tuple[np.ndarray, ...]:
    """Support images and labels, `count` of each class, then those of all the others."""
    place = np.concatenate([np.arange((labels == c).sum()) for c in np.unique(labels)])
    first = place < count
    return images[first], labels[first], images[~first], labels[~first]


def photographed(image: np.ndarray, seed: int = 0) -> np.ndarray:
    """The drawing as a camera sees it, uint8 `[6 h, 6 w]`: grey paper, uneven light, noise."""
    height, width = (6 * n for n in image.shape)
    clear = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)) / 255
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    light = 0.65 + 0.12 * x - 0.08 * y - 0.06 * x * y
    noise = np.random.default_rng(seed).normal(0, 0.02, (height, width))
    return (255 * (light * (0.35 + 0.65 * clear) + noise).clip(0, 1)).astype(np.uint8)


def saved(images: np.ndarray, folder: Path) -> list[Path]:
    """The images as files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:03d}.png" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    return paths
