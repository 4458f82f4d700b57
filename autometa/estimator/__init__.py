"""Few-shot classification as scikit-learn does it: `FewShotClassifier`, and the teaching that the commands share.

The class is loaded when it is asked for: scikit-learn takes a second to import, and `adapt` and `predict` do without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autometa.estimator.few_shot import FewShotClassifier

__all__ = ["FewShotClassifier"]


def __getattr__(name: str):
    if name != "FewShotClassifier":
        raise AttributeError(f"module 'autometa.estimator' has no attribute {name!r}")
    from autometa.estimator.few_shot import FewShotClassifier

    return FewShotClassifier
