"""What the cells of a level show: the best, their depths, and how well a predictor ranked them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from autometa.errors import DivergedError, InputError
from autometa.nas.predictors.predictor import Predictor
from autometa.nas.predictors.ranking import kendall, spearman
from autometa.nas.spaces.space import Architecture, Space
from autometa.runs.ledger import Candidate


def measured(rows: Sequence[Candidate]) -> list[Candidate]:
    """The trials that ended with a score, in the ledger's order; those that failed are passed over."""
    return [row for row in rows if row.scored]


def winner(rows: Sequence[Candidate]) -> Candidate:
    """The highest validation accuracy among the longest trainings of all levels; ties go to fewer parameters, then to
    the smaller key.

    Raises `InputError` where no time was left for any, `DivergedError` where all that were trained failed.
    """
    found = measured(rows)
    if not found and any(row.state == "failed" for row in rows):
        raise DivergedError("every candidate trained so far has failed; try a smaller --inner.lr")
    if not found:
        raise InputError("no candidate was trained in the time given; go on with --resume and a longer --time-budget")
    longest = max((row.step for row in found if row.state != "done"), default=0)
    found = [row for row in found if row.state == "done"] or [row for row in found if row.step == longest]
    return min(found, key=lambda row: (-row.measured, row.parameters or 0, row.key))


def report(level: int, rows: Sequence[Candidate], predictor: Predictor | None, space: Space) -> dict:
    """Accuracies, depths (the paper's figure 2), and rank correlations of a level, or of another strategy's round.

    `before` correlates what was predicted before these cells were trained with what was measured (None at the first
    level); `own` what the predictor, where there is one, says of them after it has learned from them too.
    """
    done, partial = measured(rows), {row.step for row in rows if row.scored and row.state != "done"}
    cells = [space.parse(row.key) for row in done]
    accuracies = [row.measured for row in done]
    mean, std = predictor.predict(cells) if predictor else (None, None)
    nothing = [None] * len(done)
    ahead = [(row.predicted_mean, row.measured) for row in done if row.predicted_mean is not None]
    return {
        "level": level,
        **({"iterations": max(partial)} if partial else {}),
        "candidates": len(rows),
        "failed": sum(row.state == "failed" for row in rows),
        "accuracy": {"best": max(accuracies), "mean": sum(accuracies) / len(done), "worst": min(accuracies)},
        "depths": depths(cells),
        "before": correlations([p for p, _ in ahead], [a for _, a in ahead]) if ahead else None,
        "own": correlations(mean.tolist(), accuracies) if mean is not None else None,
        "cells": [
            {
                "key": row.key,
                "depth": cell.depth,
                "accuracy": row.accuracy,
                "interval": row.interval,
                "parameters": row.parameters,
                "macs": row.macs,
                "predicted": row.predicted_mean,
                "predicted_std": row.predicted_std,
                "fitted": None if m is None else float(m),
                "fitted_std": None if s is None else float(s),
            }
            for row, cell, m, s in zip(
                done, cells, nothing if mean is None else mean, nothing if std is None else std, strict=True
            )
        ],
    }


def correlations(predicted: Sequence[float], found: Sequence[float]) -> dict:
    """Rank correlations of what was predicted with what was measured."""
    return {"spearman": spearman(predicted, found), "kendall": kendall(predicted, found), "cells": len(found)}


def depths(cells: Sequence[Architecture]) -> dict[str, int]:
    """How many cells have which depth."""
    return {str(depth): count for depth, count in sorted(Counter(cell.depth for cell in cells).items())}
