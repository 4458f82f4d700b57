"""Rank correlations of predictors, as PNAS measures them (Liu et al. 2018, section 5.2): on random cells of the next
level, after learning from all cells of the level before alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from autometa.algorithms.auto_meta import SurrogateConfig
from autometa.algorithms.table.searching import TabledSpace, mean_of_seeds
from autometa.algorithms.table.tables import TabledCell
from autometa.errors import InputError
from autometa.nas.predictors.predictor import PREDICTORS, Predictor, made
from autometa.nas.predictors.ranking import kendall, spearman

SHARE = 5
"""Of the next level's cells one in so many is drawn (PNAS: 100 of them; here a fifth)."""
LEAST = 10
"""Cells below which a rank correlation says nothing."""


def ranks(tabled: TabledSpace, draws: int = 20) -> dict[str, Any] | None:
    """Spearman's and Kendall's rank correlations on random two-block cells, mean and 95% band over draws: of every
    predictor fitted on the one-block cells, without any training of the predicted ones, and with what an eighth of
    their training shows; of sizes alone. None where there are too few cells.

    A predictor that cannot be made (a package is missing) is told in `refused`.
    """
    cells = [tabled.cells[key] for key in tabled.keys]
    known = [cell for cell in cells if not math.isnan(cell.accuracy)]
    parsed = {cell.key: tabled.space.parse(cell.key) for cell in known}
    small = [cell for cell in known if parsed[cell.key].level == 1]
    large = [cell for cell in known if parsed[cell.key].level == 2]
    count = len(large) // SHARE
    if len(small) < LEAST or count < LEAST:
        return None
    rng = np.random.Generator(np.random.Philox(0))
    drawn = [rng.permutation(len(large))[:count] for _ in range(draws)]
    sizes = {name: tabled.measure("sizes", [parsed[c.key] for c in large])[:, n] for n, name in enumerate(SIZES)}
    rows = {name: {"plain": _over(values[None], large, drawn)} for name, values in sizes.items()}
    refused = {}
    for name in PREDICTORS.names():
        try:
            rows[name] = _of_predictor(name, tabled, [parsed[c.key] for c in small], small, large, drawn)
        except InputError as error:
            refused[name] = str(error)
    return {"fitted_on": len(small), "next_level": len(large), "drawn": count, "rows": rows, "refused": refused}


SIZES = ("weights alone", "multiply-accumulates alone")
FITS = 5
"""Seeds with which a predictor is fitted; draws are shared out among them."""


def _of_predictor(
    name: str,
    tabled: TabledSpace,
    cells: Sequence[Any],
    small: Sequence[TabledCell],
    large: Sequence[TabledCell],
    drawn: Sequence[np.ndarray],
) -> dict[str, Any]:
    kind, found = PREDICTORS[name], {}
    needs = getattr(kind, "needs", None)
    columns = {"plain": () if needs is None else tuple(need for need in needs if need != "early")}
    if needs is not None and getattr(kind, "alone", False):
        columns["early"] = (*columns["plain"], "early")
    if needs is not None and "early" in needs:
        del columns["plain"]
    wanted = [tabled.space.parse(cell.key) for cell in large]
    for column, given in columns.items():
        means = []
        for seed in range(FITS):
            predictor = _made(name, tabled, given)
            predictor.fit(cells, [cell.accuracy for cell in small], seed)
            means.append(predictor.predict(wanted)[0])
        found[column] = _over(np.array(means), large, drawn)
    return found


def _made(name: str, tabled: TabledSpace, needs: tuple[str, ...]) -> Predictor:
    kind = PREDICTORS[name]
    if getattr(kind, "alone", False):
        return kind(tabled.space, None, tabled.measure, needs)
    if getattr(kind, "needs", ()):
        return made(kind, tabled.space, None, tabled.measure)
    return SurrogateConfig(kind=name).build(tabled.space)


def _over(means: np.ndarray, large: Sequence[TabledCell], drawn: Sequence[np.ndarray]) -> dict[str, Any]:
    """Over the draws: predictions `[fits, cells]` against accuracies."""
    accuracy = np.array([cell.accuracy for cell in large])
    both = [(means[n % len(means)][own], accuracy[own]) for n, own in enumerate(drawn)]
    return {"spearman": _band([spearman(*pair) for pair in both]), "kendall": _band([kendall(*pair) for pair in both])}


def _band(values: Sequence[float]) -> dict[str, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return {"mean": float(np.mean(values)), "low": float(low), "high": float(high)}


def ceiling(tabled: TabledSpace) -> dict[str, Any] | None:
    """What the noise of a single training allows, from the cells with several seeds; None where these are too few.

    between: mean rank correlation of two seeds' accuracies; most: its root, which a predictor would reach that knew
    what accuracies are on average; noise: standard deviation over seeds, in points; regret: of the first seed's
    accuracy, among these cells, where the mean of the other seeds chooses.
    """
    own = [c for c in tabled.scored if len(c.seeds) > 1 and not math.isnan(mean_of_seeds(c) or math.nan)]
    if len(own) < LEAST:
        return None
    seeds = sorted(set.intersection(*(set(cell.seeds) for cell in own)))
    values = np.array([[cell.seeds[seed].validation[-1] for seed in seeds] for cell in own])
    pairs = [(i, j) for i in range(len(seeds)) for j in range(i)]
    between = {
        name: float(np.mean([correlation(values[:, i], values[:, j]) for i, j in pairs]))
        for name, correlation in (("spearman", spearman), ("kendall", kendall))
    }
    chosen = int(values[:, 1:].mean(axis=1).argmax())
    return {
        "cells": len(own),
        "seeds": len(seeds),
        "between": between,
        "most": math.sqrt(max(0.0, between["spearman"])),
        "noise": float(np.sqrt(values.var(axis=1, ddof=1).mean())),
        "regret": float(values[:, 0].max() - values[chosen, 0]),
    }
