"""The runs of a folder, for `autometa runs list`."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from autometa.brief import brief
from autometa.errors import InputError
from autometa.report.view import View
from autometa.runs.checkpoint import entries, peek
from autometa.runs.folder import CHECKPOINTS, CONFIG, EVAL_PHASE, RunFolder, is_locked


@brief
@dataclass(frozen=True)
class RunRow:
    """One run. `progress` is (steps done, steps in all) as of the last checkpoint."""

    name: str
    path: Path
    status: str  # finished, interrupted, running or unreadable
    kind: str
    started: str
    progress: tuple[int, int] | None
    accuracy: float | None
    reason: str = ""  # why it is unreadable


def list_runs(root: str | os.PathLike = "runs") -> list[RunRow]:
    """A row for every run directly below `root`, in order of start; never raises for a damaged one."""
    root = Path(root)
    if not root.is_dir():
        return []
    found = [path for path in root.iterdir() if not path.is_symlink() and (path / CONFIG).is_file()]
    return sorted((describe_run(path) for path in found), key=lambda row: (row.started, row.name))


def describe_run(path: Path) -> RunRow:
    """The row of one run."""
    folder, about, result, seeds, reason = RunFolder(path), {}, None, {}, ""
    try:
        about, _, result, seeds = folder.environment, folder.config, folder.result, folder.seeds
    except InputError as error:
        reason = str(error)
    if is_locked(path):
        status = "running"
    elif reason:
        status = "unreadable"
    else:
        status = "finished" if result is not None else "interrupted"
    return RunRow(
        name=path.name,
        path=path,
        status=status,
        kind=f"{about.get('name', '?')}{f', {len(seeds)} seeds' if seeds else ''}",
        started=about.get("started", ""),
        progress=_progress(path / CHECKPOINTS) if not seeds else None,
        accuracy=View(result or {}).accuracy,
        reason=reason,
    )


def _progress(checkpoints: Path) -> tuple[int, int] | None:
    """Of the phase saved last; evaluations of a run are not its progress."""
    newest = None
    if checkpoints.is_dir():
        phases = (place for place in checkpoints.iterdir() if place.is_dir() and not place.name.startswith(EVAL_PHASE))
        for place in (checkpoints, *phases):
            for entry in entries(place)[:1]:
                with contextlib.suppress(OSError):  # pruned by the running process
                    changed = entry.path.stat().st_mtime_ns
                    if newest is None or changed > newest[0]:
                        newest = (changed, entry)
    if newest is None:
        return None
    total = peek(newest[1].path).get("state", {}).get("session", {}).get("total")
    return None if total is None else (newest[1].step, total)
