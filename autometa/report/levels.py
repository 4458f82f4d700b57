"""How Auto-Meta got there: level by level, depth, predictions against what was measured, the best cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from autometa.report.cell_drawing import draw_small
from autometa.report.charts import Axes, Dots, columns, scatter
from autometa.report.compare import Point, curve, front
from autometa.report.markup import Markup, details, el, figure, note, table
from autometa.report.recorded import Recorded
from autometa.report.words import plural, score

BEST, DRAWN = 10, 4
SQUARE = 200.0


@dataclass(frozen=True)
class Tried:
    """A candidate that was trained and scored."""

    key: str
    level: int
    accuracy: float
    interval: float | None
    parameters: int | None
    macs: int | None
    predicted: float | None
    whole: bool = True
    """Whether it was trained to the end."""

    @property
    def said(self) -> str:
        return f"{self.key}: {self.accuracy:.2f} %"


def tried(run: Recorded) -> list[Tried]:
    """All of them in the order in which they were proposed: from the ledger, or from the levels that are over."""
    if run.candidates:
        return [
            Tried(c.key, c.level, c.accuracy, c.interval, c.parameters, c.macs, c.predicted_mean, c.state == "done")
            for c in run.candidates
            if c.scored
        ]
    names = ("accuracy", "interval", "parameters", "macs", "predicted")
    return [
        Tried(cell["key"], level["level"], *(cell.get(name) for name in names))
        for level in (run.found or {}).get("levels", [])
        for cell in level.get("cells", [])
    ]


def levels(run: Recorded) -> list[Markup]:
    """All that leads to the best cell of a search over candidates."""
    cells = tried(run)
    if not cells:
        return [note("No candidate has been trained yet.")]
    reports = (run.found or {}).get("levels") or (run.result or {}).get("levels") or []
    word = reports[0].get("unit") if reports else None
    word = word or ("block" if all(cell.key.count("|") + 1 == cell.level for cell in cells) else "round")
    parts = [_progress(cells, word)]
    if reports:
        parts.append(_table(reports, word))
        parts.append(_depths(reports, word))
    return [*parts, *_predictions(cells, reports, word), *_best(run, [cell for cell in cells if cell.whole] or cells)]


def _name(level: int, word: str) -> str:
    return f"round {level}" if word == "round" else plural(level, word)


def _progress(cells: Sequence[Tried], word: str) -> Markup:
    """Accuracy by level, the best so far, accuracy against size."""
    numbers = sorted({cell.level for cell in cells})
    spot = [(cell.level + ((k * 0.618034) % 1 - 0.5) * 0.56, cell.accuracy) for k, cell in enumerate(cells)]
    best = [max((c for c in cells if c.level == n), key=lambda c: c.accuracy) for n in numbers]
    peaks = [((cell.level, cell.accuracy), f"{cell.accuracy:.1f}") for cell in best]
    x = word if word == "round" else f"{word}s"
    drawn = [
        scatter(
            "Accuracy of the candidates, level by level",
            [Dots(spot, said=[cell.said for cell in cells])],
            Axes(x, "validation accuracy, %", whole_x=True),
            f"Best by level: {'; '.join(f'{_name(c.level, word)} {c.accuracy:.2f}' for c in best)}.",
            named=peaks,
        )
    ]
    stairs = curve([cell.accuracy for cell in cells])
    every = [(k, cell.accuracy) for k, cell in enumerate(cells, 1)]
    drawn.append(
        scatter(
            "Best accuracy so far",
            [Dots(every, "third faint", radius=1.6)],
            Axes("candidates trained", "best so far, %"),
            f"From {stairs[0][1]:.2f} to {stairs[-1][1]:.2f} over {plural(len(cells), 'candidate')}.",
            joined=stairs,
        )
    )
    sized = [cell for cell in cells if cell.parameters]
    if sized:
        edge = front([Point(cell.accuracy, cell.interval, cell.parameters, cell.key) for cell in sized])
        drawn.append(
            scatter(
                "Accuracy against parameters",
                [Dots([(c.parameters, c.accuracy) for c in sized], said=[c.said for c in sized])],
                Axes("parameters", "validation accuracy, %", log_x=True),
                f"{plural(len(edge), 'candidate')} are not beaten by a smaller one.",
                joined=[(point.parameters, point.accuracy) for point in edge],
            )
        )
    titles = ("Every candidate, the best by level", "Best so far", "What no smaller candidate equals")
    made = [el("div", el("p", title), chart) for title, chart in zip(titles, drawn, strict=False)]
    caption = [el("b", "The search"), f" trained {plural(len(cells), 'candidate')}, scored on validation classes."]
    return figure(caption, *made)


def level_table(reports: Sequence[Mapping[str, Any]], word: str) -> list[list[str]]:
    """Levels of a search as rows, a head first; word: `round`, or what a space calls a part."""
    partial = any("iterations" in level for level in reports)
    head = [word if word == "round" else f"{word}s", *["meta-iterations"] * partial, "cells", "failed"]
    rows = [[*head, "best", "mean", "worst", "depth: cells", "predicted before: ρ / τ", "fitted: ρ / τ"]]
    for level in reports:
        cut = "" if level.get("finished", True) else " (cut short)"
        numbers = [*[level.get("iterations", "all")] * partial, level["candidates"], level["failed"]]
        accuracy = [f"{level['accuracy'][name]:.2f}" for name in ("best", "mean", "worst")]
        depths = ", ".join(f"{depth}: {count}" for depth, count in level["depths"].items())
        ranks = [" / ".join(_ranks(level.get(name))) for name in ("before", "own")]
        rows.append([f"{level['level']}{cut}", *map(str, numbers), *accuracy, depths, *ranks])
    return rows


def _table(reports: Sequence[Mapping[str, Any]], word: str) -> Markup:
    head, *rows = level_table(reports, word)
    about = (
        "Validation accuracy in %; ρ and τ: rank correlations (Spearman, Kendall) of predicted and measured accuracy"
    )
    return table(head, rows, range(len(head)), about)


def _ranks(found: dict[str, Any] | None) -> tuple[str, str]:
    if not found:
        return "-", "-"
    return tuple(
        "-" if found.get(name) is None else f"{found[name]:.2f}".replace("-", "−") for name in ("spearman", "kendall")
    )


def _depths(reports: Sequence[dict], word: str) -> Markup:
    """How deep the cells of each level are (the paper's figure 2)."""
    deepest = max(int(depth) for level in reports for depth in level["depths"])
    drawn = []
    for level in reports:
        counts = [(str(d), level["depths"].get(str(d), 0)) for d in range(1, deepest + 1)]
        name = _name(level["level"], word)
        highest = max(count for _, count in counts)
        title = f"Depth of the cells, {name}"
        drawn.append(el("div", el("p", name), columns(title, counts, highest, "depth", max(34.0 * deepest, 110.0))))
    caption = [
        el("b", "Depth of the cells chosen"),
        ": the longest way through a cell, and how many cells have it (the paper's figure 2).",
    ]
    return figure(caption, *drawn, class_="many")


def _predictions(cells: Sequence[Tried], reports: Sequence[dict], word: str) -> list[Markup]:
    """What the surrogate said of cells before they were trained, against what was measured."""
    drawn = []
    before = {level["level"]: level.get("before") for level in reports}
    for n in sorted({cell.level for cell in cells}):
        own = [cell for cell in cells if cell.level == n and cell.predicted is not None]
        if len(own) < 2:
            continue
        rho, tau = _ranks(before.get(n))
        chart = scatter(
            f"Predicted and measured accuracy, {_name(n, word)}",
            [Dots([(cell.predicted, cell.accuracy) for cell in own], said=[cell.said for cell in own])],
            Axes("predicted, %", "measured, %", wanted_x=3, wanted_y=3),
            f"Spearman {rho}, Kendall {tau} over {len(own)} cells.",
            same=True,
            width=SQUARE + 24,
            height=SQUARE + 24,
        )
        words = [el("b", _name(n, word)), f": ρ {rho}, τ {tau}, {plural(len(own), 'cell')}"]
        drawn.append(el("div", el("p", words), chart))
    if not drawn:
        return [note("No prediction was made before training: there is nothing to compare.")]
    caption = [
        el("b", "Predicted before training, and measured"),
        ". On the dashed line both agree; what counts for the search is the order: ρ (Spearman) and τ (Kendall) are 1 "
        "where it is the same, 0 where it is chance.",
    ]
    return [figure(caption, *drawn, class_="many")]


def _best(run: Recorded, cells: Sequence[Tried]) -> list[Markup]:
    ranked = sorted(cells, key=lambda cell: (-cell.accuracy, cell.parameters or 0, cell.key))[:BEST]
    drawn = []
    for rank, cell in enumerate(ranked[:DRAWN], 1):
        words = [
            el("b", f"{cell.accuracy:.2f} %"),
            f" {plural(cell.parameters, 'parameter')}" if cell.parameters else None,
        ]
        small = [
            draw_small(own, f"Cell number {rank}" + ("" if kind == "cell" else f", {kind}"))
            for kind, own in run.algorithm.cells(replace(run.chosen, winner={"key": cell.key})).items()
        ]
        drawn.append(el("div", el("p", words), *small))
    rows = [
        [
            el("code", cell.key),
            cell.level,
            score({"mean": cell.accuracy, "ci95": cell.interval}),
            "-" if cell.parameters is None else f"{cell.parameters:,}",
            "-" if cell.macs is None else f"{cell.macs:,}",
        ]
        for cell in ranked
    ]
    head = ["key", "level", "accuracy, %", "parameters", "MACs"]
    listing = table(head, rows, (1, 2, 3, 4), "As candidates, on validation classes")
    return [
        figure([el("b", "The best cells"), " as candidates, on validation classes."], *drawn, class_="many"),
        details(f"The best {len(ranked)} as a table", listing),
    ]
