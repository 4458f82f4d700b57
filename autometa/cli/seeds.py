"""Several seeds as lines for a person: mean and interval over them, then each one."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from autometa.cli.show import columns
from autometa.report.seeds import ABOUT, means, rows
from autometa.report.view import View
from autometa.report.words import size
from autometa.runs.budget import format_duration
from autometa.runs.files import shown


def lines(found: Mapping[str, Any]) -> list[str]:
    """What a search, a training or an evaluation of several seeds found."""
    view, run = View(found), shlex.quote(shown(found["run"]))
    made = [
        f"{view.kind}: accuracy in % on {view.tasks}",
        f"  {view.classes}; tasks of seed {view.protocol['test_seed']}, the same for all",
        *columns(means(found), right=(1,)),
        "",
        *columns(rows(found), right=(0, 1, 2, 3, 4)),
        *(f"  {line}" for line in ABOUT),
        "",
        f"Files  {run}  (result.json; a folder of each seed)",
    ]
    if "runs" in found:
        return made
    return [
        *made,
        f"Report autometa report {run}  (one page about all seeds and the run of the first one)",
        f"Next   autometa adapt --support FOLDER --run {run}  (teaches the network of the first seed)",
    ]


def estimated(found: Mapping[str, Any]) -> list[str]:
    """What a dry run of several seeds adds to the estimate of one."""
    if "seeds" not in found:
        return []
    many = found["seeds"]
    how = f"{many['side_by_side']} side by side" if many["side_by_side"] > 1 else "one by one"
    told = f"{len(many['seeds'])} seeds, {how}: {format_duration(many['seconds'])} in all, {size(many['memory_bytes'])}"
    return [f"That is one seed. {told}"]
