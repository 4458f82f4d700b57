"""Runs side by side: accuracy against parameters and against full trainings, read from their ledgers."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from statistics import fmean
from typing import Any

from autometa.brief import brief
from autometa.errors import InputError
from autometa.report.listing import describe_run
from autometa.report.seeds import over_seeds
from autometa.report.view import View
from autometa.runs.files import shown
from autometa.runs.folder import CONFIG, RunFolder
from autometa.runs.ledger import LEDGER, Candidate, Ledger
from autometa.runs.places import seeds_of
from autometa.train.config import flat
from autometa.train.records import read_accuracy

MARKS = tuple(m * 10**e for e in range(1, 6) for m in (1, 2, 5))
"""Numbers of full trainings at which searches are read off."""
ALIKE = ("data", "macro", "inner", "meta", "validation")
"""Settings that decide what a candidate's accuracy means."""


@dataclass(frozen=True)
class Point:
    """A network: accuracy in percent, half the width of its 95% confidence interval, parameters, what it is."""

    accuracy: float
    interval: float | None
    parameters: float | None
    what: str


@brief
@dataclass(frozen=True)
class Compared:
    """A run.

    candidates: proposed. trained, failed: ended so. spent: full trainings that the trained ones took together,
    rounded up. seconds: of all training, added up over workers; None where nobody measured. best: by validation
    accuracy, of those trained to the end. curve: (full trainings, best accuracy so far) where it rises and at the
    end, in the ledger's order. front: networks that no other one beats in both accuracy and parameters, smallest
    first. scatter: all of them. final: the run's test accuracy, once it is finished. other_classes: the 95% interval
    over classes of that accuracy, where it was measured, and how many were tested: `38 to 92 (4)`. data, seed: of its
    settings. terms: what its test accuracy must be read with, by name, as far as it is finished and tells.
    """

    run: str
    kind: str
    candidates: int
    trained: int
    spent: int
    failed: int
    seconds: float | None
    best: Point | None
    curve: tuple[tuple[float, float], ...]
    front: tuple[Point, ...]
    scatter: tuple[Point, ...]
    final: Point | None
    other_classes: str | None = None
    data: str | None = None
    seed: int | None = None
    terms: Mapping[str, Any] = field(default_factory=dict)

    def at(self, trained: int) -> float | None:
        """Best accuracy after so many full trainings; None where the run has not come so far."""
        if trained > self.spent:
            return None
        return max((accuracy for count, accuracy in self.curve if count <= trained), default=None)


@brief
@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone. score: `over_seeds` of the test accuracies of those that are finished;
    parameters: their mean."""

    name: str
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    score: Mapping[str, float | int | None]
    parameters: float | None


@brief
@dataclass(frozen=True)
class Comparison:
    """Runs in the order asked for; unlike: settings in which their candidates' conditions differ, `name` -> values;
    unreadable: why runs are left out, by name; groups: of seeds; incomparable: terms of test accuracies that differ,
    `name` -> values of the runs that have a test accuracy, in their order."""

    runs: tuple[Compared, ...]
    unlike: Mapping[str, tuple[Any, ...]]
    unreadable: Mapping[str, str] = field(default_factory=dict)
    groups: tuple[Group, ...] = ()
    incomparable: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)


def compare(runs: Sequence[str | os.PathLike]) -> Comparison:
    """Read runs, finished or not; those that are damaged are passed over, each with the reason. A folder of several
    seeds stands for those that have begun.

    Raises `InputError` where one has neither a ledger nor a result, or none can be read.
    """
    if not runs:
        raise InputError("name at least one run to compare")
    folders = _folders(runs)
    names = _names([folder.path for folder in folders])
    found, searches, unreadable, alike = [], [], {}, {}
    for folder, name in zip(folders, names, strict=True):
        row = describe_run(folder.path)
        try:
            if row.reason:
                raise InputError(row.reason)
            rows, view = _rows(folder), View(read_accuracy(folder) or {})
            found.append(_compared(folder, name, rows, view))
        except InputError as error:
            unreadable[name] = str(error)
            continue
        alike.setdefault(_but_for_the_seed(folder), []).append(found[-1])
        searches += [folder.config] if (folder.path / LEDGER).is_file() else []
    if not found:
        raise InputError(next(iter(unreadable.values())))
    groups = tuple(_group(key, runs) for key, runs in alike.items() if len({run.seed for run in runs} - {None}) > 1)
    terms = [run.terms for run in found if run.final is not None]
    return Comparison(tuple(found), _unlike(searches), unreadable, groups, _differing(terms))


def _folders(runs: Sequence[str | os.PathLike]) -> list[RunFolder]:
    """Each run once."""
    found: dict[Path, RunFolder] = {}
    for run in runs:
        whole = RunFolder.open(run, whole=True)
        begun = [RunFolder(path) for path in whole.seeds.values() if (path / CONFIG).is_file()]
        if whole.seeds and not begun:
            raise InputError(f"no seed of {shown(whole.path)} has begun yet; there is nothing to compare")
        found.update({folder.path: folder for folder in begun or [whole]})
    return list(found.values())


def _but_for_the_seed(folder: RunFolder) -> str:
    """What runs of one group have in common: their folder, or all settings but the seed."""
    if seeds_of(folder.path.parent):
        return folder.path.parent.name
    config = {name: value for name, value in folder.config.items() if name != "seed"}
    return f"{_kind(folder)} {json.dumps(config, sort_keys=True)}"


def _group(key: str, runs: Sequence[Compared]) -> Group:
    finals = [run.final for run in runs if run.final is not None]
    sizes = [final.parameters for final in finals if final.parameters is not None]
    name = key if all(run.run.startswith(f"{key}/") for run in runs) else f"{runs[0].run} and other seeds"
    score = over_seeds([final.accuracy for final in finals])
    seeds = tuple(run.seed for run in runs if run.seed is not None)
    return Group(name, tuple(run.run for run in runs), seeds, score, fmean(sizes) if sizes else None)


def _names(paths: Sequence[Path]) -> list[str]:
    """The folders' names, or their paths where two are called the same."""
    names = [f"{path.parent.name}/{path.name}" if seeds_of(path.parent) else path.name for path in paths]
    return names if len(set(names)) == len(names) else [shown(path) for path in paths]


