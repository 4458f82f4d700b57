"""Where runs stand: the names of their files, the runs of the present folder, and which of them is the last."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from autometa.errors import InputError

CONFIG, ENVIRONMENT, METRICS, RESULT = "config.json", "environment.json", "metrics.jsonl", "result.json"
LATEST = "latest"


def runs_here(root: str | os.PathLike = "runs") -> list[Path]:
    """The run folders directly below `root` and the present folder, finished or not, begun or resumed last first."""
    return _sorted(_found(Path(root)), CONFIG, ENVIRONMENT)


def finished_here(root: str | os.PathLike = "runs") -> list[Path]:
    """Those of them that are finished, the last one first."""
    return _sorted([path for path in _found(Path(root)) if (path / RESULT).is_file()], RESULT)


def last_run(root: str | os.PathLike = "runs") -> Path:
    """Where the younger of <root>/latest and ./latest points; on a disk without links, the run begun or resumed last.

    Raises `InputError` where there is none, or where it is gone.
    """
    links = [link for link in (Path(root) / LATEST, Path(LATEST)) if link.is_symlink()]
    if links:
        link = max(links, key=lambda link: link.lstat().st_mtime_ns)
        if not link.exists():
            raise InputError(f"{link} points to {os.readlink(link)}, which is gone; name a run folder")
        return link
    if Path(LATEST).is_dir():
        return Path(LATEST)
    found = runs_here(root)
    if not found:
        raise InputError(f"there is no last run here ({Path(root) / LATEST} is missing); name a run folder")
    return found[0]


def _found(root: Path) -> list[Path]:
    found: dict[Path, None] = {}
    for place in (root, Path()):
        with contextlib.suppress(OSError), os.scandir(place) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    path = Path(entry.path)
                    if all((path / name).is_file() for name in (CONFIG, ENVIRONMENT)):
                        found[path.resolve()] = None
    return list(found)


def _sorted(paths: list[Path], *files: str) -> list[Path]:
    """By when the youngest of these files was written, the last one first; what has just been removed left out."""
    times = {}
    for path in paths:
        with contextlib.suppress(OSError):
            times[path] = max((path / name).stat().st_mtime_ns for name in files)
    return sorted(times, key=lambda path: (times[path], path.name), reverse=True)
