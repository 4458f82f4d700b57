"""Pictures in whatever form people hold them, as uint8 `[n, channels, size, size]` that a model's recipe makes."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from autometa.data import Recipe
from autometa.data.image_files import is_content, naming, stream_of
from autometa.data.images import FITS, convert, read_image
from autometa.errors import InputError
from autometa.estimator.scales import BYTE, Levels, as_booleans, levels_at_prediction

SMALLEST = 64
"""Numbers of a row that is a picture, at least: 8 x 8. Shorter rows are a table."""
NARROW = 8
"""Pixels a side of the smallest picture."""
CHANNELS = (1, 3, 4)
TRUTH = Levels(0.0, 1.0)
KINDS = "paths, bytes, opened files, Pillow images, arrays or tensors"


@dataclass(frozen=True)
class Items:
    """Single images, each a path, the content of a file, a Pillow image or an array `[H, W]`, `[H, W, C]` or
    `[C, H, W]`."""

    images: list[Any]

    @property
    def form(self) -> tuple[int, ...] | None:
        """The shape of the first array, None where there is none."""
        return next((image.shape for image in self.images if isinstance(image, np.ndarray)), None)


@dataclass(frozen=True)
class Rows:
    """A table of numbers `[n, features]`, as it came."""

    table: Any


def gather(X: Any, asked: FittedForm | None = None) -> Items | Rows:
    """What kind of images somebody holds; asked: what was fitted, while predicting.

    Raises `InputError` for what is no image, and for an array that may be one image or several.
    """
    if _is_one_image(X):
        return Items([X])
    _check_kind(X)
    if isinstance(X, torch.Tensor):
        X = _array(X, 4)
    if isinstance(X, (list, tuple)) and X:
        if all(_is_one_image(item) or getattr(item, "ndim", 0) in (2, 3) for item in X):
            return Items([_array(item, 3) if isinstance(item, torch.Tensor) else item for item in X])
        _check_items(X)
        try:
            deep = np.asarray(X).ndim > 2
        except ValueError:
            deep = False
        X = np.asarray(X) if deep else X
    shape = getattr(X, "shape", ())
    if len(shape) > 4:
        raise InputError(f"an array of images has at most 4 dimensions, not {list(shape)}")
    if len(shape) > 2:
        X = np.asarray(X)
        return Items([X] if asked is not None and len(shape) == 3 and asked.is_one(X.shape) else list(X))
    if isinstance(X, np.ndarray) and len(shape) == 2 and asked is not None and asked.is_one(shape):
        return Items([X])
    if len(shape) == 1 or (len(shape) == 2 and shape[1] == 1):
        cells = np.asarray(X).ravel()
        if len(cells) and cells.dtype.kind in "OUS":
            if all(_is_one_image(cell) for cell in cells):
                return Items(cells.tolist())
            _check_items(cells.tolist())
    return Rows(X)


@dataclass(frozen=True)
class FittedForm:
    """What was fitted before somebody gives an array. form: the shape of a picture, None where they were files;
    labels: how many labels come with it, None while predicting."""

    form: tuple[int, ...] | None
    labels: int | None = None

    def is_one(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of two or three dimensions is one picture. Raises `InputError` where it may be several."""
        if self.labels is not None:
            return self.labels == 1 < shape[0]
        grey = self.form is not None and len(self.form) == 2
        if len(shape) == 2:
            as_row = shape[1] >= SMALLEST and any(shape[1] == c * math.isqrt(shape[1] // c) ** 2 for c in (1, 3))
            return shape == self.form or (min(shape) >= NARROW and not as_row)
        plane = tuple(size for size in self.form or () if size >= NARROW)
        if shape[2] not in CHANNELS and shape[1:] != self.form and (shape[2] < NARROW or shape[:2] == plane):
            raise InputError(
                "an image array is [H, W], [H, W, C] or [C, H, W] with C 1, 3 or 4, several are [n, H, W], not "
                f"{list(shape)}"
            )
        last, first = shape[2] in CHANNELS, shape[0] in CHANNELS and shape[0] > 1
        if shape[1:] == self.form or not (last or first):
            return False
        if (last and not first) or (self.form is not None and not grey):
            return True
        if grey:
            return False
        raise InputError(
            f"images {list(shape)} may be {shape[0]} pictures or one in {shape[0]} colours; give X[:, None] for the "
            "former, X[None] for the latter"
        )


Pictures = tuple[np.ndarray, Levels | None]


def pictures(items: Items, recipe: Recipe, levels: Levels | None, *, fitted: bool) -> Pictures:
    """uint8 `[n, C, size, size]`, and the levels that held, found anew unless `fitted`.

    Raises `InputError` where an image cannot be read.
    """
    if not items.images:
        raise InputError("no images were given; give at least one")
    arrays = [image for image in items.images if isinstance(image, np.ndarray)]
    if any(array.dtype.kind not in "biuf" or not array.size for array in arrays):
        raise InputError("arrays of images hold numbers, and each at least one; give whole or floating numbers")
    levels = levels_at_prediction(levels, arrays) if fitted else Levels.of(arrays)
    return np.stack([_picture(image, place, recipe, levels) for place, image in enumerate(items.images, 1)]), levels


def _picture(image: Any, place: int, recipe: Recipe, levels: Levels | None) -> np.ndarray:
    """uint8 `[C, size, size]` of one image; place: its number, for messages."""
    if isinstance(image, np.ndarray):
        values = as_booleans(image)
        return convert(_drawn(values, levels if values is image else TRUTH), recipe)
    if isinstance(image, Image.Image):
        with naming(f"image {place}"):
            return convert(image, recipe)
    if is_content(image):
        return read_image(stream_of(image, f"image {place}"), recipe, f"image {place}")
    return read_image(os.fspath(image), recipe)


def tables(
    rows: np.ndarray, recipe: Recipe, levels: Levels | None, *, fitted: bool
) -> tuple[np.ndarray, Levels | None]:
    """`pictures` of numeric rows `[n, features]`: of 64 and more numbers, a square number of them (or three such
    squares, colour last), each is a picture row by row. Others are a table: their numbers fill a square, the rest of it
    is 0, and no ink is looked for.
    """
    n, features = rows.shape
    side, colours = math.isqrt(features), math.isqrt(features // 3)
    if features >= SMALLEST and side * side == features:
        return pictures(Items(list(rows.reshape(n, side, side))), recipe, levels, fitted=fitted)
    if features >= 3 * SMALLEST and 3 * colours * colours == features:
        return pictures(Items(list(rows.reshape(n, colours, colours, 3))), recipe, levels, fitted=fitted)
    if fitted and levels is None:
        shares = rows.dtype.kind == "f" and Levels.of([rows]) == TRUTH
        levels = TRUTH if shares else Levels(*BYTE)
    elif not fitted:
        rows = as_booleans(rows)
        levels = Levels.of([rows])
    side = math.isqrt(features - 1) + 1
    filled = np.zeros((n, side * side), np.uint8)
    filled[:, :features] = rows if levels in (None, Levels(*BYTE)) and rows.dtype == np.uint8 else levels.to_uint8(rows)
    plain = replace(recipe, polarity="as-is", fit=FITS[0])
    return pictures(Items(list(filled.reshape(n, side, side))), plain, None, fitted=fitted)[0], levels


def _drawn(array: np.ndarray, levels: Levels | None) -> Image.Image:
    """A Pillow image of `[H, W]`, `[H, W, C]` or `[C, H, W]`."""
    if array.ndim == 3 and array.shape[2] not in CHANNELS:
        if array.shape[0] not in CHANNELS:
            raise InputError(
                f"an image array is [H, W], [H, W, C] or [C, H, W] with C 1, 3 or 4, not {list(array.shape)}"
            )
        array = np.moveaxis(array, 0, 2)
    pixels = array if array.dtype == np.uint8 else levels.to_uint8(array)
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels))


def _array(tensor: torch.Tensor, with_channels: int) -> np.ndarray:
    """A tensor's values; of one with so many dimensions the channels, which torch puts first, get last."""
    values = tensor.detach().cpu()
    values = values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
    if values.ndim == with_channels and values.shape[-3] in CHANNELS:
        values = values.movedim(-3, -1)
    return values.numpy()


def _is_one_image(item: Any) -> bool:
    """Whether it is one image: a path, the content of a file or a Pillow image."""
    return isinstance(item, (str, os.PathLike, Image.Image)) or is_content(item)


def _check_kind(X: Any) -> None:
    if hasattr(X, "shape"):
        return
    if X is None or isinstance(X, (int, float, complex, Mapping, Set)) or hasattr(X, "__next__"):
        raise InputError(f"images are {KINDS}, or a list of such, not {_called(X)}")


def _check_items(items: Sequence[Any]) -> None:
    """Raises `InputError` for the first item that is no image, in a list where others are."""
    if not any(_is_one_image(item) for item in items):
        return
    for place, item in enumerate(items, 1):
        if not (_is_one_image(item) or getattr(item, "ndim", 0) in (2, 3)):
            raise InputError(f"image {place} is {_called(item)}; images are {KINDS}")


def _called(item: Any) -> str:
    return "None" if item is None else f"of type {type(item).__name__}"
