"""Omniglot (Lake, Salakhutdinov and Tenenbaum 2015): 1,623 characters of 50 alphabets, 20 drawings each."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import chain
from pathlib import Path

import numpy as np

from autometa.data.errors import DataError
from autometa.data.formats.archives import ZipImage, check_members, zip_members
from autometa.data.images import Recipe, read_image
from autometa.data.splits import Split, held_out, shuffled
from autometa.data.store import ClassEntry, ImageStore, cached_store, write_store

PARTS = {"background": 964, "evaluation": 659}
DRAWINGS = 20
SPLITS = ("background", "vinyals", "reptile")
VARIANTS = {"ink": ("box", "inverted"), "reptile": ("nearest", "as-is")}
REPTILE_TRAIN = 1200


@dataclass(frozen=True)
class Character:
    """One character of a source: part, alphabet, name (`character01`), its image files in order."""

    part: str
    alphabet: str
    name: str
    files: tuple[str, ...]


def recipe(size: int = 28, variant: str = "ink") -> Recipe:
    """How Omniglot is converted: `ink` (box filter, ink = 255) or `reptile` (nearest, background 255)."""
    if variant not in VARIANTS:
        raise DataError(f"unknown Omniglot variant {variant!r}; choose from {', '.join(VARIANTS)}")
    resize, polarity = VARIANTS[variant]
    return Recipe(channels=1, size=size, filter=resize, polarity=polarity)


def open_omniglot(size: int = 28, variant: str = "ink", root: str | Path | None = None) -> ImageStore:
    """All 1,623 characters, sorted by (part, alphabet, character); converted on first use.

    root: folder with the official zips or their extracted folders; without it AUTOMETA_DATA is searched.
    Raises `DataError` where they are missing or incomplete.
    """
    how = recipe(size, variant)
    return cached_store("omniglot", how.label, lambda path: convert_omniglot(path, how, root))


def convert_omniglot(path: Path, how: Recipe, root: str | Path | None = None) -> None:
    """Write the store of both parts to `path`."""
    sources = [find_part(part, root) for part in PARTS]
    found = [characters(source, part) for source, part in zip(sources, PARTS, strict=True)]
    classes = [
        ClassEntry(f"{char.alphabet}/{char.name}", char.alphabet, char.part, DRAWINGS)
        for chars in found
        for char in chars
    ]
    pixels = chain.from_iterable(_read(*pair, how) for pair in zip(sources, found, strict=True))
    write_store(path, "omniglot", how, classes, pixels)


def find_part(part: str, root: str | Path | None = None) -> Path:
    """The zip or folder of one part, in `root` or AUTOMETA_DATA or an `omniglot` folder within."""
    given = root or os.environ.get("AUTOMETA_DATA")
    stem = f"images_{part}"
    wanted = "put Omniglot's images_background.zip and images_evaluation.zip (or their extracted folders)"
    if not given:
        raise DataError(f"Omniglot is needed: {wanted} into a folder and set AUTOMETA_DATA to it")
    base = Path(os.path.expanduser(given))
    for folder in (base, base / "omniglot"):
        for place in (folder / f"{stem}.zip", folder / stem):
            if place.exists():
                return place
    raise DataError(f"neither {base} nor {base / 'omniglot'} holds {stem}: {wanted} there")


def characters(source: Path, part: str) -> list[Character]:
    """All characters of a part, sorted; raises `DataError` where any or any drawing is missing."""
    found: dict[tuple[str, str], list[str]] = {}
    for file in _listing(source):
        pieces = file.split("/")
        if len(pieces) >= 3 and pieces[-1].endswith(".png") and not pieces[-1].startswith("."):
            found.setdefault((pieces[-3], pieces[-2]), []).append(file)
    if len(found) != PARTS[part]:
        raise DataError(f"{source} holds {len(found)} characters, Omniglot's {part} part {PARTS[part]}; fetch it again")
    for (alphabet, name), files in found.items():
        if len(files) != DRAWINGS:
            raise DataError(f"{source} has {len(files)} drawings of {alphabet}/{name}, not {DRAWINGS}; fetch it again")
    return [Character(part, *key, tuple(sorted(files))) for key, files in sorted(found.items())]


def _listing(source: Path) -> Iterable[str]:
    if source.is_dir():
        return [file.relative_to(source).as_posix() for file in source.glob("*/*/*.png")]
    return [name for name in zip_members(source) if not name.startswith("__MACOSX")]


def _read(source: Path, chars: Sequence[Character], how: Recipe) -> Iterator[np.ndarray]:
    files = (file for char in chars for file in char.files)
    if source.is_dir():
        for file in files:
            yield read_image(source / file, how)
        return
    members = zip_members(source)
    check_members(source, {file: members[file] for char in chars for file in char.files})
    for file in files:
        yield ZipImage(source, file).read(how)


def load(detail: str, size: int, root: str | Path | None, seed: int, variant: str) -> tuple[ImageStore, Split]:
    """handwritten characters

    detail: the split, `background` where empty. Raises `DataError` for an unknown one, and where data are missing.
    """
    if detail and detail not in SPLITS:
        raise DataError(f"unknown Omniglot split {detail!r}; choose from {', '.join(SPLITS)}")
    store = open_omniglot(size, variant, root)
    return store, omniglot_split(store, detail or "background", seed)


def omniglot_split(store: ImageStore, name: str = "background", seed: int = 0) -> Split:
    """One of Omniglot's splits by name; `seed` is that of the `reptile` shuffle."""
    make = {"background": background_split, "vinyals": vinyals_split, "reptile": lambda s: reptile_split(s, seed)}
    return make[name](store)


def background_split(store: ImageStore) -> Split:
    """964 background characters train, 659 evaluation characters test, rotations on both (MetaNAS' code).

    val: 15% of the training classes by hash of their name, within train.
    """
    parts = np.array(store.parts)
    train = np.flatnonzero(parts == "background").astype(np.int64)
    test = np.flatnonzero(parts == "evaluation").astype(np.int64)
    return Split("background", train, held_out(store.class_names, train), test, 4, 4, 4)


def vinyals_split(store: ImageStore) -> Split:
    """1,028 / 172 / 423 characters (Vinyals et al. 2016, lists as in common use), rotations on all."""
    text = resources.files("autometa.data").joinpath("omniglot_vinyals.json").read_text(encoding="utf-8")
    ids = {
        part: np.sort(
            store.class_ids(
                f"{alphabet}/character{number:02d}"
                for alphabet, (first, last) in alphabets.items()
                for number in range(first, last + 1)
            )
        )
        for part, alphabets in json.loads(text).items()
    }
    return Split("vinyals", ids["train"], ids["val"], ids["test"], 4, 4, 4)


def reptile_split(store: ImageStore, seed: int = 0) -> Split:
    """All 1,623 characters shuffled, 1,200 train with rotations, 423 test without (Nichol et al. 2018, code).

    The shuffle is `splits.shuffled` on the sorted characters. val: 15% of train by hash, within train.
    """
    order = shuffled(len(store.class_names), seed)
    train, test = order[:REPTILE_TRAIN], order[REPTILE_TRAIN:]
    return Split("reptile", train, held_out(store.class_names, train), test, 4, 4, 1)
