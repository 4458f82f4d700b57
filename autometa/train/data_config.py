"""Which images a run takes, and how: a config piece of every algorithm."""

from __future__ import annotations

from dataclasses import dataclass

from autometa.data.images import FITS
from autometa.data.names import READING
from autometa.ops.augment_images import Augment

ANY, WITHIN_GROUP = TASKS = ("any", "within-group")


@dataclass(frozen=True)
class DataConfig:
    """Which images.

    Args:
        name: data set and split, e.g. `omniglot:background`, `omniglot:vinyals`, `omniglot:reptile`, `strokes`.
        image_size: height and width in pixels.
        variant: conversion; of Omniglot `ink` (box filter, ink = 255) or `reptile` (nearest, background = 255), of a
            folder `ink`, `grey` or `colour`.
        root: folder of the original files; AUTOMETA_DATA where None.
        seed: of splits that are shuffled and of drawn data sets.
        rotations: 4 makes each quarter turn of a class a class of its own, of the same part; 1 none; where None as the
            split has it.
        reading: how names and folders are read. 2: names composed (Unicode NFC) before they are compared and hashed,
            pictures below a class folder are its own; 1: as stored, as runs read them that do not say it.
        tasks: classes of a task: `any`, or those of one group (`within-group`): an alphabet, or what stands together in
            a folder of class folders, as a meter or a product line.
        augment: how pictures of training tasks are changed at random; those of tests never are.
        fit: of pictures of a folder: `crop` takes the middle of those that are no squares, `stretch` all, out of
            proportion, `ink` puts a drawing's ink into the middle, as large as the image has room.
    """

    name: str = "omniglot:background"
    image_size: int = 28
    variant: str = "ink"
    root: str | None = None
    seed: int = 0
    rotations: int | None = None
    reading: int = READING
    tasks: str = ANY
    augment: Augment = Augment()
    fit: str = FITS[0]
