"""Few-shot image classification: finds a small network and an initialisation that learns new classes in a few steps.

    import autometa

    found = autometa.search(preset="quick", out="runs/first")
    autometa.adapt("photos/classes", run="runs/first")
    autometa.predict(["photos/new.png"], run="runs/first")

The words are those of the command line; torch is imported when one of them is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
