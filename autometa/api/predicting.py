"""What `adapt` and `predict` are asked about: where a classifier goes, the image files, the answers."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from autometa.algorithms.classifier import ADAPTED, Classifier
from autometa.algorithms.starts import Start
from autometa.data.formats.pictures import contents, pictures_below
from autometa.errors import InputError
from autometa.estimator.teaching import NONE_OF_THESE, threshold_of

Prediction = tuple[Path, str, float, dict[str, float]]


class Predictions(list[Prediction]):
    """Answers, and the folder of the classifier that gave them."""

    def __init__(self, answers: Iterable[Prediction], classifier: Path) -> None:
        super().__init__(answers)
        self.classifier = classifier


def place_of(start: Start) -> Path:
    """Where a classifier that began with this model goes: RUN/adapted, the folder it was read from, or here."""
    if start.run is not None:
        return start.run.path / ADAPTED
    return start.path if start.taught is not None else Path(ADAPTED)


def answered(found: Iterable[Prediction], classifier: Classifier, min_confidence: float | str) -> list[Prediction]:
    """The predictions with "none of these" for a class of too low a probability; the probability stays."""
    least = threshold_of(min_confidence, classifier)
    if least > 0 and NONE_OF_THESE in classifier.names:
        raise InputError(
            f"a class is called {NONE_OF_THESE!r}; leave --min-confidence out, or name the class otherwise"
        )
    return [(path, NONE_OF_THESE if p < least else name, p, every) for path, name, p, every in found]


def image_files(paths: Iterable[str | os.PathLike]) -> list[Path]:
    """The files, with folders replaced by the images below them. Raises `InputError` where one is missing or empty."""
    found = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = pictures_below(path)
            if not inside:
                raise InputError(f"folder {path} holds no image but {contents(path)}; name a folder with pictures")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise InputError(f"there is no image {path}; check the path")
    if not found:
        raise InputError("no images were given; name at least one image file")
    return found
