"""Learning-curve regression (Baker et al. 2018, arXiv 1705.10823, section 3), by ridge instead of a support vector
machine."""

from __future__ import annotations

from autometa.nas.predictors.linear import RidgePredictor


class CurvePredictor(RidgePredictor):
    """Regression on the beginning of an architecture's own learning curve beside its ops and sizes.

    It predicts only architectures whose training has begun: `early` is measured after an eighth of it.
    """

    needs: tuple[str, ...] = ("sizes", "early")
