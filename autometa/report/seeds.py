"""Several runs that differ in their seed alone: mean, interval over seeds (Student's t), and each of them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from autometa.errors import InputError
from autometa.report.charts import Bar, bars
from autometa.report.markup import Markup, aside, figure, note, table
from autometa.report.view import View
from autometa.report.words import MODES, score, short
from autometa.runs.budget import format_duration
from autometa.runs.folder import CONFIG, RunFolder
from autometa.train.intervals import t_quantile
from autometa.train.records import read_result

ABOUT = (
    "Interval over seeds: 95%, Student's t, of training runs that differ in their seed alone, on the same test tasks.",
    "Beside a single seed the interval is over tasks.",
)


def over_seeds(values: Sequence[float]) -> dict[str, float | int | None]:
    """`mean`, `sd` and `ci95`, half the 95% interval of Student's t, of one value of each seed; None where fewer than
    two tell nothing of it."""
    n = len(values)
    sd = statistics.stdev(values) if n > 1 else None
    width = None if sd is None else t_quantile(n - 1) * sd / math.sqrt(n)
    return {"mean": statistics.fmean(values) if n else None, "ci95": width, "sd": sd, "seeds": n}


def summary(results: Mapping[int, Mapping[str, Any] | None]) -> dict[str, Any]:
    """What the runs of several seeds show together, in the form of result.json.

    results: of each seed, None where it is not finished. Raises `InputError` where none is.
    """
    done = {seed: View(result) for seed, result in results.items() if result is not None}
    if not done:
        raise InputError("no seed is finished yet; go on with them first")
    first = next(iter(done.values()))
    scores = {
        mode: over_seeds([found["mean"] for found in each if found["mean"] is not None])
        for mode in MODES
        if all(each := [view.part("scores").get(mode) for view in done.values()])
    }
    return {
        "kind": f"{len(results)} seeds of {first.kind}",
        "accuracy": over_seeds([view.accuracy for view in done.values() if view.accuracy is not None])["mean"],
        "scores": scores,
        "parameters": statistics.fmean(view.parameters for view in done.values()),
        "macs": statistics.fmean(view.macs for view in done.values()),
        "protocol": {name: value for name, value in first.protocol.items() if name != "seed"},
        "data_hash": first.result["data_hash"],
        "seeds": [_row(seed, done.get(seed)) for seed in results],
        "seconds": {f"seed {seed}": sum(view.seconds.values()) for seed, view in done.items()},
    }


def _row(seed: int, view: View | None) -> dict[str, Any]:
    row: dict[str, Any] = {"seed": seed, "run": f"seed-{seed}", "finished": view is not None}
    if view is not None:
        row |= {**view.size, "ci95": view.score.get("ci95"), "seconds": sum(view.seconds.values())}
    return row


def read_summary(folder: RunFolder) -> dict[str, Any]:
    """`summary` of a folder of several seeds as they stand. Raises `InputError` where none is finished."""
    results = {}
    for seed, path in folder.seeds.items():
        results[seed] = read_result(RunFolder(path)) if (path / CONFIG).is_file() else None
    return {"run": str(folder.path), **summary(results)}


def rows(found: Mapping[str, Any]) -> list[list[str]]:
    """A table of the seeds, its head first."""
    made = [["seed", "accuracy in %", "parameters", "MACs", "time", "run"]]
    for row in found["seeds"]:
        numbers = ["not finished", "", "", ""]
        if row["finished"]:
            sizes = [short(row[name]) for name in ("parameters", "macs")]
            numbers = [score({"mean": row["accuracy"], "ci95": row["ci95"]}), *sizes, format_duration(row["seconds"])]
        made.append([str(row["seed"]), *numbers, row["run"]])
    return made


def means(found: Mapping[str, Any]) -> list[list[str]]:
    """Mean and interval by BN mode, a head first."""
    done = sum(row["finished"] for row in found["seeds"])
    told = {
        mode: score(value) if value["sd"] is None else f"{score(value)} ({value['sd']:.2f})"
        for mode, value in found["scores"].items()
    }
    head = ["normalised with statistics of", f"mean over {done} seed{'s' * (done != 1)} (standard deviation)"]
    return [head, *([title, told[mode]] for mode, title in MODES.items() if mode in told)]


def section(folder: RunFolder) -> list[Markup]:
    """The part of a report's page about all seeds; the rest of the page is that of the first one."""
    try:
        found = read_summary(folder)
    except InputError as error:
        return [note(f"The seeds cannot be told together: {error}")]
    done = [row for row in found["seeds"] if row["finished"]]
    drawn = [
        Bar(f"seed {row['seed']}", row["accuracy"], score({"mean": row["accuracy"], "ci95": row["ci95"]}))
        for row in done
        if row["accuracy"] is not None
    ]
    made = [table(*_split(means(found)), (1,), "Accuracy in % over all seeds"), aside(" ".join(ABOUT))]
    made += [figure("Accuracy in % by seed, with its interval over tasks", bars("Accuracy by seed", drawn))]
    made += [table(*_split(rows(found)), (1, 2, 3, 4), "Each seed; `autometa report` of its folder tells more")]
    return [*made, aside("What follows is the run of the first seed.")]


def _split(found: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    return found[0], found[1:]
