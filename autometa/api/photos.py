"""Settings of a search on a person's own photos, chosen from the photos: size, colour, ways, shots, length.

The one place that decides size, colour and polarity of a person's own images: for search, train and `data` alike.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from autometa.api.settings import value_of
from autometa.brief import brief
from autometa.data import ImageStore, dataset_names
from autometa.data.folders import FEW, class_split
from autometa.data.formats import class_folders, table
from autometa.data.formats.omniglot import root_of as omniglot_root
from autometa.data.formats.recognise import forget, recognise
from autometa.data.formats.sources import ImageFile, ImageSource, SourceDataset
from autometa.data.image_files import opened
from autometa.data.kinds import SMALL, kind_of, sample
from autometa.data.names import twice
from autometa.data.prepare import recipe_of
from autometa.data.splits import Split
from autometa.data.store import META
from autometa.errors import InputError
from autometa.train.config import EvalConfig, InnerConfig
from autometa.train.cost import nominal_iterations
from autometa.train.run_config import RunConfig

PHOTOS = "photos"
"""The preset that is fitted to the images."""
LEAST_CLASSES, LEAST_IMAGES = 5, 2
SIZES = {"ink": (14, 20, 28), "grey": (14, 20, 28), "colour": (20, 28, 32)}
"""Sizes that a search of a few minutes can afford, by variant."""
SECONDS = 270.0
"""The time budget where none is given: what is left of five minutes when adapting and predicting have had theirs."""


@brief
@dataclass(frozen=True)
class Photos:
    """What was seen of a set of images. side: median of the shorter sides in pixels, None where it is not known;
    store: whether they are converted already; published: whether they are a data set with a way of its own to be
    converted; counts: images per class."""

    path: Path
    names: tuple[str, ...]
    parts: tuple[str, ...]
    split: str
    counts: tuple[int, ...]
    variant: str
    side: int | None
    store: bool = False
    published: bool = False

    @property
    def channels(self) -> int:
        return 3 if self.variant == "colour" else 1


def own_photos(settings: Mapping[str, Any] | None) -> Path | None:
    """The person's own images that the settings name, None where they name a data set that is known here or nothing."""
    name = (settings or {}).get("data.name")
    if name is None or str(name).partition(":")[0] in {known.partition(":")[0] for known in dataset_names()}:
        return None
    path = Path(os.path.expanduser(name))
    if not str(name) or not path.exists() or (path.is_dir() and omniglot_root(path) is not None):
        return None
    return path


def look(path: Path) -> Photos:
    """Read names, and a few of the images. Raises `InputError` where nothing there can be used."""
    if (path / META).is_file():
        store = ImageStore.open(path)
        about = tuple(store.class_names), tuple(store.parts), store.split, tuple(np.diff(store.class_start).tolist())
        colour = "grey" if store.recipe.polarity == "as-is" else "ink"
        return Photos(path, *about, "colour" if store.channels == 3 else colour, store.size, store=True)
    found = recognise(path)
    try:
        return seen(found, path)
    except InputError:
        forget(found.archives)
        raise


def seen(found: SourceDataset, path: Path) -> Photos:
    """What a look at a few images of a recognised set shows. Raises `InputError` where none of them can be read."""
    sources = [source for c in found.classes for source in c.images]
    looked_at = sample(sources)
    names, parts = tuple(c.name for c in found.classes), tuple(c.part for c in found.classes)
    counts = tuple(len(c.images) for c in found.classes)
    about = path, names, parts, found.split, counts, variant_of(looked_at), _side(looked_at)
    own = found.format in (class_folders.FORMAT, table.FORMAT) and found.name not in class_folders.COLOUR
    return Photos(*about, published=not own)


def chosen(found: SourceDataset, path: Path, size: int | None = None, variant: str | None = None) -> tuple[int, str]:
    """Size and variant by which a recognised set is converted, of which one or both may be asked for: a person's own
    images as a search would take them, a published set in its own way."""
    if size is not None and variant is not None:
        return size, variant
    photos = seen(found, path)
    variant = variant or (found.variant if photos.published else photos.variant)
    if size is None:
        size = recipe_of(found, None, variant).size if photos.published else _size(photos, variant)
    return size, variant


def variant_of(sources: Sequence[ImageSource]) -> str:
    """`colour`, or `ink` where the images are dark on light, or `grey`; by those images that can be read.

    Raises `InputError` where none can.
    """
    read, bad = [], None
    for source in sources:
        try:
            read.append(source.read(SMALL))
        except InputError as error:
            bad = bad or error
    if not read:
        raise bad
    return kind_of(np.stack(read))


def _side(sources: Sequence[ImageSource]) -> int | None:
    sides = []
    for source in sources:
        if isinstance(source, ImageFile):
            with contextlib.suppress(InputError), opened(source.path, source.name) as image:
                sides.append(min(image.size))
    return int(np.median(sides)) if sides else None


