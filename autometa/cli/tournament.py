"""Searches against a table of cells: `search auto-meta --table`, and `tournament` of all strategies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from autometa.algorithms.table.spec import DEFAULT
from autometa.api import tables
from autometa.cli.options import Parser, names, whole
from autometa.cli.output import print_json, put
from autometa.cli.show import columns
from autometa.errors import InputError
from autometa.report import plot
from autometa.runs.budget import format_duration
from autometa.runs.files import shown

EXAMPLES = """  autometa tournament                             every strategy, 200 seeds, a few minutes
  autometa tournament --seeds 60 --plot regret.png
  autometa tournament --strategies random,evolution --whole"""
SHOWN = (3, 6, 11, 17, 23, 29, 35)
"""Marks of the way that the table of text shows."""


def tournament(words: list[str], typed: list[str]) -> int:
    """`autometa tournament`."""
    about = "Every search strategy on a table of cells: how far from the best cell each ends, and how soon."
    parser = Parser("tournament", about, EXAMPLES)
    parser.add_argument("--seeds", type=whole, default=200, metavar="N", help="searches of each (default: 200)")
    parser.add_argument("--table", default=DEFAULT, metavar="NAME", help="table, or a packed file of it")
    parser.add_argument("--strategies", type=names, metavar="NAMES", help="some, parted by commas (default: all)")
    parser.add_argument("--whole", action="store_true", help="judge on the cells that settings were chosen on, too")
    parser.add_argument("--workers", type=whole, metavar="N", help="processes (default: as many as processors)")
    given = parser.parse(words, "plot", "json", "quiet")
    if given.plot is not None:
        plot.check(given.plot)
    name, file = named(given.table)
    how = {option: given[option] for option in ("seeds", "whole", "strategies", "workers", "quiet")}
    found = tables.tournament(name, file=file, **how)
    drawn = None if given.plot is None else plot.draw_tournament(found, given.plot)
    if given.json:
        print_json(found)
    else:
        put([*_tournament(found), *([] if drawn is None else ["", f"Picture  {shown(drawn)}"])])
    return 0


def _tournament(found: Mapping[str, Any]) -> list[str]:
    """The outcome for a person."""
    there = f"{found['cells']:,} of {found['of']:,} cells are there"
    which = "all of them" if found["whole"] else f"the {found['judged_on']:,} on which no settings were chosen"
    spent = found["spent"]
    lines = [
        f"{found['table']}: {there}; judged on {which}, {found['budget']} full trainings a search, "
        f"{found['batch']} side by side, {found['seeds']} seeds",
        f"Settings were chosen by {spent['searches']:,} searches ({spent['trainings']:,.0f} trainings) of "
        f"{found['chosen_on']:,} other cells; cells of one block are in both.",
        "",
        "Regret in points of validation accuracy at the end: median and its 95% interval, mean; test: mean regret of",
        "test accuracy; three seeds: mean accuracy of the winners that were trained with three; best: searches that",
        "found the best cell",
        *_ends(found["strategies"]),
        "",
        f"Median regret after so many full trainings of {found['budget']}",
        *_ways(found["strategies"], "candidates"),
    ]
    if found["strategies"] and "time" in found["strategies"][0]:
        lines += ["", "Median regret after so long, one processor", *_ways(found["strategies"], "time")]
    lines += [f"{name} was not run: {reason}" for name, reason in found["refused"].items()]
    return [*lines, "", *_ceiling(found["ceiling"]), "", *_ranks(found["ranks"])]


def _ends(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    told = [["strategy", "median", "95%", "mean", "test", "three seeds", "best", "trainings", "settings"]]
    for row in rows:
        end = row["end"]
        regret, seeds = end["regret"], end["seeds"]
        mean = "" if seeds["mean"] is None else f"{seeds['mean']:.2f} ({seeds['winners']})"
        values = [f"{regret['median']:.2f}", f"{regret['low']:.2f} to {regret['high']:.2f}", f"{regret['mean']:.2f}"]
        values += [f"{end['test_regret']['mean']:.2f}", mean, f"{100 * end['best_found']:.0f}%"]
        told.append([row["name"], *values, f"{row['trainings']:.0f}", row["settings"]])
    return columns(told, right=range(1, 8))


def _ways(rows: Sequence[Mapping[str, Any]], axis: str) -> list[str]:
    at = rows[0][axis]["at"]
    form = format_duration if axis == "time" else "{:.0f}".format
    told = [["strategy", *(form(at[n]) for n in SHOWN)]]
    told += [[row["name"], *(f"{row[axis]['regret'][n]['median']:.2f}" for n in SHOWN)] for row in rows]
    return columns(told, right=range(1, 1 + len(SHOWN)))


def _ceiling(found: Mapping[str, Any] | None) -> list[str]:
    if found is None:
        return ["Too few cells have several seeds: the noise is not known."]
    between = found["between"]
    return [
        f"Noise, from {found['cells']} cells with {found['seeds']} seeds: {found['noise']:.2f} points; two seeds rank "
        f"with Spearman {between['spearman']:.3f}, Kendall {between['kendall']:.3f};",
        f"who knew the mean over seeds would rank with about {found['most']:.3f}. Choosing among these cells by the",
        f"other seeds has regret {found['regret']:.2f}.",
    ]


def _ranks(found: Mapping[str, Any] | None) -> list[str]:
    if found is None:
        return ["Too few cells of one or two blocks: predictors are not ranked."]
    rows = [["predictor", "Spearman", "Kendall", "Spearman, early", "Kendall, early"]]
    for name, own in found["rows"].items():
        bands = [own.get(column, {}).get(kind) for column in ("plain", "early") for kind in ("spearman", "kendall")]
        rows.append(
            [name, *("" if b is None else f"{b['mean']:.3f} ({b['low']:.3f} to {b['high']:.3f})" for b in bands)]
        )
    lines = [
        f"Rank correlations on {found['drawn']:,} random ones of {found['next_level']:,} cells of two blocks, learned "
        f"from {found['fitted_on']} of one block alone,",
        "without training any of the predicted cells; early: with their loss and accuracy after an eighth of it "
        "(95% of draws)",
        *columns(rows, right=range(1, 5)),
    ]
    return [*lines, *(f"{name} was left out: {reason}" for name, reason in found["refused"].items())]


def search_table(given: Namespace, parser: Parser) -> int:
    """`autometa search auto-meta --table NAME`: no run, nothing is written."""
    wanted = ("algorithm", "table", "config", "json", "quiet")
    for name, value in vars(given).items():
        if name not in wanted and value != parser.get_default(name):
            option = "--" + name.replace("_", "-")
            raise InputError(f"{option} is for searches that train; with --table nothing is trained and no run begun")
    name, file = named(given.table)
    found = tables.search_table(name, file=file, config=given.config, settings=parser.settings)
    print_json(found) if given.json else put(_search(found))
    return 0


def named(text: str) -> tuple[str, Path | None]:
    """A table by name, or the default one in another packed file."""
    path = Path(text)
    return (DEFAULT, path) if path.suffix == ".safetensors" else (text, None)


def _search(found: Mapping[str, Any]) -> list[str]:
    rows = [["", "cell", "validation", "test", "three seeds", "parameters"]]
    for name in ("cell", "best"):
        cell = found[name]
        seeds = "" if cell["seeds"] is None else f"{cell['seeds']:.2f}"
        accuracies = [f"{cell['validation']:.2f}", f"{cell['test']:.2f}", seeds]
        rows.append(["found" if name == "cell" else "best", cell["key"], *accuracies, f"{cell['parameters']:,}"])
    seconds = "" if math.isnan(found["seconds"]) else f", {format_duration(found['seconds'])} of one processor"
    lines = [
        f"{found['table']}: {found['cells']:,} of {found['of']:,} cells, of which {found['strategy']} looked at "
        f"{found['trials']:,} ({found['trainings']:.1f} full trainings{seconds})"
    ]
    if found["cells"] < found["of"]:
        lines.append("The table is not complete: the search was confined to the cells that are there.")
    lines += ["", *columns(rows, right=(2, 3, 4, 5)), ""]
    return [*lines, f"Regret {found['regret']:.2f} points of validation accuracy, rank {found['rank']:,}"]
