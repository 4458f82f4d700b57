"""`characters`: drawn and printed ones, of Omniglot's background alphabets, strokes and the fonts of this computer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from autometa.data.fonts import find_fonts, open_fonts
from autometa.data.omniglot import open_omniglot
from autometa.data.splits import Split
from autometa.data.store import ClassEntry, ImageStore, cached_store, write_store
from autometa.data.strokes import StrokesConfig, open_strokes

VALIDATION = (
    "Alphabet_of_the_Magi",
    "Anglo-Saxon_Futhorc",
    "Arcadian",
    "Balinese",
    "Early_Aramaic",
    "Futurama",
)
"""Background alphabets to choose settings by: of 20 characters or more, and in other forms than modern fonts have."""
TURNED = "{} turned {}"
"""A background alphabet by quarter turns is an alphabet of its own, so that no task holds a character twice."""
NO_FONTS = "none"
"""In place of a pattern: no fonts."""


def load(detail: str, size: int, root: str | Path | None, seed: int, **_: object) -> tuple[ImageStore, Split]:
    """Omniglot's background alphabets, strokes and fonts to train on, its evaluation alphabets to test on

    Background alphabets are there four times, by quarter turns. detail: which fonts, as for `fonts`; all of this
    computer where empty; `none`: no fonts. `val` are alphabets of the background, which train too unless a run is
    judged on them. Raises `DataError` where data are missing.
    """
    stores = [open_omniglot(size, "ink", root), open_strokes(StrokesConfig(size=size, seed=seed))]
    if detail != NO_FONTS:
        stores.append(open_fonts(find_fonts(detail or "*"), size))
    label = hashlib.sha256("\n".join(store.data_hash for store in stores).encode()).hexdigest()[:16]
    store = cached_store("characters", f"{size}-{label}-4", lambda path: _join(path, stores))
    return store, characters_split(store)


def _join(path: Path, stores: list[ImageStore]) -> None:
    """One store of all classes: those of Omniglot's evaluation set test, all others train."""
    classes, pixels = [], []
    for turns in range(4):
        for store in stores:
            chosen = [c for c, part in enumerate(store.parts) if turns == 0 or part == "background"]
            classes += [_entry(store, c, turns) for c in chosen]
            pixels.append(_images(store, chosen, turns))
    notice = "; ".join(store.notice for store in stores if store.notice)
    write_store(path, "characters", stores[0].recipe, classes, chain.from_iterable(pixels), notice=notice)


def _entry(store: ImageStore, c: int, turns: int) -> ClassEntry:
    """Of a class of a source, turned."""
    group, (_, _, name) = store.groups[c], store.class_names[c].partition("/")
    group = TURNED.format(group, turns) if turns else group
    count = int(store.class_start[c + 1] - store.class_start[c])
    return ClassEntry(f"{group}/{name}", group, "test" if store.parts[c] == "evaluation" else "train", count)


def _images(store: ImageStore, classes: list[int], turns: int) -> Iterator[np.ndarray]:
    for c in classes:
        yield from np.rot90(store.images[store.class_start[c] : store.class_start[c + 1]], turns, axes=(2, 3))


def characters_split(store: ImageStore) -> Split:
    """Everything but the evaluation alphabets trains; `VALIDATION` alphabets, turned ones too, are among it. No
    rotations."""
    parts, groups = np.array(store.parts), np.array(store.groups)
    train = np.flatnonzero(parts == "train").astype(np.int64)
    held = [*VALIDATION, *(TURNED.format(name, turns) for name in VALIDATION for turns in (1, 2, 3))]
    val = np.flatnonzero(np.isin(groups, held)).astype(np.int64)
    test = np.flatnonzero(parts == "test").astype(np.int64)
    return Split("characters", train, val, test)