def fitted(base: RunConfig, photos: Photos, settings: Mapping[str, Any]):
    """`base` for these images: data, ways, shots, batches. settings: of the command line, which come first.

    Raises `InputError` where there are too few classes or images.
    """
    said = value_of(settings.get("data.rotations"), int | None, "data.rotations")
    rotations = said if said in (1, 4) else 4 if len(photos.names) < FEW else 1
    split = _checked(photos, rotations)
    ways = _ways(split, base.selects, base.inner.ways)
    counts = np.array(photos.counts)
    shots = int(min(base.inner.shots, counts[split.train].min()))
    variant = str(settings.get("data.variant") or photos.variant)
    size = _size(photos, variant)
    data = replace(base.data, name=str(photos.path), image_size=size, variant=variant, rotations=rotations)

    def inner(how: InnerConfig) -> InnerConfig:
        return replace(how, ways=ways, shots=shots, batch=min(how.batch, ways * shots))

    def test(how: EvalConfig) -> EvalConfig:
        least = int(counts[split.test if how.part == "test" else split.val].min())
        shots = min(how.shots, least - 1)
        return replace(how, shots=shots, queries=min(how.queries, least - shots), batch=min(how.batch, ways * shots))

    inners = {name: inner(getattr(base, name)) for name in base.inners}
    return replace(base, data=data, **inners, **{name: test(getattr(base, name)) for name in base.tests})


def with_length(config: RunConfig, channels: int, seconds: float) -> RunConfig:
    """A search that trains one network, with as many meta-iterations as fit into `seconds` with room to spare."""
    if config.handed_out() is not config:
        return config
    macs = config.build((channels, config.data.image_size, config.data.image_size)).macs()
    return config.with_iterations(nominal_iterations(macs, config, seconds))


def told(config: RunConfig, photos: Photos) -> list[str]:
    """What was seen and chosen, a line each."""
    data, inner = config.data, config.inner
    split = class_split(photos.names, photos.parts, photos.split, data.rotations)
    few, many = min(photos.counts), max(photos.counts)
    images = f"{few}" if few == many else f"{few} to {many}"
    kind = {"ink": "dark on light", "colour": "in colour"}.get(data.variant, data.variant)
    lines = [
        f"{photos.path.name}: {len(photos.names)} classes with {images} images each, taken as {kind}, "
        f"{data.image_size} x {data.image_size} pixels",
        f"{len(split.train)} classes to search on, {len(split.test)} kept back to test on; tasks of {inner.ways} "
        f"classes with {inner.shots} images",
    ]
    if data.rotations == 4:
        lines.append(
            "few classes: each is turned by 90, 180 and 270 degrees as well, each turn a class of its own "
            "(--rotations 1: not)"
        )
    if inner.shots < 5:
        least = photos.names[int(np.argmin(photos.counts))]
        lines.append(f"class {least} has only {few} images: 5 to 20 of every class would teach more")
    return lines


def _checked(photos: Photos, rotations: int) -> Split:
    """The split, where there is enough for one."""
    many, place = len(photos.names), photos.path.name
    if many < LEAST_CLASSES:
        raise InputError(
            f"{place} holds {many} classes, a search needs at least {LEAST_CLASSES} (folders of {LEAST_IMAGES} or more "
            "images each): 12 or more are better; to tell a few classes apart, adapt an earlier run to them"
        )
    double = twice(photos.names)
    if double is not None:
        raise InputError(f"{place} has two classes named {double}; rename one")
    short = [name for name, count in zip(photos.names, photos.counts, strict=True) if count < LEAST_IMAGES]
    if short:
        more = f" (and {len(short) - 1} classes more)" if len(short) > 1 else ""
        raise InputError(
            f"class {short[0]} of {place}{more} has 1 image, a search needs at least {LEAST_IMAGES} of every class: "
            "5 to 20 are better"
        )
    split = class_split(photos.names, photos.parts, photos.split, rotations)
    if min(len(split.train), len(split.test)) * rotations < 2:
        raise InputError(
            f"{place} has {len(split.train)} classes to train on and {len(split.test)} to test on, a search needs "
            "at least 2 of each; move some, or put all class folders into one"
        )
    return split


def _ways(split: Split, selects: bool, most: int) -> int:
    """Classes of a task that every part has, up to `most`; selects: by validation classes, which then do not train."""
    train = split.without_val().train if selects else split.train
    parts = [len(train) * split.train_rotations, len(split.test) * split.test_rotations]
    return min(most, *parts, *([len(split.val) * split.val_rotations] if selects else []))


def _size(photos: Photos, variant: str) -> int:
    """The largest of `SIZES` that the images have; that of a store is fixed."""
    if photos.store:
        return photos.side
    sizes = SIZES.get(variant, SIZES["grey"])
    return max((size for size in sizes if photos.side is None or size <= photos.side), default=sizes[0])
