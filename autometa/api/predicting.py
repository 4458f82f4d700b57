"""What `adapt` and `predict` are asked about: the model to begin with, the classifier to ask, the image files."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path

from autometa.algorithms.classifier import ADAPTED, FILE, Classifier
from autometa.data.image_files import is_image
from autometa.errors import InputError
from autometa.estimator.starts import Start, find_start, shipped
from autometa.estimator.teaching import NONE_OF_THESE, threshold_of
from autometa.runs.files import shown
from autometa.runs.folder import LATEST, RunFolder

Prediction = tuple[Path, str, float, dict[str, float]]


def find_model(run: str | os.PathLike | None, notice: Callable[[str], None]) -> Start:
    """The model of a run, or of another folder that `find_start` knows; without one that of the last run here, else
    the shipped one, which is told. Raises `InputError` where there is none.
    """
    if run is not None:
        return find_start(run)
    if RunFolder.has_latest():
        return find_start(LATEST)
    notice(f"no run here: beginning with the {shipped().name} model inside autometa; --run names another one")
    return find_start()


def place_of(start: Start) -> Path:
    """Where a classifier that began with this model goes: RUN/adapted, the folder it was read from, or here."""
    if start.run is not None:
        return start.run.path / ADAPTED
    return start.path if start.taught is not None else Path(ADAPTED)


def find_classifier(
    run: str | os.PathLike | None, notice: Callable[[str], None] = lambda text: None
) -> tuple[Classifier, Path]:
    """The classifier in a folder that `adapt` wrote to, or in RUN/adapted, and its folder; without `run` that of the
    last run here, or the one in ./adapted. Raises `InputError` where there is none.
    """
    own = Path(ADAPTED)
    if run is None and not (RunFolder.has_latest() and _taught(RunFolder.open().path)) and (own / FILE).is_file():
        notice(f"answering by {own}{os.sep}, which adapt left here; --run names another one")
        return Classifier.load(own), own
    if run is None and not RunFolder.has_latest():
        raise InputError("no classes have been taught here yet; first: autometa adapt --support FOLDER")
    path = Path(LATEST if run is None else run)
    if (path / FILE).is_file():
        return Classifier.load(path), path
    folder = RunFolder.open(path)
    if not _taught(folder.path):
        place = shlex.quote(shown(folder.path))
        raise InputError(
            f"{place} has not been taught any classes yet; first: autometa adapt --support FOLDER --run {place}"
        )
    return Classifier.load(folder.path / ADAPTED), folder.path / ADAPTED


def _taught(run: Path) -> bool:
    return (run / ADAPTED / FILE).is_file()


def answered(found: Iterable[Prediction], classifier: Classifier, min_confidence: float | str) -> list[Prediction]:
    """The predictions with "none of these" for a class of too low a probability; the probability stays."""
    least = threshold_of(min_confidence, classifier)
    if least > 0 and NONE_OF_THESE in classifier.names:
        raise InputError(
            f"a class is called {NONE_OF_THESE!r}; leave --min-confidence out, or name the class otherwise"
        )
    return [(path, NONE_OF_THESE if p < least else name, p, every) for path, name, p, every in found]


def image_files(paths: Iterable[str | os.PathLike]) -> list[Path]:
    """The files, with folders replaced by the images in them. Raises `InputError` where one is missing or empty."""
    found = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if is_image(file) and file.is_file())
            if not inside:
                raise InputError(f"folder {path} holds no image")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise InputError(f"there is no image {path}; check the path")
    if not found:
        raise InputError("no images were given; name at least one image file")
    return found
