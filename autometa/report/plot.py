"""Comparisons as pictures, where matplotlib is installed."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autometa.errors import InputError
from autometa.printable import printable
from autometa.report.compare import Comparison
from autometa.runs.files import shown, write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HOW = "drawing needs matplotlib; get it by: pip install 'autometa-nas[plot]'"
KINDS = (".png", ".svg", ".pdf")


def check(path: str | os.PathLike) -> Path:
    """Raise `InputError` where a picture cannot be drawn to `path`, before any work."""
    path = Path(path)
    if path.suffix.lower() not in KINDS:
        raise InputError(f"pictures are {', '.join(KINDS)} files, not {path.name}")
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {shown(path.parent)} for the picture")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InputError(HOW) from error
    return path


def draw(comparison: Comparison, path: str | os.PathLike) -> Path:
    """Accuracy against parameters and against full trainings, in one picture.

    Left: every candidate, the line of those that none beats, and as a star the finished run's test accuracy. Raises
    `InputError` where matplotlib is missing, `DiskError`.
    """
    path = check(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    sizes, counts = figure.subplots(1, 2)
    for number, run in enumerate(comparison.runs):
        colour, name = f"C{number % 10}", _label(run.run)
        known = [point for point in run.scatter if point.parameters is not None]
        if known:
            sizes.scatter([p.parameters for p in known], [p.accuracy for p in known], s=8, alpha=0.3, color=colour)
            line = ([p.parameters for p in run.front], [p.accuracy for p in run.front])
            sizes.step(*line, where="post", color=colour, label=name)
        if run.final is not None and run.final.parameters is not None:
            label = None if known else name
            sizes.errorbar(
                run.final.parameters, run.final.accuracy, run.final.interval, fmt="*", ms=11, color=colour, label=label
            )
        if run.curve:
            counts.step(*zip(*run.curve, strict=True), where="post", color=colour, label=name)
    sizes.set(xlabel="parameters", ylabel="accuracy, % (dots: validation, stars: test)", xscale="log")
    counts.set(xlabel="full trainings", ylabel="best validation accuracy so far, %")
    for axes in (sizes, counts):
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize="small")
    return _written(figure, path)


def _label(name: str) -> str:
    """A run's name in a legend: dollars begin no formula, and an underscore in front does not hide it."""
    text = printable(name).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def draw_tournament(found: Mapping[str, Any], path: str | os.PathLike) -> Path:
    """Median regret with its 95% band against full trainings, and against seconds where these are known."""
    path = check(path)
    from matplotlib.figure import Figure

    rows = found["strategies"]
    axes_of = ["candidates", *(["time"] if all("time" in row for row in rows) else [])]
    figure = Figure(figsize=(1.5 + 5.5 * len(axes_of), 5), layout="constrained")
    for axes, axis in zip(figure.subplots(1, len(axes_of), squeeze=False)[0], axes_of, strict=True):
        for number, row in enumerate(rows):
            at, regret = row[axis]["at"], row[axis]["regret"]
            colour, style = f"C{number % 10}", ("-", "--", ":")[number // 10 % 3]
            axes.plot(at, [r["median"] for r in regret], style, color=colour, label=printable(row["name"]))
            axes.fill_between(at, [r["low"] for r in regret], [r["high"] for r in regret], color=colour, alpha=0.15)
        if found["ceiling"] is not None:
            axes.axhline(found["ceiling"]["noise"], color="grey", lw=0.8, label="noise of a training")
        axes.set(xlabel="full trainings" if axis == "candidates" else "seconds of one processor", yscale="symlog")
        axes.set(ylabel="median regret, points of validation accuracy", ylim=(0, None))
        axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.suptitle(f"{found['table']}: {found['cells']:,} of {found['of']:,} cells, {found['seeds']} seeds")
    return _written(figure, path)


def _written(figure: Figure, path: Path) -> Path:
    drawn = io.BytesIO()
    figure.savefig(drawn, format=path.suffix[1:].lower())
    write_bytes(path, drawn.getvalue())
    return path
