"""What `adapt` and `predict` are asked about: where a classifier goes, the image files, the answers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from autometa.brief import LIMIT, TEXT, cut
from autometa.data import Recipe
from autometa.data.formats.pictures import contents, pictures_below
from autometa.data.image_files import is_content, shortened, stream_of
from autometa.data.images import read_image
from autometa.errors import InputError
from autometa.estimator.fitting import NONE_OF_THESE, threshold_of
from autometa.models.classifier import Classifier
from autometa.printable import printable

KINDS = 'paths, bytes or files opened with "rb"'
SHOWN = 3
"""Classes whose probabilities a representation shows."""


class Prediction(NamedTuple):
    """An answer: the image, the class, its probability, and the probabilities of all classes by name."""

    image: Path
    name: str
    probability: float
    probabilities: dict[str, float]

    def __repr__(self) -> str:
        best = sorted(self.probabilities.items(), key=lambda item: -item[1])[:SHOWN]
        many = len(self.probabilities)
        told = ", ".join(f"{cut(name, TEXT)!r}: {value:.3f}" for name, value in best)
        told += f", ... {many} in all" if many > SHOWN else ""
        place = f"{cut(str(self.image), 2 * TEXT)!r}, {cut(self.name, TEXT)!r}, {self.probability:.3f}"
        return cut(f"Prediction({place}, {{{told}}})", LIMIT)


class Predictions(list[Prediction]):
    """Answers, and the folder of the classifier that gave them."""

    def __init__(self, answers: Iterable[Prediction], classifier: Path) -> None:
        super().__init__(answers)
        self.classifier = classifier

    def __repr__(self) -> str:
        told = [f"{cut(str(one.image), TEXT)}: {cut(one.name, TEXT)} {one.probability:.3f}" for one in self[:SHOWN]]
        rest = ", ..." * (len(self) > SHOWN)
        return cut(printable(f"Predictions({len(self)} images: {', '.join(told)}{rest})"), LIMIT)


def answered(found: Iterable[tuple], classifier: Classifier, min_confidence: float | str) -> list[Prediction]:
    """The predictions with "none of these" for a class of too low a probability; the probability stays."""
    least = threshold_of(min_confidence, classifier)
    if least > 0 and NONE_OF_THESE in classifier.names:
        raise InputError(
            f"a class is called {NONE_OF_THESE!r}; leave --min-confidence out, or name the class otherwise"
        )
    return [Prediction(path, NONE_OF_THESE if p < least else name, p, every) for path, name, p, every in found]


def image_files(images: object) -> list[Path | BinaryIO]:
    """The files, with folders replaced by the images below them; contents (bytes, opened files) as streams.

    Raises `InputError` where a path is missing or empty, or something is no image.
    """
    alone = isinstance(images, (str, os.PathLike)) or is_content(images)
    if not alone and (isinstance(images, Mapping) or not isinstance(images, Iterable)):
        raise InputError(f"images are {KINDS}, or a list of such, not of type {type(images).__name__}")
    found: list[Path | BinaryIO] = []
    for place, image in enumerate([images] if alone else images, 1):
        if is_content(image):
            found.append(stream_of(image, f"image {place}"))
        elif isinstance(image, (str, os.PathLike)):
            path = os.fsdecode(image)
            if not path:
                raise InputError(f"image {place} has an empty name; give its path, or . for the present folder")
            found += _at(Path(path))
        else:
            raise InputError(f"image {place} is of type {type(image).__name__}; images are {KINDS}")
    if not found:
        raise InputError("no images were given; name at least one image file")
    return found


def _at(path: Path) -> list[Path]:
    """A file, or the images below a folder."""
    try:
        folder, missing = path.is_dir(), not path.exists()
    except (OSError, ValueError):  # longer than a path can be, or with characters that none has
        folder, missing = False, True
    if missing:
        raise InputError(f"there is no image {shortened(str(path))}; check the path")
    if folder:
        inside = pictures_below(path)
        if not inside:
            raise InputError(f"folder {path} holds no image but {contents(path)}; name a folder with pictures")
        return inside
    return [path]


def read_all(files: Sequence[Path | BinaryIO], recipe: Recipe) -> tuple[list[Path], np.ndarray, list[str]]:
    """Paths (`image 3` of a content) and pixels uint8 `[n, C, size, size]` of what can be read; why the rest cannot.

    Raises `InputError` where nothing can.
    """
    names, pixels, unread = [], [], []
    for place, file in enumerate(files, 1):
        name = file if isinstance(file, Path) else Path(f"image {place}")
        try:
            pixels.append(read_image(file, recipe, str(name)))
            names.append(name)
        except InputError as error:
            unread.append(str(error))
    if not names:
        more = f" (and {len(unread) - 1} more of {len(unread)} images)" if len(unread) > 1 else ""
        raise InputError(f"{unread[0]}{more}")
    return names, np.stack(pixels), unread
