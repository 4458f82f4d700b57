"""`FewShotClassifier`: new classes from a few images each, with scikit-learn's conventions."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autometa.data import Recipe
from autometa.data.kinds import SMALL, kind_of, sample, unlike
from autometa.errors import InputError
from autometa.estimator.base import BASES, check_labels, check_rows, in_nfc, not_fitted, plain_labels
from autometa.estimator.fitting import (
    STATISTICS,
    SUPPORT,
    FitSettings,
    Fitted,
    fit,
    fit_more,
    none_label_of,
    threshold_of,
)
from autometa.estimator.inputs import FittedForm, Items, Rows, gather, pictures, tables
from autometa.estimator.scales import Levels
from autometa.models.find import Start, find_start
from autometa.ops.torch_state import in_own_torch_state
from autometa.runs.forms import FormError, many, maybe, need, number, record, table, text, whole


def _single(value: Any, where: str) -> None:
    need(value is None or isinstance(value, (int, float, str)), where, "a number or a word", value)


OWN = "estimator"
"""What a classifier's `extra` calls what the estimator wants back."""
PARAMS = {"steps", "min_confidence", "none_label", "random_state", "statistics"}
SAVED = record(
    optional={
        "params": record(optional=dict.fromkeys(PARAMS, _single)),
        "features": maybe(whole(1)),
        "feature_names": maybe(many(text)),
        "levels": maybe(record()),
        "form": maybe(many(whole())),
    }
)
"""The form of that."""


