"""Tables of cells: opening one, and building, packing and describing what is there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autometa.algorithms.table import building, packed, searching
from autometa.algorithms.table.agreement import agreement
from autometa.algorithms.table.costs import timed
from autometa.algorithms.table.spec import DEFAULT, PARTS, spec_named
from autometa.algorithms.table.store import FILE, TableStore
from autometa.algorithms.table.tables import Table
from autometa.algorithms.table.training import Measured
from autometa.algorithms.tournament.holding import Rules, hold
from autometa.api.settings import settle
from autometa.errors import InputError
from autometa.runs.environment import usable_cpus
from autometa.runs.files import plain, say, write_text
from autometa.search.main_guard import check_main_guard
from autometa.train.config import differences
from autometa.train.cost import CostModel
from autometa.train.tasks import Source

PathLike = str | os.PathLike


def table(name: str = DEFAULT, *, file: PathLike | None = None) -> Table:
    """The table of that name inside the package, or in another packed file.

    Its `query(cell)` answers for a `BlockCell` or a key such as `0c0m|2i1a`; iterating gives the keys that are there.
    Raises `InputError` where the name is unknown, or the file missing, damaged or of other settings.
    """
    return Table.open(name, None if file is None else Path(file))


def default_folder(name: str) -> Path:
    """Where a table is built where nothing is said."""
    return Path("tables") / name


def build_table(
    name: str = DEFAULT,
    out: PathLike | None = None,
    *,
    workers: int = 1,
    parts: Sequence[str] = PARTS,
    limit: int | None = None,
    quiet: bool = False,
) -> int:
    """Train what is missing of a table; returns how many trainings were added. See `building.build`."""
    check_main_guard(workers > 1)
    place = default_folder(name) if out is None else Path(out)
    told = (lambda _: None) if quiet else say
    return building.build(spec_named(name), place, workers, parts, limit, told)


def table_status(name: str = DEFAULT, out: PathLike | None = None, file: PathLike | None = None) -> dict[str, Any]:
    """How much of a table is there: in the folder it is built in, or in a packed file (the package's where None)."""
    spec = spec_named(name)
    if out is not None and file is not None:
        raise InputError("name a folder or a packed file, not both")
    if out is None:
        kept = packed.read(packed.path_of(name) if file is None else Path(file), spec)
        rows = [(row, kept.machines[m]) for row, m in zip(kept.rows, kept.machine, strict=True)]
        costs = kept.costs
    else:
        with TableStore(Path(out) / FILE, spec, create=False) as store:
            rows, costs = store.rows(), _kept_costs(store)
    first = {row.key: row for row, _ in rows if (row.seed, row.length) == (spec.config.seed, 1)}
    done = {(row.key, row.seed, row.length) for row, _ in rows}
    accuracy = {key: row.right[-1] for key, row in first.items()}
    parts = {}
    for part in PARTS:
        jobs = spec.jobs(part, accuracy)
        of = len(jobs) if part != "best" else spec.best
        if of:
            parts[part] = (sum(job in done for job in jobs), of)
    return {
        "name": name,
        "cells": len(first),
        "of": spec.cells,
        "failed": sum(row.failure is not None for row in first.values()),
        "parts": parts,
        "machines": _machines(rows),
        "seconds": sum(row.seconds for row, _ in rows),
        "costs": costs,
        "agreement": agreement(spec, [row for row, _ in rows]),
    }


def _machines(rows: Sequence[tuple[Measured, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    counts: dict[str, int] = {}
    for _, told in rows:
        text = json.dumps(dict(told), sort_keys=True)
        counts[text] = counts.get(text, 0) + 1
    return [{"rows": count, **json.loads(text)} for text, count in sorted(counts.items())]


def pack_table(name: str = DEFAULT, out: PathLike | None = None, to: PathLike | None = None) -> tuple[Path, int, str]:
    """Write what a folder holds as the packed file of the table, the package's own where `to` is None; the file, the
    number of trainings in it and its checksum. A build may go on meanwhile."""
    spec = spec_named(name)
    path = packed.path_of(name) if to is None else Path(to)
    with TableStore((default_folder(name) if out is None else Path(out)) / FILE, spec, create=False) as store:
        rows, costs = store.rows(), _kept_costs(store)
    if not rows:
        raise InputError(f"no cell of {name} has been trained yet; there is nothing to pack")
    return path, len(rows), packed.write(path, spec, rows, costs)


def search_table(
    name: str = DEFAULT,
    *,
    file: PathLike | None = None,
    config: PathLike | None = None,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A search of a table's cells by any strategy, in seconds, without training: what it hands out and how far from
    the table's best that is, in `regret`. Without settings 55 + 120 candidates.

    Raises `InputError` for a setting that the table has decided, or where the strategy cannot begin with its cells.
    """
    tabled = searching.TabledSpace(table(name, file=file))
    base = tabled.config()
    made = settle(base, config, settings)
    searching.check_choices(list(differences(base, made)))
    return searching.search_table(tabled, made)


def tournament(
    name: str = DEFAULT,
    *,
    file: PathLike | None = None,
    seeds: int = 200,
    whole: bool = False,
    strategies: Sequence[str] | None = None,
    workers: int | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Search strategies, all that are registered or some by name, on a table of cells; see `Rules` and `hold`.

    workers: processes, as many as this process may use processors where None.
    """
    workers = usable_cpus() or 1 if workers is None else workers
    check_main_guard(workers > 1)
    rules = Rules(seeds, max(2, min(Rules.choosing, seeds // 5)), whole, strategies, max(1, workers))
    return hold(table(name, file=file), rules, (lambda _: None) if quiet else say)


def export_table(opened: Table, path: Path) -> None:
    """Every training as a line of a CSV file."""
    write_text(path, "".join(f"{line}\n" for line in opened.csv_lines()))


def time_cells(name: str = DEFAULT, out: PathLike | None = None) -> CostModel:
    """Time some cells alone, which wants free cores, and keep the model that is fitted to them in the folder."""
    spec = spec_named(name)
    place = (default_folder(name) if out is None else Path(out)) / FILE
    with TableStore(place, spec, create=False) as store:
        source = Source.open(spec.config.data)
        model = CostModel.fitted(*timed(spec, source), building.machine(source))
        store.tell("costs", json.dumps(plain(model)))
    return model


def _kept_costs(store: TableStore) -> dict[str, Any] | None:
    text = store.about("costs")
    return None if text is None else json.loads(text)
