"""Searches against a table of cells: `search auto-meta --table`, and `tournament` of all strategies."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autometa.algorithms.table.spec import DEFAULT
from autometa.api import tables
from autometa.api.size_budget import limits_of
from autometa.cli.options import Parser
from autometa.cli.output import print_json, put
from autometa.cli.show import columns
from autometa.errors import InputError
from autometa.runs.budget import format_duration


def search_table(given: argparse.Namespace, settings: Mapping[str, str], parser: Parser) -> int:
    """`autometa search auto-meta --table NAME`: no run, nothing is written."""
    wanted = ("algorithm", "table", "config", "max_params", "max_macs", "json", "quiet")
    for name, value in vars(given).items():
        if name not in wanted and value != parser.get_default(name):
            option = "--" + name.replace("_", "-")
            raise InputError(f"{option} is for searches that train; with --table nothing is trained and no run begun")
    limits = limits_of(given.max_params, given.max_macs)
    name, file = named(given.table)
    found = tables.search_table(name, file=file, config=given.config, settings={**settings, **limits})
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
