"""The one way to a model or a classifier: a run, a kept model, a classifier that was taught, the model of the package.

`adapt`, `predict`, `export` and `FewShotClassifier` all look here, so that they agree on which is the last one.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from autometa.data import Recipe
from autometa.data.kinds import unlike
from autometa.errors import InputError
from autometa.models.classifier import ADAPTED, FILE, Classifier
from autometa.models.compact import TENSORS, confidence_of, load_kept
from autometa.models.model import Model
from autometa.runs.files import read_json, shown
from autometa.runs.folder import RunFolder
from autometa.runs.places import finished_here, place_of, runs_here
from autometa.train.records import DATA, FORMS
from autometa.train.tasks import silent

SHIPPED, METERS, FIVE_WAYS = PACKAGED = ("characters", "meters", "omniglot-5way")
"""Models inside the package: of characters, of digits in tall pictures, and of drawn characters by Reptile."""
CONFIDENCE = "confidence"
"""What a classifier's `extra` calls the measured confidences of its model."""
MODEL = "model"
"""What a classifier's `extra` calls the model that it began with."""


@dataclass(frozen=True)
class Start:
    """A meta-learned model, where it stands, and what is known of its confidences.

    run: the run folder, where the model is a run's; taught: the classifier, where the folder holds one.
    """

    model: Model
    path: Path
    run: RunFolder | None = None
    taught: Classifier | None = None
    confidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """How messages and answers call it."""
        if self.path in map(shipped, PACKAGED):
            return f"{self.path.name}, inside autometa"
        if self.taught is not None:
            return str(self.taught.extra.get(MODEL, shown(self.path)))
        return shown(self.path)

    @property
    def place(self) -> Path:
        """Where a classifier that begins here goes: RUN/adapted, the folder it was read from, or ./adapted."""
        if self.run is not None:
            return self.run.path / ADAPTED
        return self.path if self.taught is not None else Path(ADAPTED)


def shipped(name: str = SHIPPED) -> Path:
    """The folder of a model inside the package."""
    return Path(str(resources.files("autometa"))) / "pretrained" / name


def find_start(run: str | os.PathLike | RunFolder | None = None) -> Start:
    """The start in a run (by folder, name or `latest`, as `RunFolder.open` finds it), in a folder that was adapted to
    or one of a kept model, or of its file, or a name of `PACKAGED`; None: the first of these. Raises `InputError` where
    there is none.
    """
    place = _folder_of(run)
    if (place / FILE).is_file():
        taught = Classifier.load(place)
        return Start(taught.start, place, taught=taught, confidence=taught.extra.get(CONFIDENCE, {}))
    if (place / TENSORS).is_file():
        kept = load_kept(place)
        return Start(kept.model, place, confidence=kept.confidence)
    run = RunFolder.open(place)
    return Start(Model.of(run), run.path, run=run, confidence=confidence_of(run.path))


def _folder_of(run: str | os.PathLike | RunFolder | None) -> Path:
    """Where `find_start` looks."""
    if isinstance(run, RunFolder):
        return run.path
    place = shipped() if run is None else place_of(run)
    if os.fspath(place) in PACKAGED and not place.exists():
        return shipped(os.fspath(place))
    return place.parent if place.name in (FILE, TENSORS) else place


def choose_start(
    run: str | os.PathLike | RunFolder | None,
    kind: str | None = None,
    notice: Callable[[str], None] = silent,
    tall: bool = False,
) -> Start:
    """`find_start(run)`; without `run` the last finished run here that fits pictures of this kind (`data.kinds`).

    Where no run here fits, a model of the package is taken (tall pictures: that of meters), or, where that does not fit
    either, the last finished run.
    Runs that are not finished, and what cannot be read, are passed over; what is taken is told. Raises `InputError`
    where `run` names no model.
    """
    if run is not None:
        return find_start(run)
    finished = finished_here()
    fitting = [path for path in finished if _fits(path, kind)]
    own = find_start(METERS if tall else None)
    strange = kind is not None and unlike(kind, own.model.recipe) is not None
    for path in [*fitting, *(finished if strange else ())]:
        try:
            found = find_start(path)
        except InputError as error:
            notice(f"{shown(path)} is passed over: {error}")
            continue
        fits = " that fits" if path in fitting and path != finished[0] else ""
        notice(f"beginning with {found.name}, the last finished run here{fits}; --run names another one")
        return found
    why = "no finished run here fits" if runs_here() else "no run here"
    looks = ", and the pictures are tall, as digits of meters are" if tall else ""
    notice(f"{why}{looks}: beginning with the {own.path.name} model inside autometa; --run names another one")
    return own


def _fits(run: Path, kind: str | None) -> bool:
    """Whether a run's model takes such pictures, as far as its data.json says so."""
    try:
        recipe = Recipe(**read_json(run / DATA, FORMS[DATA])["recipe"])
    except (InputError, KeyError, TypeError):
        return False
    return kind is None or unlike(kind, recipe) is None


def find_classifier(
    run: str | os.PathLike | RunFolder | None, notice: Callable[[str], None] = silent
) -> tuple[Classifier, Path]:
    """The classifier in a folder that `adapt` wrote to, or in RUN/adapted, and its folder; without `run` the one taught
    last, in ./adapted or by a run here, which is told. Raises `InputError` where there is none.
    """
    if run is None:
        place = _taught_last()
        notice(f"answering by {shown(place)}{os.sep}, which adapt left here last; --run names another one")
        return Classifier.load(place), place
    path = _folder_of(run)
    if (path / FILE).is_file():
        return Classifier.load(path), path
    folder = RunFolder.open(path)
    if not (folder.path / ADAPTED / FILE).is_file():
        place = shlex.quote(shown(folder.path))
        raise InputError(
            f"{place} has not been taught any classes yet; first: autometa adapt --support FOLDER --run {place}"
        )
    return Classifier.load(folder.path / ADAPTED), folder.path / ADAPTED


def _taught_last() -> Path:
    places = [Path(ADAPTED), *(path / ADAPTED for path in runs_here())]
    times = {place: (place / FILE).stat().st_mtime_ns for place in places if (place / FILE).is_file()}
    if not times:
        raise InputError("no classes have been taught here yet; first: autometa adapt --support FOLDER")
    return max(times, key=times.__getitem__)
