"""Teach the classes of a folder: what `adapt` does."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autometa.api.photos import variant_of
from autometa.api.running import RunOptions, computing, device_of, tell_unfinished
from autometa.data import load_class_folder
from autometa.data.folders import support_set
from autometa.data.formats.sources import ImageSource
from autometa.data.kinds import is_tall, sample, unlike
from autometa.errors import InputError
from autometa.estimator.fitting import FitSettings, Fitted, fit, fit_more, not_in
from autometa.models.classifier import Classifier
from autometa.models.find import MODEL, choose_start, find_classifier
from autometa.ops.torch_state import in_own_torch_state
from autometa.runs.files import shown
from autometa.runs.folder import RunFolder


@dataclass(frozen=True)
class Lesson:
    """A saved classifier, its folder, the model that it began with, and how that differs from the pictures."""

    classifier: Classifier
    place: Path
    model: str
    warnings: list[str]


@in_own_torch_state
def teach_folder(
    support: str | os.PathLike,
    *,
    run: str | os.PathLike | RunFolder | None,
    out: str | os.PathLike | None,
    add: bool,
    options: RunOptions,
) -> Lesson:
    """Arguments as of `autometa.adapt`."""
    if not isinstance(support, (str, os.PathLike)):
        raise InputError(f"support is the path of a folder with one sub-folder per class, not {type(support).__name__}")
    where = device_of(options.device)
    looked_at = _looked_at(support)
    kind = variant_of(looked_at)
    if add:
        known, place = find_classifier(run, options.notice)
        recipe, config, model = known.recipe, known.config, str(known.extra.get(MODEL, "not recorded"))
    else:
        start = choose_start(run, None if run is not None else kind, options.notice, is_tall(looked_at))
        place, recipe, config, model = start.place, start.model.recipe, start.model.config, start.name
        if start.run is not None:
            tell_unfinished(start.run, options.notice)
    differs = unlike(kind, recipe)
    warnings = [] if differs is None else [differs]
    for text in warnings:
        options.notice(f"{shown(support)}: {text}")
    images, labels, names = load_class_folder(support, recipe)
    if len(names) < 2 and not add:
        raise InputError(f"{support} holds one class; a classifier needs at least two class folders")
    labelled, teaching = np.array(names)[labels], FitSettings(device=where, notice=options.notice)
    with computing(where, config, options.notice):
        if add:
            before = Fitted.of(known)
            new = not_in(before, images, labelled)
            _tell_known(labelled[~new], options)
            taught = fit_more(before, images[new], labelled[new], teaching)
        else:
            taught = fit(start, images, labelled, teaching)
    place = place if out is None else Path(out)
    taught.classifier.save(place)
    return Lesson(taught.classifier, place, model, warnings)


def _looked_at(support: str | os.PathLike) -> Sequence[ImageSource]:
    """A few of the pictures in class folders."""
    return sample([image for c in support_set(support).classes for image in c.images])


def _tell_known(labels: np.ndarray, options: RunOptions) -> None:
    """labels: of the pictures that were given twice, or are taught already."""
    if len(labels):
        counts = Counter(str(label) for label in labels)
        by_class = ", ".join(f"{count} of {name}" for name, count in counts.items())
        options.notice(f"pictures that are taught already, or given twice, are not counted again: {by_class}")