def _rows(folder: RunFolder) -> list[Candidate]:
    if not (folder.path / LEDGER).is_file():
        return []
    with Ledger.open(folder.path / LEDGER, create=False) as ledger:
        return ledger.outcomes()


def _compared(folder: RunFolder, name: str, rows: list[Candidate], view: View) -> Compared:
    final = _final(view)
    if not rows and final is None:
        raise InputError(f"{shown(folder.path)} has no candidates and no result yet; there is nothing to compare")
    done, scored = [row for row in rows if row.state == "done"], [row for row in rows if row.scored]
    taken = spent(scored, folder.config.get("meta", {}).get("iterations"))
    points = [Point(row.accuracy, row.interval, row.parameters, row.key) for row in done]
    seconds = [row.seconds for row in rows if row.ended]
    return Compared(
        run=name,
        kind=_kind(folder),
        candidates=len(rows),
        trained=len(scored),
        spent=math.ceil(taken[-1]) if taken else 0,
        failed=sum(row.state == "failed" for row in rows),
        seconds=None if not seconds or None in seconds else sum(seconds),
        best=max(points, key=lambda p: p.accuracy, default=None),
        curve=curve([row.accuracy for row in scored], taken),
        front=front(points),
        scatter=tuple(points),
        final=final,
        other_classes=None if view.bounds is None else f"{view.bounds} ({view.part('new_classes').get('classes')})",
        data=_text_of(folder.config.get("data"), "name"),
        seed=seed if isinstance(seed := folder.config.get("seed"), int) else None,
        terms={} if final is None else view.terms,
    )


def _text_of(value: Any, name: str) -> str | None:
    return str(value[name]) if isinstance(value, Mapping) and name in value else None


def _kind(folder: RunFolder) -> str:
    """`search auto-meta`, with how it searched where that is a choice."""
    kind, strategy = str(folder.environment.get("name", "?")), folder.config.get("strategy")
    strategy = strategy.get("name") if isinstance(strategy, Mapping) else strategy
    return f"{kind} ({strategy})" if strategy else kind


def _final(view: View) -> Point | None:
    if view.accuracy is None:
        return None
    return Point(view.accuracy, view.score.get("ci95"), view.parameters, view.kind)


def spent(rows: Sequence[Candidate], whole: Any) -> list[float]:
    """Full trainings, of `whole` meta-iterations each, that trials and those before them have taken together."""
    whole, step = whole if isinstance(whole, int) and whole > 0 else 1, {row.id: row.step for row in rows}
    ends = [whole if row.state == "done" else min(row.step, whole) for row in rows]
    taken = accumulate(end - step.get(row.parent, 0) for row, end in zip(rows, ends, strict=True))
    return [count / whole if count % whole else count // whole for count in taken]


def curve(accuracies: Sequence[float], spent: Sequence[float] | None = None) -> tuple[tuple[float, float], ...]:
    """(full trainings, best accuracy so far) where it rises, and at the end; spent: after each, 1, 2 ... where None."""
    found: list[tuple[float, float]] = []
    counts = range(1, len(accuracies) + 1) if spent is None else spent
    for count, accuracy in zip(counts, accuracies, strict=True):
        if not found or accuracy > found[-1][1]:
            found.append((count, accuracy))
    if found and found[-1][0] < counts[-1]:
        found.append((counts[-1], found[-1][1]))
    return tuple(found)


def front(points: Sequence[Point]) -> tuple[Point, ...]:
    """The points of known size that no other one beats: as accurate with fewer parameters, or better with as many."""
    sized = [point for point in points if point.parameters is not None]
    kept: list[Point] = []
    for point in sorted(sized, key=lambda p: (p.parameters, -p.accuracy)):
        if not kept or point.accuracy > kept[-1].accuracy:
            kept.append(point)
    return tuple(kept)


def marks(comparison: Comparison) -> list[int]:
    """Where to read searches off: round numbers of full trainings, and the most that any has spent."""
    most = max((run.spent for run in comparison.runs), default=0)
    return [*(mark for mark in MARKS if mark < most), most] if most else []


def _unlike(configs: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """Settings that differ among configs, by dotted name."""
    return _differing([flat({name: config.get(name) for name in ALIKE}) for config in configs])


def _differing(flat: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """What is not the same everywhere, by name."""
    names = sorted({name for one in flat for name in one})
    values = {name: tuple(one.get(name) for one in flat) for name in names}
    return {name: found for name, found in values.items() if any(value != found[0] for value in found)}