class FewShotClassifier(*BASES):
    """Classify images after seeing one to a few of each class: a meta-learned network, adapted in a few gradient steps.

    With scikit-learn installed it is a `BaseEstimator` and `ClassifierMixin`; without it works the same.

    Images are paths, the content of files (bytes, or files opened with "rb"), Pillow images, arrays `[n, H, W]`,
    `[n, H, W, C]` or `[n, C, H, W]`, torch tensors, lists of these, or rows `[n, features]` of 8 x 8 numbers and more.
    uint8 is 0 .. 255 (0 and 1 alone are black and white); other numbers are 0 .. 1, or, where any lies outside, between
    the least and the greatest that were fitted; numbers of another scale than those fitted are refused. One array of
    the form that was fitted, without `n`, is one image. The model decides on size, colours and polarity; the shipped
    one wants a drawing that fills the image, and takes ink darker or lighter than its paper.

    Args:
        model: a run folder, a folder that was adapted to, one of a kept model, `latest` (the last run), or None: the
            model of characters inside the package.
        steps: of adaptation; None: as many as in the evaluation of the model's run.
        min_confidence: probability of the best class below which `predict` answers `none_label`; 0 always answers,
            `calibrated` takes the threshold measured for the model (the shipped one has one).
        none_label: the answer then; None: "none of these" for string labels, -1 for numbers.
        random_state: seed of the order in which images are seen; None: that of the model's run, so that results repeat.
        device: `cpu`, `cuda`, `cuda:1`.
        statistics: whose mean and variance normalise, `support` (of the fitted images) or `frozen`: of images of
            training tasks, while fitting too, as an export in C does that sees one image at a time. For these the
            model's training images must be readable.

    Attributes:
        classes_: labels `[k]`, sorted.
        classifier_: the adapted network, `autometa.api.Classifier`, on the CPU.
        n_features_in_, feature_names_in_: where rows were given.
    """

    def __init__(
        self,
        model: str | os.PathLike | None = None,
        *,
        steps: int | None = None,
        min_confidence: float | str = 0.0,
        none_label: Any = None,
        random_state: Any = None,
        device: str = "cpu",
        statistics: str = SUPPORT,
    ) -> None:
        self.model = model
        self.steps = steps
        self.min_confidence = min_confidence
        self.none_label = none_label
        self.random_state = random_state
        self.device = device
        self.statistics = statistics

    @classmethod
    @in_own_torch_state
    def load(cls, path: str | os.PathLike | None = None) -> FewShotClassifier:
        """An estimator for a model (`model` of the constructor); ready to predict where the folder holds a classifier.

        Raises `InputError` where there is no model.
        """
        path = None if path is None else os.fspath(path)
        taught = find_start(path).taught
        made = cls(model=path)
        if taught is None:
            return made
        own = taught.extra.get(OWN, {})
        try:
            SAVED(own, OWN)
        except FormError as error:
            raise InputError(f"the classifier in {path} is damaged: {error}; fit and save it again") from error
        for name in PARAMS & own.get("params", {}).keys():
            setattr(made, name, own["params"][name])
        if own.get("features") is not None:
            made.n_features_in_ = own["features"]
        if own.get("feature_names") is not None:
            made.feature_names_in_ = np.array(own["feature_names"], dtype=object)
        levels = own.get("levels")
        form = own.get("form")
        levels = None if levels is None else _levels(levels, path)
        made._keep(Fitted.of(taught), levels, form and tuple(form))
        return made

    @in_own_torch_state
    def save(self, folder: str | os.PathLike) -> Path:
        """Write `classifier.safetensors`, which `load`, `autometa predict --run FOLDER` and `adapt --add` read.

        Raises `InputError` where a parameter has no JSON form.
        """
        self._check_fitted()
        params = {name: getattr(self, name) for name in sorted(PARAMS)}
        if self.statistics == SUPPORT:
            del params["statistics"]  # what earlier versions know
        params = {name: value.item() if isinstance(value, np.generic) else value for name, value in params.items()}
        bad = [name for name, value in params.items() if not isinstance(value, (int, float, str, type(None)))]
        if bad:
            raise InputError(f"{bad[0]} can be saved where it is a number or a word only, not {params[bad[0]]!r}")
        names = getattr(self, "feature_names_in_", None)
        own = {
            "params": params,
            "features": getattr(self, "n_features_in_", None),
            "feature_names": None if names is None else list(names),
            "levels": None if self.levels_ is None else asdict(self.levels_),
            "form": self.form_,
        }
        return replace(self.classifier_, extra={**self.classifier_.extra, OWN: own}).save(folder)

    @in_own_torch_state
    def fit(self, X: Any, y: Any) -> FewShotClassifier:
        """Learn the classes of images `X` with labels `y` `[n]`, at least two classes; forgets what was fitted before.

        Raises `InputError` (a `ValueError`) where images or labels cannot be used, `DivergedError` where adaptation
        leaves the finite numbers.
        """
        start = self._start()
        self._forget()
        images, labels, levels, form = self._read(X, y, start.model.recipe, None)
        self._keep(fit(start, images, labels, self._settings()), levels, form)
        return self

    @in_own_torch_state
    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> FewShotClassifier:
        """Learn more classes, or more images of known ones, without forgetting: the images fitted so far are kept, and
        the network is adapted anew from its meta-learned start to all of them, which is what few-shot adaptation means.
        The outcome is that of one `fit` with all images. The first call needs two classes; classes: where given, the
        labels that may come.
        """
        if classes is not None:
            known = set(in_nfc(plain_labels(classes).ravel()).tolist())
            strange = sorted(set(check_labels(self, y, np.size(y)).tolist()) - known)
            if strange:
                raise InputError(f"label {strange[0]!r} is none of the classes; name all that may come in classes")
        if not self._fitted:
            return self.fit(X, y)
        taught = self._taught
        images, labels, levels, form = self._read(X, y, self.classifier_.recipe, self.levels_, fitted=True)
        self._keep(fit_more(taught, images, labels, self._settings()), levels, self.form_ or form)
        return self

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Share of right answers; labels are compared in NFC. Raises `ValueError` where `y` are no labels, one each."""
        found = self.predict(X)
        return float(np.average(found == check_labels(self, y, len(found)), weights=sample_weight))

    @in_own_torch_state
    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities `[n, classes]`, in the order of `classes_`; none depends on the other images of `X`."""
        self._check_fitted()
        images, *_ = self._read(X, None, self.classifier_.recipe, self.levels_, fitted=True)
        found = self.classifier_.to(self._where()).probabilities(images).double().numpy()
        return found / found.sum(axis=1, keepdims=True)

    @in_own_torch_state
    def predict(self, X: Any) -> np.ndarray:
        """Labels `[n]`; where the best class has a probability below `min_confidence`, `none_label`."""
        self._check_fitted()
        least = threshold_of(self.min_confidence, self.classifier_)
        probabilities = self.predict_proba(X)
        found = self.classes_[probabilities.argmax(axis=1)]
        if least == 0:
            return found
        none = np.asarray(none_label_of(self.classes_, self.none_label))
        alike = none.dtype.kind == found.dtype.kind or {none.dtype.kind, found.dtype.kind} <= set("iuf")
        kind = np.result_type(none, found.dtype) if alike else object
        return np.where(probabilities.max(axis=1) < least, none.astype(kind), found.astype(kind))

    def _start(self) -> Start:
        return find_start(self.model)

    def _settings(self) -> FitSettings:
        if self.steps is not None and not (isinstance(self.steps, (int, np.integer)) and self.steps >= 1):
            raise InputError(f"steps must be a whole number of at least 1, not {self.steps!r}")
        if self.statistics not in STATISTICS:
            raise InputError(f"statistics must be {' or '.join(STATISTICS)}, not {self.statistics!r}")
        steps = None if self.steps is None else int(self.steps)
        how: dict[str, Any] = {"device": self._where(), "statistics": self.statistics}
        return FitSettings(steps=steps, seed=_seed(self.random_state), **how)

    def _where(self) -> torch.device:
        """Raises `InputError` unless this machine can compute there."""
        try:
            device = torch.device(self.device)
            torch.zeros(1, device=device)
        except (RuntimeError, AssertionError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"device {self.device!r} cannot be used ({reason}); leave it at cpu") from error
        return device

    def _read(self, X: Any, y: Any, recipe, levels: Levels | None, *, fitted: bool = False):
        """Images uint8 `[n, C, size, size]`, labels `[n]` (None while predicting), levels, form of the arrays."""
        with_images = fitted and not hasattr(self, "n_features_in_")
        found = gather(X, FittedForm(self.form_, None if y is None else np.size(y)) if with_images else None)
        teaching = y is not None or not fitted
        if isinstance(found, Rows):
            if with_images:
                raise InputError("images were fitted, these are rows of numbers; give images, X[None] for a single one")
            rows = check_rows(self, found.table, reset=not fitted)
            labels = check_labels(self, y, len(rows)) if teaching else None
            images, levels = tables(rows, recipe, levels, fitted=fitted)
            form = None
        else:
            if fitted and hasattr(self, "n_features_in_"):
                raise InputError(
                    f"rows of {self.n_features_in_} numbers were fitted, these are images; give rows again"
                )
            labels = check_labels(self, y, len(found.images)) if teaching else None
            images, levels = pictures(found, recipe, levels, fitted=fitted)
            if teaching:
                _tell_kind(found, recipe)
            form = found.form
        return images, labels, levels, form

    def _keep(self, taught: Fitted, levels: Levels | None, form: tuple[int, ...] | None) -> None:
        self.classifier_, self.classes_, self.levels_, self.form_ = taught.classifier, taught.classes, levels, form

    def _forget(self) -> None:
        for name in ("classifier_", "classes_", "levels_", "form_", "n_features_in_", "feature_names_in_"):
            self.__dict__.pop(name, None)

    @property
    def _taught(self) -> Fitted:
        return Fitted(self.classifier_, self.classes_)

    @property
    def _fitted(self) -> bool:
        return hasattr(self, "classifier_")

    def __sklearn_is_fitted__(self) -> bool:
        return self._fitted

    def _check_fitted(self) -> None:
        if not self._fitted:
            raise not_fitted(self)


def _tell_kind(taught: Items, recipe: Recipe) -> None:
    """Warn where the images are of another kind than those that the model was trained on."""
    seen, _ = pictures(Items(sample(taught.images)), SMALL, None, fitted=False)
    differs = unlike(kind_of(seen), recipe) if len(seen) else None
    if differs:
        warnings.warn(differs, UserWarning, stacklevel=5)


def _levels(told: Mapping[str, Any], path: str | None) -> Levels:
    """The levels that `save` wrote. Raises `InputError` where they are damaged."""
    try:
        table(number())(told, "levels")
        made = Levels(**told)
        need(made.low < made.high, "levels.high", f"above {made.low:g}", made.high)
        return made
    except (TypeError, FormError) as error:
        raise InputError(f"the levels of the classifier in {path} are damaged: {error}; fit and save again") from error


def _seed(random_state: Any) -> int | None:
    """A seed from None, a whole number, a `numpy.random.RandomState` or a `Generator`."""
    if random_state is None:
        return None
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    if isinstance(random_state, (int, np.integer)) and not isinstance(random_state, bool) and random_state >= 0:
        return int(random_state)
    raise InputError(f"random_state must be a whole number from 0 on, a generator or None, not {random_state!r}")
