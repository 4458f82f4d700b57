"""Find the classifier and the image files that `predict` is asked about."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from pathlib import Path

from autometa.algorithms.classifier import ADAPTED, FILE, Classifier
from autometa.data.images import SUFFIXES
from autometa.errors import InputError
from autometa.runs.files import shown
from autometa.runs.folder import RunFolder


def find_classifier(run: str | os.PathLike) -> Classifier:
    """The classifier in a folder that `adapt` wrote to, or in RUN/adapted. Raises `InputError` where there is none."""
    path = Path(run)
    if (path / FILE).is_file():
        return Classifier.load(path)
    folder = RunFolder.open(run)
    path = folder.path / ADAPTED
    if not (path / FILE).is_file():
        place = shlex.quote(shown(folder.path))
        raise InputError(
            f"{place} has not been taught any classes yet; first: autometa adapt --support FOLDER --run {place}"
        )
    return Classifier.load(path)


def image_files(paths: Iterable[str | os.PathLike]) -> list[Path]:
    """The files, with folders replaced by the images in them. Raises `InputError` where one is missing or empty."""
    found = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
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
