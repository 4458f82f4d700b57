"""`fonts`: characters as the fonts on this computer print them; a font is a drawer, a script an alphabet.

Fonts are files of others: a store's notice names their families, and its data hash is of the pixels.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from PIL import Image, ImageFont, features

from autometa.data.errors import DataError
from autometa.data.images import FILLED, Recipe
from autometa.data.scripts import EUROPEAN, SCRIPTS
from autometa.data.splits import Split, by_hash, held_out
from autometa.data.store import ClassEntry, ImageStore, cached_store, write_store

SUFFIXES = (".ttf", ".otf", ".ttc", ".otc")
RENDERING = 1
"""Goes up when the same fonts are rendered otherwise."""
LEAST = 4
"""Fonts that must differ in a character, so that it is a class."""
FINE = 96
"""Pixels of an em when a glyph is rendered, before it is averaged."""
NO_CHARACTER = "\U0010ffff"
"""What no font has: how a font shows it, it shows every character that it lacks."""
LARGEST = 1 << 26
"""Bytes of a font file that is read."""


@dataclass(frozen=True)
class Font:
    """A font file: path, family, style, SHA-256 of the file."""

    path: Path
    family: str
    style: str
    sha256: str

    @property
    def name(self) -> str:
        return f"{self.family} {self.style}"


def font_folders() -> list[Path]:
    """Where fonts are installed on this system, for all and for this user; those that exist."""
    home = Path(os.path.expanduser("~"))
    if sys.platform == "win32":
        found = [Path(os.environ.get("WINDIR", r"C:\Windows"), "Fonts")]
        found.append(Path(os.environ.get("LOCALAPPDATA", home), "Microsoft", "Windows", "Fonts"))
    elif sys.platform == "darwin":
        found = [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library" / "Fonts"]
    else:
        data = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
        own = os.environ.get("XDG_DATA_HOME") or str(home / ".local" / "share")
        found = [Path(place, "fonts") for place in (own, *data.split(":")) if place] + [home / ".fonts"]
    return [place for place in found if place.is_dir()]


def find_fonts(pattern: str = "*", folders: Sequence[Path] | None = None) -> list[Font]:
    """The installed fonts of a pattern, sorted by family, style and file; every font once, wherever it lies.

    Args:
        pattern: of families or of names of files, letters of either case, `*` and `?` as in a shell; several with
            commas between; or a folder of fonts.
        folders: where to look; `font_folders()` where None.

    Raises `DataError` where none is found.
    """
    place = Path(os.path.expanduser(pattern)) if os.sep in pattern else None
    if place is not None and not place.is_dir():
        raise DataError(f"{place} is no folder of fonts; name one, or a pattern of families such as fonts:DejaVu*")
    wanted = ["*"] if place is not None else [one.strip().casefold() for one in pattern.split(",") if one.strip()]
    looked = [place] if place is not None else font_folders() if folders is None else list(folders)
    found: dict[str, Font] = {}
    for path in sorted(file for folder in looked for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES):
        font = _opened(path, wanted)
        if font is not None:
            found.setdefault(font.sha256, font)
    if not found:
        where = ", ".join(map(str, looked)) or "no folder of fonts on this system"
        raise DataError(f"no font fits {pattern!r} ({where}); install some, or name a folder: fonts:/path/to/fonts")
    return sorted(found.values(), key=lambda font: (font.family, font.style, font.path))


def _opened(path: Path, wanted: Sequence[str]) -> Font | None:
    """The font in a file, if it can be read and fits a pattern."""
    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            return None
        family, style = ImageFont.truetype(path, 16, layout_engine=ImageFont.Layout.BASIC).getname()
        names = ((family or path.stem).casefold(), path.stem.casefold(), path.name.casefold())
        if not any(fnmatchcase(name, one) for name in names for one in wanted):
            return None
        return Font(path, family or path.stem, style or "Regular", hashlib.sha256(path.read_bytes()).hexdigest())
    except (OSError, ValueError, UnicodeError):  # damaged, or of a format that FreeType does not know
        return None


def printed(font: Font, characters: str, size: int) -> list[np.ndarray | None]:
    """Each character as the font prints it, uint8 `[size, size]`, ink 255, in the middle, the longer side of its ink
    `FILLED` of the image's; None where the font lacks it, or it has no ink, and for all characters where the font has
    none of the first, the middle and the last one."""
    try:
        face = ImageFont.truetype(font.path, FINE, layout_engine=ImageFont.Layout.BASIC)
        lacking = _mask(face, NO_CHARACTER)
        looked_at = {characters[0], characters[len(characters) // 2], characters[-1]}
        if all(_fitted(_mask(face, character), lacking, size) is None for character in looked_at):
            return [None] * len(characters)
        return [_fitted(_mask(face, character), lacking, size) for character in characters]
    except (OSError, ValueError) as error:
        raise DataError(f"the font {font.path} cannot be rendered ({error}); leave it out by a pattern") from error


def _mask(face: ImageFont.FreeTypeFont, character: str) -> np.ndarray:
    mask = face.getmask(character, mode="L")
    return np.asarray(mask, dtype=np.uint8).reshape(mask.size[::-1])


def _fitted(glyph: np.ndarray, lacking: np.ndarray, size: int) -> np.ndarray | None:
    if glyph.shape == lacking.shape and np.array_equal(glyph, lacking):
        return None
    rows, columns = np.flatnonzero(glyph.max(axis=1, initial=0)), np.flatnonzero(glyph.max(axis=0, initial=0))
    if not len(rows) or not len(columns):
        return None
    ink = Image.fromarray(glyph[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    share = FILLED * size / max(ink.size)
    width, height = (max(1, round(side * share)) for side in ink.size)
    out = np.zeros((size, size), dtype=np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    out[top : top + height, left : left + width] = np.asarray(ink.resize((width, height), Image.Resampling.BOX))
    return out


def drawn_classes(fonts: Sequence[Font], size: int) -> Iterator[tuple[str, str, list[np.ndarray]]]:
    """(alphabet, character, its images) of every character that at least `LEAST` fonts print, each in its own way:
    images that are equal to the last bit count once."""
    for script, characters in SCRIPTS.items():
        images: list[dict[bytes, np.ndarray]] = [{} for _ in characters]
        for font in fonts:
            for own, image in zip(images, printed(font, characters, size), strict=True):
                if image is not None:
                    own.setdefault(image.tobytes(), image)
        for character, own in zip(characters, images, strict=True):
            if len(own) >= LEAST:
                yield script, character, list(own.values())


def class_name(script: str, character: str) -> str:
    """As Omniglot's are called: the alphabet, a stroke, then the character by its number in Unicode."""
    return f"{script}/U+{ord(character):04X}"


