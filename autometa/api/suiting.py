"""A preset or config file asked for on a person's own images: where it does not serve them, it is suited to them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from autometa.api.photos import Photos, fitted, look, own_photos, told
from autometa.api.settings import read_yaml
from autometa.data.folders import class_split
from autometa.data.names import twice
from autometa.train.run_config import RunConfig


def said_in(config: str | os.PathLike | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a config file and the command line say."""
    return {**(read_yaml(config) if config is not None else {}), **settings}


def to_images(
    base: RunConfig, config: str | os.PathLike | None, settings: Mapping[str, Any], settled: Callable[..., RunConfig]
) -> tuple[RunConfig, tuple[str, ...]]:
    """The config that `settled` makes of a base, and notices: where it names a person's own images that it does not
    serve, the base is suited to them first. Raises `InputError` where there are too few."""
    made, said = settled(base, config, settings), said_in(config, settings)
    path = own_photos(said)
    if path is None:
        return made, ()
    seen = look(path)
    if "data.variant" in said:
        seen = replace(seen, variant=made.data.variant)
    if seen.published or serves(made, seen):
        return made, ()
    made = settled(suited(base, seen, said), config, settings)
    return made, tuple(told(made, seen))


def serves(config: RunConfig, photos: Photos) -> bool:
    """Whether the settings are for such images as they are: of their kind, and asking for no more than there is."""
    data, inner, test = config.data, config.inner, config.test
    if not _alike(config, photos) or (photos.store and data.image_size != photos.side) or twice(photos.names):
        return False
    split = class_split(photos.names, photos.parts, photos.split, data.rotations, data.reading)
    train = split.without_val().train if config.selects or test.part == "val" else split.train
    asked = [(train, inner.ways, inner.shots, split.train_rotations)]
    for how in (getattr(config, name) for name in config.tests):
        classes, turns = (split.test, split.test_rotations) if how.part == "test" else (split.val, split.val_rotations)
        asked.append((classes, inner.ways, how.shots + how.queries, turns))
    counts = np.array(photos.counts)
    return all(
        len(classes) * turns >= ways and (counts[classes] >= images).all() for classes, ways, images, turns in asked
    )


def suited(base: RunConfig, photos: Photos, settings: Mapping[str, Any]) -> RunConfig:
    """Settings of a preset for such images, where as they are they do not serve: as `fitted`, but the preset's size
    where it is for images of their kind. Raises as `fitted` does."""
    if photos.store or not _alike(base, photos):
        return fitted(base, photos, settings)
    made = fitted(base, replace(photos, variant=base.data.variant), settings)
    return replace(made, data=replace(made.data, image_size=base.data.image_size))


def _alike(config: RunConfig, photos: Photos) -> bool:
    """Whether the settings are for images of this kind; those for images in colour take all, losing nothing."""
    return config.data.variant in (photos.variant, "colour")


def resumed(base: RunConfig, own: RunConfig) -> RunConfig:
    """A preset with what was fitted to the images when the run `own` began."""

    def kept(name: str, *settings: str) -> Any:
        before = getattr(own, name)
        return replace(getattr(base, name), **{setting: getattr(before, setting) for setting in settings})

    inners = {name: kept(name, "ways", "shots", "batch") for name in own.inners}
    tests = {name: kept(name, "shots", "queries", "batch") for name in own.tests}
    return replace(base, data=replace(own.data, name=base.data.name), **inners, **tests)
