"""`compare`: searches and trainings side by side."""

from __future__ import annotations

from collections.abc import Sequence

from autometa.cli.options import Parser
from autometa.cli.output import print_json, put
from autometa.cli.show import columns
from autometa.report import plot
from autometa.report.compare import Comparison, Point, marks
from autometa.report.compare import compare as compare_runs
from autometa.runs.budget import format_duration
from autometa.runs.files import shown

EXAMPLES = """  autometa compare runs/cells runs/random runs/evolution
  autometa compare runs/* --plot compare.png        accuracy against parameters and full trainings"""
HEAD = [
    *("run", "what", "data", "ways", "shots", "seeds"),
    *("trained", "failed", "training", "best candidate", "parameters"),
    *("test", "parameters", "other classes"),
]
RIGHT = ("ways", "shots", "trained", "failed", "training", "parameters")


def compare(words: list[str], typed: list[str]) -> int:
    """`autometa compare RUN...`."""
    parser = Parser("compare", "Runs side by side: accuracy against parameters and full trainings.", EXAMPLES)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folders of runs, finished or not")
    given = parser.parse(words, "plot", "json")
    if given.plot is not None:
        plot.check(given.plot)
    found = compare_runs(given.runs)
    drawn = None if given.plot is None else plot.draw(found, given.plot)
    if given.json:
        print_json(found)
    else:
        put([*lines(found), *([] if drawn is None else ["", f"Picture  {shown(drawn)}"])])
    return 0


def lines(found: Comparison) -> list[str]:
    """The comparison for a person."""
    parts = [_runs(found), _progress(found), _fronts(found), _unlike(found), _incomparable(found)]
    parts.append(_unreadable(found))
    return "\n\n".join("\n".join(part) for part in parts if part).splitlines()


def _runs(found: Comparison) -> list[str]:
    """Every run in a row, those of a group below its own; the columns about candidates where there are any."""
    rows, groups = [HEAD], {group.runs[0]: group for group in found.groups}
    inside = {name for group in found.groups for name in group.runs}
    for run in found.runs:
        terms = [run.data or "", *(str(run.terms.get(name) or "") for name in ("ways", "shots"))]
        if run.run in groups:
            group = groups[run.run]
            score = group.score
            mean = None if score["mean"] is None else Point(score["mean"], score["ci95"], group.parameters, "")
            rows.append([group.name, run.kind, *terms, _seeds(group.seeds), *[""] * 5, *_point(mean), ""])
        seconds = "" if run.seconds is None else format_duration(run.seconds)
        counts = [f"{run.trained} of {run.candidates}", str(run.failed)] if run.candidates else ["", ""]
        name, seed = f"{'  ' * (run.run in inside)}{run.run}", "" if run.seed is None else str(run.seed)
        searched = [*counts, seconds, *_point(run.best)]
        rows.append([name, run.kind, *terms, seed, *searched, *_point(run.final), run.other_classes or ""])
    if not any(run.candidates for run in found.runs):
        rows = [row[:6] + row[11:] for row in rows]
    title = (
        "Accuracy in %, +- half a 95% confidence interval over tasks, of several seeds over seeds (Student's t); "
        "candidates on validation classes, test on unseen ones; other classes: 95% interval over classes, and how many "
        "were tested"
    )
    right = [n for n, name in enumerate(rows[0]) if name in RIGHT]
    return [title, *columns(rows, right=right)]


def _seeds(seeds: Sequence[int]) -> str:
    """0, 1, 2; of many the first ones and how many."""
    told = ", ".join(map(str, seeds[:5]))
    return told if len(seeds) <= 5 else f"{told}, ... ({len(seeds)})"


def _point(point: Point | None) -> list[str]:
    if point is None:
        return ["", ""]
    width = "" if point.interval is None else f" +- {point.interval:.2f}"
    return [f"{point.accuracy:.2f}{width}", "" if point.parameters is None else f"{point.parameters:,.0f}"]


def _progress(found: Comparison) -> list[str]:
    """Best accuracy so far by full trainings."""
    at = marks(found)
    searches = [run for run in found.runs if run.trained]
    if not at or not searches:
        return []
    rows = [["full trainings", *map(str, at)]]
    for run in searches:
        values = [run.at(mark) for mark in at]
        rows.append([run.run, *("" if value is None else f"{value:.2f}" for value in values)])
    return ["Best validation accuracy so far", *columns(rows, right=range(1, len(at) + 1))]


def _fronts(found: Comparison) -> list[str]:
    """Accuracy against parameters: what no other candidate of the run beats."""
    rows = [["run", "parameters", "accuracy", "cell"]]
    for run in found.runs:
        for number, point in enumerate(run.front):
            rows.append(["" if number else run.run, *_point(point)[::-1], point.what])
    if len(rows) == 1:
        return []
    return ["Candidates that no smaller one equals", *columns(rows, right=(1,))]


def _unreadable(found: Comparison) -> list[str]:
    return [f"{name} is unreadable: {reason}" for name, reason in found.unreadable.items()]


def _unlike(found: Comparison) -> list[str]:
    if not found.unlike:
        return []
    rows = [[name, *map(str, values)] for name, values in found.unlike.items()]
    return ["Not alike: these settings differ, so accuracies of candidates mean different things", *columns(rows)]


def _incomparable(found: Comparison) -> list[str]:
    if not found.incomparable:
        return []
    names = [run.run for run in found.runs if run.final is not None]
    told = [[name, *("" if v is None else str(v) for v in values)] for name, values in found.incomparable.items()]
    return ["Not comparable: test accuracies that were measured on different terms", *columns([["", *names], *told])]
