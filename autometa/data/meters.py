"""Digits of sixteen utility meters, photographed (haverland/Tenth-of-step-of-a-meter-digit, Apache-2.0)."""

from __future__ import annotations

import os
from itertools import chain
from pathlib import Path

import numpy as np

from autometa.data.errors import DataError
from autometa.data.folders import recipe
from autometa.data.formats.recognise import recognise
from autometa.data.formats.sources import SourceClass
from autometa.data.images import Recipe
from autometa.data.prepare import label_of, processors, read_all
from autometa.data.splits import SAME, Split
from autometa.data.store import ClassEntry, ImageStore, cached_store, write_store

FOLDS = (
    ("camera-46", "lcd-second", "power-iskra", "water-geraete"),
    ("camera-51", "power-betar", "power-miboe", "water-integra"),
    ("digits-raw", "power-emeter1", "water-abl", "water-techem"),
    ("lcd-first", "power-iotson", "water-altair", "water-metrona"),
)
"""Meters that are left out together: every fourth by name, but that lcd-first and water-metrona share 88 pictures and
stand in one fold, so that water-techem has the other's place."""
METERS = tuple(sorted(chain(*FOLDS)))
POOLS = 4
"""Groups, beside the meters, whose classes are a digit of all training meters: what a meter is trained together."""
POOLED = "all-meters-{}"


def find_meters(root: str | Path | None = None) -> Path:
    """The archive or folder of the meters, in `root` or AUTOMETA_DATA or a `meters` folder within."""
    given = root or os.environ.get("AUTOMETA_DATA")
    wanted = "put meters.zip (or its extracted folder meters)"
    if not given:
        raise DataError(f"the meters are needed: {wanted} into a folder and set AUTOMETA_DATA to it")
    base = Path(os.path.expanduser(given))
    for place in (base / "meters.zip", base / "meters" / "meters.zip", base / "meters"):
        if place.exists():
            return place
    raise DataError(f"neither {base} nor {base / 'meters'} holds meters.zip: {wanted} there")


def left_out(detail: str) -> tuple[str, ...]:
    """The meters of a fold by its number, none where `detail` is empty. Raises `DataError` for anything else."""
    if not detail:
        return ()
    if detail not in map(str, range(len(FOLDS))):
        raise DataError(f"unknown fold {detail!r} of the meters; choose from 0 to {len(FOLDS) - 1}, or name none")
    return FOLDS[int(detail)]


def load(
    detail: str, size: int, root: str | Path | None, variant: str, pools: int = POOLS, **_: object
) -> tuple[ImageStore, Split]:
    """digits of sixteen utility meters; meters:0 to meters:3 leave four of them out, and test on these

    detail: number of the fold, empty: all train, and the same are tested on. Pictures are stretched to squares: they
    are tall, and the middle is not the digit. Raises `DataError` where data are missing.
    """
    held = left_out(detail)
    dataset = recognise(find_meters(root))
    found = tuple(sorted({c.group for c in dataset.classes}))
    if found != METERS:
        raise DataError(f"{dataset.path} holds other meters than the sixteen of meters.zip; fetch it again")
    how = recipe(size, variant, "stretch")
    classes = [(replaced(c, "test" if c.group in held else "train")) for c in dataset.classes]
    classes += list(chain.from_iterable(pooled(classes, n) for n in range(pools)))
    store = cached_store(
        f"meters-{detail or 'all'}-{pools}", label_of(dataset, how), lambda path: _convert(path, classes, how)
    )
    return store, meters_split(store, detail)


def replaced(c: SourceClass, part: str) -> SourceClass:
    """The class in a part."""
    return SourceClass(c.name, c.group, part, c.images)


def pooled(classes: list[SourceClass], number: int) -> list[SourceClass]:
    """The digits of all training meters, each a class of a group of its own."""
    members: dict[str, list] = {}
    for c in classes:
        if c.part == "train":
            members.setdefault(c.name.rpartition("/")[2], []).extend(c.images)
    group = POOLED.format(number)
    return [SourceClass(f"{group}/{digit}", group, "train", images) for digit, images in sorted(members.items())]


def _convert(path: Path, classes: list[SourceClass], how: Recipe) -> None:
    entries = [ClassEntry(c.name, c.group, c.part, len(c.images)) for c in classes]
    sources = [source for c in classes for source in c.images]
    write_store(path, "meters", how, entries, read_all(sources, how, processors()))


def meters_split(store: ImageStore, detail: str) -> Split:
    """Meters of a fold to test on, all others and their digits together to train on."""
    parts, groups = np.array(store.parts), np.array(store.groups)
    single = np.isin(groups, METERS)
    train = np.flatnonzero(parts == "train").astype(np.int64)
    test = np.flatnonzero(parts == "test" if detail else single).astype(np.int64)
    name = f"meters, fold {detail} left out" if detail else f"all meters, {SAME}"
    return Split(name, train, test[:0], test)