def open_fonts(fonts: Sequence[Font], size: int) -> ImageStore:
    """The store of these fonts, rendered on first use."""
    told = [f"{font.name} {font.sha256}" for font in fonts]
    label = hashlib.sha256("\n".join([features.version("freetype2") or "", *told]).encode()).hexdigest()[:16]

    def render(path: Path) -> None:
        classes = list(drawn_classes(fonts, size))
        if not classes:
            raise DataError(f"no character is in {LEAST} of these {len(fonts)} fonts; name more of them")
        entries = [ClassEntry(class_name(script, c), script, "train", len(own)) for script, c, own in classes]
        recipe = Recipe(channels=1, size=size, filter="box", polarity="inverted")
        pixels = (image[None] for *_, own in classes for image in own)
        write_store(path, "fonts", recipe, entries, pixels, notice=about(fonts))

    return cached_store("fonts", f"{size}-{len(fonts)}-{label}-rendering{RENDERING}", render)


def about(fonts: Sequence[Font]) -> str:
    """How many fonts, and of which families."""
    families = sorted({font.family for font in fonts})
    shown = ", ".join(families[:8]) + (f" and {len(families) - 8} more" if len(families) > 8 else "")
    return f"{len(fonts)} fonts of {len(families)} families: {shown}"


def load(detail: str, size: int, **_: object) -> tuple[ImageStore, Split]:
    """characters that the fonts on this computer print

    detail: a pattern of families, such as `DejaVu*`, or a folder of fonts; all of this computer where empty. Raises
    `DataError` where none fits.
    """
    store = open_fonts(find_fonts(detail or "*"), size)
    return store, fonts_split(store)


def fonts_split(store: ImageStore) -> Split:
    """Whole scripts as train, val and test, 70/10/20 of them by hash of their names; those that share forms with Latin
    train. Where fewer than three others are there, classes are divided instead. No rotations."""
    groups = np.array(store.groups)
    others = sorted(set(store.groups) - set(EUROPEAN))
    if len(others) >= 3:
        ids = np.arange(len(others), dtype=np.int64)
        test = by_hash(others, ids, max(1, round(len(others) / 5)))
        val = by_hash(others, np.setdiff1d(ids, test), max(1, round(len(others) / 10)))
        parts = [np.isin(groups, [others[one] for one in part]) for part in (val, test)]
        train = np.flatnonzero(~parts[0] & ~parts[1])
        chosen = [train, *map(np.flatnonzero, parts)]
        return Split("scripts", *(part.astype(np.int64) for part in chosen))
    everything = np.arange(len(groups), dtype=np.int64)
    test = held_out(store.class_names, everything, 0.2)
    train = np.setdiff1d(everything, test)
    val = held_out(store.class_names, train, 0.1)
    return Split("characters of few scripts", np.setdiff1d(train, val), val, test)
