"""Fit a classifier to labelled images, fit it to more of them, and refuse to answer where confidence is low."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autometa.brief import brief
from autometa.data.names import composed
from autometa.errors import InputError
from autometa.meta.bn_modes import Statistics
from autometa.models.classifier import Classifier, learn
from autometa.models.find import CONFIDENCE, MODEL, Start
from autometa.models.model import Model
from autometa.runs.forms import anything, many, one_of, record
from autometa.train.frozen import frozen_of
from autometa.train.tasks import silent

NONE_OF_THESE = "none of these"
SUPPORT, FROZEN = STATISTICS = ("support", "frozen")
"""Whose mean and variance normalise: of batch and support set, or of training tasks (`train.frozen`)."""
CALIBRATED = "calibrated"
LABELS = "labels"
DTYPES = ("str", "bool", *(f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64)), "float16", "float32", "float64")
LABELLED = record({"dtype": one_of(*DTYPES), "values": many(anything)})
"""What a classifier's `extra` holds of labels."""


@brief
@dataclass(frozen=True)
class Fitted:
    """A classifier, and the labels that its names stand for: `classes` `[n]`, sorted, as they were given."""

    classifier: Classifier
    classes: np.ndarray

    @property
    def support(self) -> tuple[np.ndarray, np.ndarray]:
        """The pictures it was taught with, uint8 `[M, C, H, W]`, and their labels `[M]`."""
        support = self.classifier.lesson
        return support.images.numpy(), self.classes[support.labels.numpy()]

    @classmethod
    def of(cls, classifier: Classifier) -> Fitted:
        """A classifier read from its file, with its labels. Raises `InputError` where they are not its names."""
        saved = classifier.extra.get(LABELS)
        if saved is None:
            return cls(classifier, np.array(list(map(composed, classifier.names))))
        try:
            LABELLED(saved, LABELS)
            values = [composed(value) if isinstance(value, str) else value for value in saved["values"]]
            classes = np.array(values, dtype=saved["dtype"])
        except (ValueError, TypeError, OverflowError) as error:
            raise InputError(f"the labels of the classifier are damaged: {error}; adapt again") from error
        if classes.ndim != 1 or list(map(str, classes.tolist())) != list(map(composed, classifier.names)):
            raise InputError("the labels of the classifier are damaged: they are not its class names; adapt again")
        return cls(classifier, classes)


@dataclass(frozen=True)
class FitSettings:
    """Settings of an adaptation: `steps` and `seed` instead of the run's own where not None; `notice` is called with
    what is notable; statistics: one of `STATISTICS`, None for what it was before, `support` at first."""

    steps: int | None = None
    seed: int | None = None
    device: torch.device | str = "cpu"
    notice: Callable[[str], None] = silent
    statistics: str | None = None


def fit(start: Start, images: np.ndarray, labels: np.ndarray, settings: FitSettings) -> Fitted:
    """Adapt the start to pictures uint8 `[M, C, H, W]` with labels `[M]`, strings, numbers or truth values.

    Equal sets of pictures teach the same, in whatever order their classes come.
    """
    name = Path(start.name).name if os.path.isabs(start.name) else start.name  # the rest is one machine's own business
    extra = {MODEL: name, **({CONFIDENCE: dict(start.confidence)} if start.confidence else {})}
    return _fit(start.model, images, labels, settings, extra)


def fit_more(taught: Fitted, images: np.ndarray, labels: np.ndarray, settings: FitSettings) -> Fitted:
    """The same as teaching the earlier pictures and these together: adapts anew from the meta-learned start, since a
    few more steps from the adapted weights would forget the earlier classes. Labels may be old or new. Frozen
    statistics stay those that they were.
    """
    earlier = taught.classifier
    start, still = earlier.start, earlier.statistics if earlier.frozen else None
    if settings.statistics is None:
        settings = replace(settings, statistics=FROZEN if earlier.frozen else SUPPORT)
    before, names = taught.support
    labels = np.asarray(labels)
    if labels.dtype.kind != names.dtype.kind and not {labels.dtype.kind, names.dtype.kind} <= set("iu"):
        raise InputError(f"the labels so far are like {names[0]!r}, the new ones like {labels[0]!r}; give all alike")
    all_images, all_labels = np.concatenate([before, images]), np.concatenate([names, labels])
    return _fit(start, all_images, all_labels, settings, earlier.extra, still)


def not_in(taught: Fitted, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Which pictures, uint8 `[M, C, H, W]`, were not taught yet as what their labels `[M]` say, each once: bool `[M]`.

    Pictures are the same where the network sees the same.
    """
    known = {(str(label), _content(image)) for image, label in zip(*taught.support, strict=True)}
    new = np.zeros(len(images), dtype=bool)
    for n, (image, label) in enumerate(zip(images, labels, strict=True)):
        key = (str(label), _content(image))
        new[n] = key not in known
        known.add(key)
    return new


def _content(image: np.ndarray) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest()


def _fit(
    model: Model,
    images: np.ndarray,
    labels: np.ndarray,
    settings: FitSettings,
    extra: Mapping[str, Any],
    still: Statistics | None = None,
) -> Fitted:
    """still: the frozen statistics, where they are known."""
    classes, codes = np.unique(labels, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    names = [str(value) for value in classes.tolist()]
    how = dict(vars(settings))
    if how.pop("statistics") == FROZEN:
        how["frozen"] = still if still is not None else frozen_of(model.config, model.network, model.learned.theta)
    classifier = learn(model, images[order], codes[order].astype(np.int64), names, **how).to("cpu")
    saved = {"dtype": "str" if classes.dtype.kind == "U" else classes.dtype.name, "values": classes.tolist()}
    return Fitted(replace(classifier, extra={**extra, LABELS: saved}), classes)


def threshold_of(min_confidence: float | str, classifier: Classifier) -> float:
    """The probability below which the answer is "none of these". Raises `InputError` where it is no such number, or
    `calibrated` for a model whose confidences nobody measured.
    """
    if min_confidence == CALIBRATED:
        measured = classifier.extra.get(CONFIDENCE)
        if not measured or "min_confidence" not in measured:
            why = f": {measured['unmeasured']}" if measured and "unmeasured" in measured else ""
            number = "give min-confidence a number, say 0.6"
            raise InputError(f"the confidences of this model were not measured{why}; {number}")
        return float(measured["min_confidence"])
    try:
        value = -1.0 if isinstance(min_confidence, bool) else float(min_confidence)
    except (TypeError, ValueError):
        value = -1.0
    if not 0 <= value <= 1:
        raise InputError(f"min-confidence must lie between 0 and 1, or be {CALIBRATED}, not {min_confidence!r}")
    return value


def none_label_of(classes: np.ndarray, none_label: Any = None) -> Any:
    """What stands for "none of these" among such labels: `none_label` where it is given, else `NONE_OF_THESE` for
    strings and -1 for numbers. Raises `InputError` where that is a class, or where nothing fits (truth values).
    """
    if none_label is None:
        kind = classes.dtype.kind
        if kind not in "USOiuf":
            raise InputError("true and false leave no label for none of these; give none_label")
        none_label = -1 if kind in "iuf" else NONE_OF_THESE
    none_label = composed(none_label) if isinstance(none_label, str) else none_label
    if none_label in classes.tolist():
        raise InputError(f"{none_label!r} is one of the classes; give none_label another value for none of these")
    return none_label
