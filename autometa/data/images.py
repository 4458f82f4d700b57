"""Images to uint8 arrays: the one place where they are converted.

A `Recipe` says how; the same recipe turns a data set into a store and a user's photos into network input.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image

from autometa.data.errors import DataError
from autometa.data.image_files import check_format, opened
from autometa.data.ink import ink_of

FILTERS = {
    "box": Image.Resampling.BOX,
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}
LARGEST = 2048
"""Pixels a side: a few dozen images of this size are in memory at once."""
POLARITIES = ("inverted", "as-is", "auto")
FITS = ("crop", "stretch", "ink")
INKED = 64
"""Of 255: fainter pixels are not looked at where ink is put into the middle."""
FILLED = 0.72
"""Of the image's side: what the longer side of the ink is then."""
DARK = 8
"""Numbers of more than 8 bits whose greatest is at most such a part of white would be black: they are of fewer bits."""
WORKING = 8
"""`auto` looks at images of at most so many times the size they get."""
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image of each EXIF orientation upright."""


@dataclass(frozen=True)
class Recipe:
    """How an image file becomes uint8 `[channels, size, size]`.

    channels: 1 (Pillow mode L) or 3 (RGB). filter: resize filter, a key of `FILTERS`.
    polarity: `inverted` makes dark ink on light paper 255 on 0, `as-is` keeps the values, `auto` makes ink 255 on
    0 whether it is darker or lighter than its paper, with its contrast and the light evened out (`ink_of`).
    fit: of an image that is no square `crop` takes the middle, `stretch` all of it, out of proportion; `ink` puts the
    ink of a drawing into the middle and makes it `FILLED` of the image, wherever and however large it was drawn.
    """

    channels: int = 1
    size: int = 28
    filter: str = "box"
    polarity: str = "inverted"
    fit: str = FITS[0]

    def __post_init__(self):
        if self.channels not in (1, 3):
            raise DataError(f"images have 1 or 3 channels, not {self.channels}")
        if not isinstance(self.size, int) or not 1 <= self.size <= LARGEST:
            raise DataError(f"the image size is a positive whole number of pixels up to {LARGEST}, not {self.size!r}")
        if self.filter not in FILTERS:
            raise DataError(f"unknown resize filter {self.filter!r}; choose from {', '.join(FILTERS)}")
        if self.polarity not in POLARITIES:
            raise DataError(f"unknown polarity {self.polarity!r}; choose from {', '.join(POLARITIES)}")
        if self.fit not in FITS:
            raise DataError(f"unknown fit {self.fit!r}; choose from {', '.join(FITS)}")
        if self.fit == "ink" and (self.channels != 1 or self.polarity == "as-is"):
            raise DataError("fit ink is for drawings: take the variant ink, or fit crop or stretch")
        if self.polarity == "auto" and self.channels != 1:
            raise DataError("polarity auto is for images of 1 channel; colours are taken as-is")

    @property
    def label(self) -> str:
        """Short form for folder names, such as `28-box-inverted`."""
        colour = "" if self.channels == 1 else "rgb-"
        fit = "" if self.fit == FITS[0] else f"-{self.fit}"
        return f"{colour}{self.size}-{self.filter}-{self.polarity}{fit}"

    def to_dict(self) -> dict:
        """Its settings; a fit is named where it is not that of recipes that know none, so that their hashes stay."""
        return {name: value for name, value in asdict(self).items() if name != "fit" or value != FITS[0]}


def convert(image: Image.Image, recipe: Recipe) -> np.ndarray:
    """uint8 `[channels, size, size]` of an opened image: turned upright, cropped or stretched to a square, resized.

    Transparent parts count as white. Raises `DataError` where Pillow opened it in a format that is not read here.
    """
    check_format(image)
    image = _of_truth(_flatten(_upright(image)).convert("L" if recipe.channels == 1 else "RGB"))
    if recipe.fit == "ink":
        return _centred(image, recipe)
    if recipe.fit == "stretch":
        image = _stretched(image, recipe)
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    square = (left, top, left + side, top + side)
    if recipe.polarity == "auto":
        image, square = _ink(image, square, WORKING * recipe.size)
    image = image.resize((recipe.size, recipe.size), FILTERS[recipe.filter], box=square)
    pixels = np.asarray(image, dtype=np.uint8)
    pixels = pixels[None] if recipe.channels == 1 else pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(pixels if recipe.polarity == "as-is" else 255 - pixels)


def _stretched(image: Image.Image, recipe: Recipe) -> Image.Image:
    """A square of all of the image: of its longer side, no larger than what `_ink` looks at."""
    side = min(max(image.size), WORKING * recipe.size)
    return image if image.size == (side, side) else image.resize((side, side), FILTERS[recipe.filter])


def _centred(image: Image.Image, recipe: Recipe) -> np.ndarray:
    """uint8 `[1, size, size]`: the ink of all of the image in the middle; of an empty sheet, the sheet."""
    most = WORKING * recipe.size
    if max(image.size) > most:
        share = most / max(image.size)
        image = image.resize(tuple(max(1, round(side * share)) for side in image.size), FILTERS["box"])
    grey = np.array(image, dtype=np.uint8)
    ink = ink_of(grey) if recipe.polarity == "auto" else 255 - grey
    rows, columns = np.flatnonzero(ink.max(axis=1) >= INKED), np.flatnonzero(ink.max(axis=0) >= INKED)
    if not len(rows):
        rows, columns = np.arange(ink.shape[0]), np.arange(ink.shape[1])
    height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    side = max(1, round(max(height, width) / FILLED))
    top, left = rows[0] - (side - height) // 2, columns[0] - (side - width) // 2
    place = (int(left), int(top), int(left) + side, int(top) + side)
    square = Image.fromarray(ink).crop(place)  # beyond the image there is paper
    larger = recipe.filter == "box" and side < recipe.size
    how = Image.Resampling.BILINEAR if larger else FILTERS[recipe.filter]
    return np.asarray(square.resize((recipe.size, recipe.size), how), dtype=np.uint8)[None].copy()


def _ink(image: Image.Image, square: tuple[int, int, int, int], largest: int) -> tuple[Image.Image, tuple]:
    """The square as black ink on white paper, no larger than `largest`, and its box."""
    side = square[2] - square[0]
    if side > largest:
        side, image = largest, image.resize((largest, largest), FILTERS["box"], box=square)
    else:
        image = image.crop(square)
    return Image.fromarray(255 - ink_of(np.asarray(image, dtype=np.uint8))), (0, 0, side, side)


def _upright(image: Image.Image) -> Image.Image:
    """Turned as EXIF says. Unlike `ImageOps.exif_transpose` it reads that one tag and writes none: a damaged tag is no
    reason not to read the pixels."""
    image.load()
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # whatever a damaged block makes Pillow raise
        turn = None
    return image if turn is None else image.transpose(turn)


def _flatten(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        return _of_numbers(image)
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image


def _of_truth(image: Image.Image) -> Image.Image:
    """Truth values that were saved as 0 and 1 of 255, as black and white; other images, L or RGB, as they are."""
    bands = image.split()
    lows, highs = zip(*(band.getextrema() for band in bands), strict=True)
    if (min(lows), max(highs)) != (0, 1):
        return image
    return Image.merge(image.mode, [band.point(lambda value: 255 if value else 0) for band in bands])


def _of_numbers(image: Image.Image) -> Image.Image:
    """8 bits of numbers: of 16 bits their upper half (convert("L") would clip at 255), of fractions 0 .. 1 or 0 .. 255.

    Raises `ValueError` where they would be cut off, or nearly all of them black.
    """
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    fractions = image.mode == "F"
    if fractions and 0 <= low and 0 < high <= 1:
        return Image.fromarray(np.rint(255 * values.astype(np.float64)).astype(np.uint8))
    if not 0 <= low <= high <= (255 if fractions else 65535):
        wanted = "0 to 1 or 0 to 255" if fractions else "0 to 65535"
        raise ValueError(f"its numbers go from {low:g} to {high:g}, not from {wanted}: save it with 8 bits")
    white = 255 if fractions else 65535
    if 0 < high <= white / DARK:
        raise ValueError(f"its numbers go from {low:g} to {high:g} of {white}, which is black: save it with 8 bits")
    if fractions:
        return image.convert("L")
    return Image.fromarray((values.astype(np.uint32) >> 8).astype(np.uint8))


def read_image(source: str | Path | BinaryIO, recipe: Recipe, name: str | None = None) -> np.ndarray:
    """uint8 `[channels, size, size]` of an image file or open stream; `name` stands for it in messages.

    Raises `DataError` where the file is missing or no readable image.
    """
    with opened(source, name or str(source)) as image:
        return convert(image, recipe)


def load_images(paths: Iterable[str | Path], recipe: Recipe) -> np.ndarray:
    """uint8 `[n, channels, size, size]` of image files, in the order given."""
    images = [read_image(path, recipe) for path in paths]
    if not images:
        raise DataError("no images were given; name at least one image file")
    return np.stack(images)
