"""report.html: a run on one page that needs nothing else, neither network nor scripts."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from autometa._version import __version__
from autometa.errors import InputError
from autometa.report.about import alarms, cost, repeat
from autometa.report.found import found
from autometa.report.history import architecture, pruning, task_cells, training
from autometa.report.levels import levels
from autometa.report.markup import Markup, el, gathered, join, note
from autometa.report.recorded import Recorded, read
from autometa.report.seeds import section
from autometa.report.sure import accuracy, confusion, examples
from autometa.report.words import large, plural, short
from autometa.runs.budget import format_duration
from autometa.runs.files import shown, write_text
from autometa.runs.folder import RunFolder

REPORT = "report.html"
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Browsers enforce that nothing is loaded and no script runs."""
STYLE = Path(__file__).with_name("style.css")


def report(run: str | os.PathLike | RunFolder = "latest", out: str | os.PathLike | None = None) -> Path:
    """Write the report of a run, finished or not, to `out` or RUN/report.html; returns where it is.

    Raises `InputError` where there is no such run or no folder for `out`, `DiskError` where it cannot be written.
    """
    folder = RunFolder.open(run, whole=True)
    path = folder.path / REPORT if out is None else Path(out)
    if path.is_dir():
        raise InputError(f"{shown(path)} is a folder; name the file to write, such as {shown(path / REPORT)}")
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {shown(path.parent)} for the report")
    write_text(path, page(read(RunFolder.open(folder.path)), folder))
    return path


def page(run: Recorded, whole: RunFolder | None = None) -> str:
    """The whole document; whole: the folder of several seeds that the run is the first of."""
    sections = [(key, title, _section(makes, run)) for key, title, makes in SECTIONS]
    if whole is not None and whole.seeds:
        sections = [("seeds", f"All {len(whole.seeds)} seeds", section(whole)), *sections]
        run = replace(run, name=f"{whole.path.name}, {run.name}")
    title = f"{run.algorithm.title}: {run.name}"
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", http_equiv="Content-Security-Policy", content=POLICY),
        el("title", title),
        el("style", Markup(STYLE.read_text(encoding="utf-8"))),
    )
    links = [el("a", title, href=f"#{key}") for key, title, _ in sections]
    body = el(
        "body",
        el("header", el("h1", run.name), el("p", _subtitle(run), class_="sub"), _key_figures(run)),
        el("nav", links, aria_label="Sections"),
        el("main", [el("section", el("h2", title), parts, id=key) for key, title, parts in sections]),
        el("footer", f"Written by autometa {__version__}; this file is complete and loads nothing."),
    )
    return f"<!doctype html>\n{el('html', head, body, lang='en')}\n"


Make = Callable[[Recorded], list[Markup]]
SECTIONS: tuple[tuple[str, str, tuple[Make, ...]], ...] = (
    ("found", "What was found", (found,)),
    ("sure", "How sure it is", (accuracy, confusion, examples)),
    ("history", "How it got there", (levels, training, architecture, pruning, task_cells)),
    ("health", "Health", (alarms,)),
    ("cost", "What it cost", (cost,)),
    ("repeat", "How to repeat it", (repeat,)),
)


OF_SOME = (levels, architecture, pruning, task_cells)
"""Parts that only some algorithms have."""


def _section(makes: Sequence[Make], run: Recorded) -> list[Markup]:
    """Its parts; where a file holds other things than this version writes, a line in the place of a part says so."""
    made: list[Markup] = []
    for make in makes:
        if make in OF_SOME and make.__name__ not in run.algorithm.sections:
            continue
        try:
            made += make(run)
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            reason = f"{make.__name__.replace('_', ' ')}, {type(error).__name__}: {error}"
            made.append(note(f"A part cannot be shown: the run holds other data than this version expects ({reason})."))
    return gathered(made)


def _subtitle(run: Recorded) -> str:
    parts = [run.algorithm.title]
    data = run.config.get("data", {})
    if isinstance(data, dict) and data.get("name"):
        parts.append(f"on {data['name']}")
    started = str(run.environment.get("started", ""))[:16].replace("T", " ")
    if started:
        parts.append(f"started {started}")
    if run.status == "finished":
        iterations = (run.config.get(f"{run.algorithm.config.prefix}meta") or {}).get("iterations")
        done = 1 + max((row["step"] for row in run.loop), default=-1)
        if iterations and 0 < done < iterations:
            parts.append(f"ended after {done:,} of {iterations:,} meta-iterations")
    else:
        so_far = f" at {run.progress[0]:,} of {run.progress[1]:,}" if run.progress else ""
        parts.append(f"{run.status}{so_far}: what is missing comes with the end of the run")
    return ", ".join(parts)


def _key_figures(run: Recorded) -> Markup | None:
    """The few numbers that one looks for first."""
    view, found = run.view, []
    protocol, scores, within = view.protocol, view.score, view.bounds
    if scores.get("mean") is not None:
        width = "" if scores.get("ci95") is None or within else f" ± {scores['ci95']:.1f}"
        title = f"accuracy, {protocol.get('ways')} ways, {plural(protocol.get('shots', 0), 'shot')}"
        found.append((title, join([f"{scores['mean']:.1f}{width} ", el("small", "%")])))
        if within:
            found.append(("on other classes, 95% interval", join([f"{within} ", el("small", "%")])))
    if view.parameters is not None:
        title = "parameters, pruned (median)" if "search_network" in view.result else "parameters"
        found.append((title, short(view.parameters)))
    if view.macs is not None:
        found.append(("multiplications per image", short(view.macs)))
    if view.part("genotype"):
        title = f"different pairs of cells in {plural(protocol.get('tasks', 0), 'task')}"
        found.append((title, f"{view.part('genotype')['different_cells']:,}"))
    if view.part("candidates"):
        found.append(("candidates trained", large(view.part("candidates")["trained"])))
    if view.seconds:
        found.append(("time in all", format_duration(sum(view.seconds.values()))))
    notes = [note(problem) for problem in run.problems]
    if not found:
        return join(notes) if notes else None
    return join(
        [el("dl", [el("div", el("dt", title), el("dd", value)) for title, value in found], class_="key"), *notes]
    )
