"""scikit-learn's base classes and checks where it is installed; as much of them as the estimator needs where not."""

from __future__ import annotations

import inspect
from reprlib import repr as short
from typing import Any

import numpy as np

from autometa.data.names import composed
from autometa.errors import InputError

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_consistent_length, column_or_1d, validate_data

    BASES: tuple[type, ...] = (ClassifierMixin, BaseEstimator)
except ImportError:
    validate_data = None
    NotFittedError = InputError

    class ParamsMixin:
        """`get_params` and `set_params` with scikit-learn's meaning."""

        def get_params(self, deep: bool = True) -> dict[str, Any]:
            """The constructor's arguments."""
            return {name: getattr(self, name) for name in list(inspect.signature(type(self).__init__).parameters)[1:]}

        def set_params(self, **params: Any):
            """Change arguments of the constructor. Raises `InputError` for a name that is none."""
            known = self.get_params()
            for name, value in params.items():
                if name not in known:
                    raise InputError(f"unknown parameter {name!r}; choose from {', '.join(known)}")
                setattr(self, name, value)
            return self

        def __repr__(self) -> str:
            return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.get_params().items())})"

    BASES = (ParamsMixin,)


def not_fitted(estimator: object) -> Exception:
    """What to raise where nothing was taught yet."""
    name = type(estimator).__name__
    return NotFittedError(f"this {name} has not been taught any classes yet; call fit with images and labels first")


def check_rows(estimator: Any, rows: Any, *, reset: bool) -> np.ndarray:
    """Rows of numbers `[n, features]`, finite, as many features as when fitted; sets `n_features_in_`.

    Raises `ValueError` or `TypeError` in scikit-learn's words where it is installed.
    """
    if validate_data is not None:
        return validate_data(estimator, rows, reset=reset)
    rows = np.asarray(rows)
    if rows.ndim != 2 or not rows.size:
        raise InputError(f"rows must be [n, features] with n and features at least 1, not {list(rows.shape)}")
    if rows.dtype.kind not in "biuf":
        rows = rows.astype(np.float64)
    if not np.isfinite(rows).all():
        raise InputError("rows hold NaN or infinity; remove or replace them")
    if reset:
        estimator.n_features_in_ = rows.shape[1]
    elif rows.shape[1] != estimator.n_features_in_:
        raise InputError(f"rows have {rows.shape[1]} features, those taught had {estimator.n_features_in_}")
    return rows


def in_nfc(labels: np.ndarray) -> np.ndarray:
    """Labels with those that are text in NFC."""
    given = labels.tolist()
    made = [composed(value) if isinstance(value, str) else value for value in given]
    return labels if made == given else np.array(made, dtype=None if labels.dtype.kind == "U" else object)


def check_labels(estimator: Any, labels: Any, count: int) -> np.ndarray:
    """Labels `[count]` of classes. Raises `ValueError` where there are others than that, with and without scikit-learn
    alike: missing ones, of several kinds, or numbers that are not whole.
    """
    if labels is None:
        raise InputError(f"{type(estimator).__name__} requires y to be passed, but the target y is None")
    found = plain_labels(labels)
    if validate_data is not None:
        found = column_or_1d(found, warn=True)
        with np.errstate(invalid="ignore"):  # of what is not finite, which is refused below
            check_classification_targets(found)
        check_consistent_length(range(count), found)
    if found.shape not in ((count,), (count, 1)):
        raise InputError(f"{count} images need {count} labels, not {list(found.shape)}")
    found = in_nfc(found.ravel())
    if found.dtype.kind == "f":
        strange = found[~((np.abs(found) < 2.0**63) & (found == np.rint(found)))]
        if len(strange):
            raise InputError(f"label {strange[0]:g} is no class; labels are strings, whole numbers or truth values")
    return found


def plain_labels(labels: Any) -> np.ndarray:
    """Labels of any shape as an array of strings, numbers or truth values. Raises `InputError` where one is missing, is
    something else, or of another kind than the first."""
    given = labels if hasattr(labels, "dtype") else np.asarray(labels, dtype=object)
    found = np.asarray(given)
    if found.dtype.kind in "Uiufb":
        return found
    if found.dtype.kind not in "OS":
        raise InputError(f"labels must be strings, numbers or truth values, not {found.dtype}")
    values = [_plain(value, place) for place, value in enumerate(found.ravel().tolist(), 1)]
    kinds = [_kind(value) for value in values]
    for place, (value, kind) in enumerate(zip(values, kinds, strict=True), 1):
        if kind is None or kind != kinds[0]:
            also = "" if kind is None else f", label 1 {short(values[0])}"
            wanted = "labels must be strings, numbers or truth values, one kind of them"
            raise InputError(f"label {place} is {short(value)}{also}; {wanted}")
    made = np.array(values or [], dtype=None if values else np.float64).reshape(found.shape)
    if made.dtype.kind not in "Uiufb":
        raise InputError("labels that are numbers must fit into 64 bits; give strings")
    return made


def _plain(value: Any, place: int) -> Any:
    """A label as Python holds it. Raises `InputError` where it is missing or bytes that are no text."""
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value):
        raise InputError(f"label {place} is missing ({value}); every image needs one")
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError as error:
        raise InputError(f"label {place} is no text in UTF-8 ({short(value)}); give strings") from error


def _kind(value: Any) -> str | None:
    if isinstance(value, bool):
        return "truth value"
    if isinstance(value, str):
        return "string"
    return "number" if isinstance(value, (int, float)) else None
