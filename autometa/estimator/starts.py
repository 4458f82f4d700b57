"""Where teaching begins: a run, a kept model, a classifier that was taught before, or the model inside the package."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from autometa.algorithms.classifier import FILE, Classifier
from autometa.algorithms.kept import TENSORS, load_kept
from autometa.algorithms.trained import Model
from autometa.runs.folder import LATEST, RunFolder

SHIPPED = "omniglot-5way"
CONFIDENCE = "confidence"
"""What a classifier's `extra` calls the measured confidences of its model."""


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


def shipped() -> Path:
    """The folder of the model inside the package."""
    return Path(str(resources.files("autometa"))) / "pretrained" / SHIPPED


def find_start(path: str | os.PathLike | None = None) -> Start:
    """The start in a run folder, a folder that was adapted to, one of a kept model, or that of the word `latest`;
    None: the shipped model. Raises `InputError` where there is none.
    """
    place = shipped() if path is None else Path(path)
    if os.fspath(place) != LATEST:
        if (place / FILE).is_file():
            taught = Classifier.load(place)
            return Start(taught.start, place, taught=taught, confidence=taught.extra.get(CONFIDENCE, {}))
        if (place / TENSORS).is_file():
            kept = load_kept(place)
            return Start(kept.model, place, confidence=kept.confidence)
    run = RunFolder.open(place)
    return Start(Model.of(run), run.path, run=run)
