"""Teach the classes of a folder: what `adapt` does."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from autometa.algorithms.classifier import Classifier
from autometa.api.predicting import find_classifier, find_model, place_of
from autometa.api.running import Manner, computing, device_of, tell_unfinished
from autometa.data import load_class_folder
from autometa.errors import InputError
from autometa.estimator.teaching import Taught, Teaching, teach, teach_more
from autometa.runs.folder import RunFolder


def teach_folder(
    support: str | os.PathLike,
    *,
    run: str | os.PathLike | RunFolder | None,
    out: str | os.PathLike | None,
    add: bool,
    manner: Manner,
) -> tuple[Classifier, Path]:
    """The saved classifier and its folder; arguments as of `autometa.adapt`."""
    where = device_of(manner.device)
    run = run.path if isinstance(run, RunFolder) else run
    if add:
        known, place = find_classifier(run, manner.notice)
        recipe, config = known.recipe, known.config
    else:
        start = find_model(run, manner.notice)
        place, recipe, config = place_of(start), start.model.recipe, start.model.config
        if start.run is not None:
            tell_unfinished(start.run, manner.notice)
    images, labels, names = load_class_folder(support, recipe)
    if len(names) < 2 and not add:
        raise InputError(f"{support} holds one class; a classifier needs at least two class folders")
    labelled, teaching = np.array(names)[labels], Teaching(device=where, notice=manner.notice)
    with computing(where, config, manner.notice):
        if add:
            taught = teach_more(Taught.of(known), images, labelled, teaching)
        else:
            taught = teach(start, images, labelled, teaching)
    place = place if out is None else Path(out)
    taught.classifier.save(place)
    return taught.classifier, place
