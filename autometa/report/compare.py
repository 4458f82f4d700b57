"""Runs side by side: accuracy against parameters and against candidates trained, read from their ledgers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autometa.brief import brief
from autometa.errors import InputError
from autometa.report.trust import bounds
from autometa.runs.files import shown
from autometa.runs.folder import RunFolder
from autometa.runs.ledger import LEDGER, Candidate, Ledger
from autometa.runs.listing import describe_run
from autometa.train.records import read_accuracy

MARKS = tuple(m * 10**e for e in range(1, 6) for m in (1, 2, 5))
"""Numbers of trained candidates at which searches are read off."""
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

    candidates: proposed. trained, failed: ended so. seconds: of all training, added up over workers; None where nobody
    measured. best: by validation accuracy. curve: (candidates trained, best accuracy so far) where it rises and at
    the end, in the ledger's order. front: networks that no other one beats in both accuracy and parameters, smallest
    first. scatter: all of them. final: the run's test accuracy, once it is finished. other_classes: the 95% interval
    over classes of that accuracy, where it was measured, and how many were tested: `38 to 92 (4)`.
    """

    run: str
    kind: str
    candidates: int
    trained: int
    failed: int
    seconds: float | None
    best: Point | None
    curve: tuple[tuple[int, float], ...]
    front: tuple[Point, ...]
    scatter: tuple[Point, ...]
    final: Point | None
    other_classes: str | None = None

    def at(self, trained: int) -> float | None:
        """Best accuracy after so many candidates; None where the run has not come so far."""
        if trained > self.trained:
            return None
        return max((accuracy for count, accuracy in self.curve if count <= trained), default=None)


@brief
@dataclass(frozen=True)
class Comparison:
    """Runs in the order asked for; unlike: settings in which their candidates' conditions differ, `name` -> values;
    unreadable: why runs are left out, by name."""

    runs: tuple[Compared, ...]
    unlike: Mapping[str, tuple[Any, ...]]
    unreadable: Mapping[str, str] = field(default_factory=dict)


def compare(runs: Sequence[str | os.PathLike]) -> Comparison:
    """Read runs, finished or not; those that are damaged are passed over, each with the reason.

    Raises `InputError` where one has neither a ledger nor a result, or none can be read.
    """
    if not runs:
        raise InputError("name at least one run to compare")
    folders = [RunFolder.open(run) for run in runs]
    names = _names([folder.path for folder in folders])
    found, searches, unreadable = [], [], {}
    for folder, name in zip(folders, names, strict=True):
        row = describe_run(folder.path)
        try:
            if row.reason:
                raise InputError(row.reason)
            rows, final = _rows(folder), _final(read_accuracy(folder))
        except InputError as error:
            unreadable[name] = str(error)
            continue
        found.append(_compared(folder, name, rows, final))
        searches += [folder.config] if (folder.path / LEDGER).is_file() else []
    if not found:
        raise InputError(next(iter(unreadable.values())))
    return Comparison(tuple(found), _unlike(searches), unreadable)


def _names(paths: Sequence[Path]) -> list[str]:
    """The folders' names, or their paths where two are called the same."""
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else [shown(path) for path in paths]


def _rows(folder: RunFolder) -> list[Candidate]:
    if not (folder.path / LEDGER).is_file():
        return []
    with Ledger.open(folder.path / LEDGER, create=False) as ledger:
        return ledger.outcomes()


def _compared(folder: RunFolder, name: str, rows: list[Candidate], final: Point | None) -> Compared:
    if not rows and final is None:
        raise InputError(f"{shown(folder.path)} has no candidates and no result yet; there is nothing to compare")
    done = [row for row in rows if row.state == "done"]
    points = [Point(row.accuracy, row.interval, row.parameters, row.key) for row in done]
    seconds = [row.seconds for row in rows if row.state in ("done", "failed")]
    return Compared(
        run=name,
        kind=_kind(folder),
        candidates=len(rows),
        trained=len(done),
        failed=sum(row.state == "failed" for row in rows),
        seconds=None if not seconds or None in seconds else sum(seconds),
        best=max(points, key=lambda p: p.accuracy, default=None),
        curve=curve([point.accuracy for point in points]),
        front=front(points),
        scatter=tuple(points),
        final=final,
        other_classes=_other_classes(folder.result or {}),
    )


def _kind(folder: RunFolder) -> str:
    """`search auto-meta`, with how it searched where that is a choice."""
    kind, strategy = str(folder.environment.get("name", "?")), folder.config.get("strategy")
    strategy = strategy.get("name") if isinstance(strategy, Mapping) else strategy
    return f"{kind} ({strategy})" if strategy else kind


def _final(result: Mapping[str, Any] | None) -> Point | None:
    if not result or result.get("accuracy") is None:
        return None
    scores = result.get("scores", {}).get("support_statistics", {})
    return Point(result["accuracy"], scores.get("ci95"), result.get("parameters"), str(result.get("kind", "")))


def _other_classes(result: Mapping[str, Any]) -> str | None:
    within = bounds(result)
    return None if within is None else f"{within} ({result['new_classes'].get('classes')})"


def curve(accuracies: Sequence[float]) -> tuple[tuple[int, float], ...]:
    """(candidates trained, best accuracy so far) where it rises, and at the end."""
    found: list[tuple[int, float]] = []
    for count, accuracy in enumerate(accuracies, 1):
        if not found or accuracy > found[-1][1]:
            found.append((count, accuracy))
    if found and found[-1][0] < len(accuracies):
        found.append((len(accuracies), found[-1][1]))
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
    """Where to read searches off: round numbers, and the most that any has trained."""
    most = max((run.trained for run in comparison.runs), default=0)
    return [*(mark for mark in MARKS if mark < most), most] if most else []


def _unlike(configs: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """Settings that differ among configs, by dotted name."""
    flat = [_flat({name: config.get(name) for name in ALIKE}) for config in configs]
    names = sorted({name for one in flat for name in one})
    values = {name: tuple(one.get(name) for one in flat) for name in names}
    return {name: found for name, found in values.items() if any(value != found[0] for value in found)}


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, item in value.items():
        if isinstance(item, Mapping):
            found.update(_flat(item, f"{prefix}{name}."))
        else:
            found[f"{prefix}{name}"] = item
    return found
