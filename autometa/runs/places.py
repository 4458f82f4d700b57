"""Where runs stand: the names of their files, the runs of the present folder, and which of them is the last."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from autometa.errors import InputError
from autometa.printable import unprinted
from autometa.runs.files import read_json
from autometa.runs.forms import flag, many, maybe, number, record, text, whole

CONFIG, ENVIRONMENT, METRICS, RESULT = "config.json", "environment.json", "metrics.jsonl", "result.json"
LATEST = "latest"
SEEDS = "seeds.json"
"""Of a folder that holds a run of each of several seeds in folders of their own: the seeds, what begins the next."""
_SEEDS = record(
    {"seeds": many(whole(), 1, 10_000)},
    {"preset": maybe(text), "seconds": maybe(number(0)), "length_asked": flag, "budget": maybe(number(0))},
)


def read_seeds(path: Path) -> dict[str, Any] | None:
    """seeds.json of a folder of several seeds, None where it is none."""
    there = all((path / name).is_file() for name in (SEEDS, CONFIG))
    return read_json(path / SEEDS, _SEEDS) if there else None


def seeds_of(path: Path) -> dict[int, Path]:
    """Seed -> its run folder, begun or not, of a folder of several seeds; empty for any other folder."""
    found = read_seeds(path)
    return {} if found is None else {seed: path / f"seed-{seed}" for seed in found["seeds"]}


def runs_here(root: str | os.PathLike = "runs") -> list[Path]:
    """The run folders directly below `root` and the present folder, finished or not, begun or resumed last first."""
    return _sorted(_found(Path(root)), CONFIG, ENVIRONMENT)


def finished_here(root: str | os.PathLike = "runs") -> list[Path]:
    """Those of them that are finished, the last one first; of a folder of several seeds the first one."""
    finished = [path for path in _found(Path(root)) if (path / RESULT).is_file()]
    return _sorted([path for path in finished if path in [*seeds_of(path.parent).values(), path][:1]], RESULT)


def place_of(run: str | os.PathLike, root: str | os.PathLike = "runs") -> Path:
    """The folder or file meant by a path, by the name of a run in `root`, or by the word `latest`, which is
    `last_run`."""
    if os.fspath(run) == LATEST:
        return last_run(root)
    path = meant(run)
    named = meant(Path(root) / path)
    there = not path.exists() and len(path.parts) == 1 and (named / CONFIG).is_file()
    return named if there else path


def meant(path: str | os.PathLike) -> Path:
    """The path; where there is nothing, the one that is shown so: bytes that are no UTF-8 cannot be typed."""
    given, other = Path(path), Path(unprinted(os.fspath(path)))
    return given if given.exists() or not other.exists() else other


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
    return found[0].parent if seeds_of(found[0].parent) else found[0]


def _found(root: Path) -> list[Path]:
    found: dict[Path, None] = {}
    for place in (root, Path()):
        with contextlib.suppress(OSError), os.scandir(place) as entries:
            for entry in entries:
                with contextlib.suppress(OSError, InputError):
                    path = Path(entry.path).resolve()
                    for run in [*seeds_of(path).values()] or [path]:
                        if all((run / name).is_file() for name in (CONFIG, ENVIRONMENT)):
                            found[run] = None
    return list(found)


def _sorted(paths: list[Path], *files: str) -> list[Path]:
    """By when the youngest of these files was written, the last one first; what has just been removed left out."""
    times = {}
    for path in paths:
        with contextlib.suppress(OSError):
            times[path] = max((path / name).stat().st_mtime_ns for name in files)
    return sorted(times, key=lambda path: (times[path], path.name), reverse=True)
