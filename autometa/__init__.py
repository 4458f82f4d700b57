"""Few-shot image classification: finds a small network and an initialisation that learns new classes in a few steps.

    import autometa

    found = autometa.search(preset="quick", out="runs/first")
    autometa.adapt("photos/classes", run="runs/first")
    autometa.predict(["photos/new.png"], run="runs/first")

The words are those of the command line; torch is imported when one of them is first used.
"""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING, Any

from autometa._version import __version__

if TYPE_CHECKING:
    from autometa.api import (
        adapt,
        data_info,
        doctor,
        estimate,
        evaluate,
        export,
        list_runs,
        predict,
        prepare_data,
        report,
        reproduce,
        search,
        table,
        train,
        verify_data,
    )
    from autometa.estimator import FewShotClassifier

__all__ = [
    "FewShotClassifier",
    "__version__",
    "adapt",
    "data_info",
    "doctor",
    "estimate",
    "evaluate",
    "export",
    "list_runs",
    "predict",
    "prepare_data",
    "report",
    "reproduce",
    "search",
    "table",
    "train",
    "verify_data",
]


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f"module 'autometa' has no attribute {name!r}")
    from autometa import api, estimator

    return getattr(estimator if name in estimator.__all__ else api, name)


class _Command(types.ModuleType):
    """A sub-package that is also the function of its name, a word of the command line."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        from autometa import api

        return getattr(api, self.__name__.rpartition(".")[2])(*arguments, **options)


class _Package(types.ModuleType):
    """This package: sub-packages named as a function become callable when they are imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in __all__ and isinstance(value, types.ModuleType):
            value.__class__ = _Command
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
