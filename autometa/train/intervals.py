"""Confidence intervals of a proportion whose answers come in clusters, and the quantiles that they need."""

from __future__ import annotations

import math
from collections.abc import Callable

LEVEL = 0.95
Z = 1.959963984540054
"""Quantile of the normal distribution for two-sided intervals of `LEVEL`."""


def incomplete_beta(a: float, b: float, x: float) -> float:
    """I_x(a, b), the regularised incomplete beta function, by Lentz's continued fraction (Press et al. 2007, 6.4)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    front = math.exp(a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b))
    tiny = 1e-300
    c, d = 1.0, 1 / max(1 - (a + b) * x / (a + 1), tiny)
    found = d
    for m in range(1, 10_000):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d, c = 1 + step * d, 1 + step / c
            d, c = 1 / (d if abs(d) > tiny else tiny), c if abs(c) > tiny else tiny
            found *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return front * found / a


def beta_quantile(p: float, a: float, b: float) -> float:
    """Where I_x(a, b) = p."""
    return _root(lambda x: incomplete_beta(a, b, x) - p)


def t_quantile(df: float) -> float:
    """Of Student's distribution, for two-sided intervals of `LEVEL`: 12.7 at one degree of freedom."""
    x = _root(lambda x: incomplete_beta(df / 2, 0.5, x) - (1 - LEVEL))
    return math.sqrt(df * (1 - x) / x)


def _root(rising: Callable[[float], float]) -> float:
    """Of a function that rises in 0 .. 1, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
        if high - low <= 1e-15 * high:
            break
    return (low + high) / 2


def clopper_pearson(share: float, count: float) -> tuple[float, float]:
    """Exact interval of a proportion `share` of `count` answers, which need not be a whole number."""
    right = min(max(share, 0.0), 1.0) * count
    wrong = count - right
    low = beta_quantile((1 - LEVEL) / 2, right, wrong + 1) if right > 0 else 0.0
    high = beta_quantile((1 + LEVEL) / 2, right + 1, wrong) if wrong > 0 else 1.0
    return low, high


def korn_graubard(share: float, variance: float, answers: float, df: int) -> tuple[float, float]:
    """Interval of a proportion estimated from few clusters (Korn and Graubard 1998, Survey Methodology 24, 193-201).

    The exact interval of as many answers as would have the variance were they drawn one by one, never more than
    `answers`, shrunk by Student's factor for a variance of `df` degrees of freedom. It does not leave 0 .. 1 and does
    not collapse where all answers are right.
    """
    alone = share * (1 - share)
    effective = min(alone / variance, answers) if variance > 0 and alone > 0 else answers
    return clopper_pearson(share, effective * (Z / t_quantile(df)) ** 2)
