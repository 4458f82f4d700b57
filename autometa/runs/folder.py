"""The run folder: one run is one folder, written by one process at a time.

config.json is written last at creation, so a folder without it is no run and may be used afresh.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import os
import re
import shlex
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from autometa.errors import InputError
from autometa.runs import environment
from autometa.runs.files import (
    TEMPORARY,
    disk_errors,
    plain,
    read_json,
    remove_tree,
    say,
    shown,
    sweep,
    sync_folder,
    temporary_beside,
    write_json,
)
from autometa.runs.forms import maybe, number, record, text
from autometa.runs.migrate import migrated
from autometa.runs.places import CONFIG, ENVIRONMENT, LATEST, METRICS, RESULT, SEEDS, place_of, seeds_of

CHECKPOINTS, GENOTYPES, LOCK = "checkpoints", "genotypes", ".autometa.lock"
OBSERVATIONS, HEALTH, PACE, CONFIDENCE = "observations.json", "health.json", "pace.json", "confidence.json"
MODEL_CARD = "MODEL_CARD.md"
EVAL_PHASE = "eval-"
"""What the names of phases that evaluate a run again begin with."""
CONFIG_FORM = record()
RESULT_FORM = record(optional={"kind": text, "accuracy": maybe(number())})
"""What any run's result.json holds; the result of each sort of run has a form of its own."""
_OWN = re.compile(
    r"(config|environment|result|search|known|data|observations|health|pace|confidence|seeds)\.json|seed-\d+|"
    r"metrics(-.+)?\.jsonl|ledger\.sqlite(-wal|-shm)?|ledger\.trials|checkpoints|genotypes|tensorboard|init|report\.html|MODEL_CARD\.md"
)


class RunFolder:
    """One run on the disk. Made by `create` or `open`; a context manager that gives up the lock."""

    def __init__(self, path: Path):
        self.path = path
        self._lock: int | None = None
        self._release: weakref.finalize | None = None

    def __repr__(self) -> str:
        return f"RunFolder({shown(self.path)!r})"

    @classmethod
    def create(
        cls,
        path: str | os.PathLike | None,
        name: str,
        config: Any,
        command: Sequence[str],
        *,
        overwrite: bool = False,
        seed: int | None = None,
        device: str = "cpu",
        precision: str = "fp32",
        seeds: Any = None,
        notice: Callable[[str], None] = say,
    ) -> RunFolder:
        """Begin a run in `path`, or in runs/<yyyymmdd-hhmmss>-<name>; the lock is held from here on.

        config: a mapping or dataclass, the resolved configuration.  command: the command line as typed.
        overwrite: replace a run that stands there; files that no run writes stay.
        seeds: what seeds.json says, where the folder will hold a run of each of several seeds.
        Raises `InputError` where the folder is in use or holds anything else, before anything is written.
        """
        resolved = plain(config, strict=True)
        folder = cls(_new_default(name) if path is None else _prepared(Path(path), overwrite))
        folder.acquire()
        try:
            _refuse_in_use(folder.path, overwrite)
            folder._clear()
            about = {"name": name, **environment.describe(command, seed, device, precision)}
            with disk_errors(f"create {shown(folder.path)}"):
                folder.checkpoints.mkdir()
                folder.genotypes.mkdir()
                sync_folder(folder.path.parent)
            write_json(folder.path / ENVIRONMENT, about)
            if seeds is not None:
                write_json(folder.path / SEEDS, seeds)
            write_json(folder.path / CONFIG, resolved)
            folder.point_latest(notice)
        except BaseException:
            folder.close()
            raise
        return folder

    @classmethod
    def open(
        cls, run: str | os.PathLike | RunFolder = LATEST, *, root: str | os.PathLike = "runs", whole: bool = False
    ) -> RunFolder:
        """An existing run, for reading: by its folder, by its name in `root`, or by `latest`, the last run of `root` or
        of the present folder; one that is open already is returned.

        A folder of several seeds stands for the run of its first one, unless the `whole` is asked for: any other
        choice would be one by accuracy on test tasks. Raises `InputError` where there is none.
        """
        if isinstance(run, RunFolder):
            return run
        found = place_of(run, root)
        if not found.is_dir():
            raise InputError(f"there is no run folder {shown(found)}; `autometa runs list` shows the runs")
        if not (found / CONFIG).is_file():
            raise InputError(f"{shown(found)} is not a run folder: it holds no {CONFIG}")
        first = None if whole else next(iter(seeds_of(found).values()), None)
        if first is not None and not (first / CONFIG).is_file():
            raise InputError(f"no seed of {shown(found)} has begun yet; go on with it first")
        return cls((first or found).resolve())

    @classmethod
    def resume(
        cls,
        path: str | os.PathLike,
        command: Sequence[str],
        *,
        root: str | os.PathLike = "runs",
        device: str = "cpu",
        notice: Callable[[str], None] = say,
    ) -> RunFolder:
        """`open` to go on with: takes the lock, records the resumption, says what differs since the start."""
        folder = cls.open(path, root=root, whole=True)
        folder.acquire()
        try:
            recorded = folder.environment
            now = environment.describe(command, None, device, recorded.get("precision", "fp32"))
            changed = environment.differences(recorded, now)
            entry = {"started": now["started"], "command": shlex.join(command), "changed": changed}
            recorded.setdefault("resumed", []).append(entry)
            write_json(folder.path / ENVIRONMENT, recorded)
            folder.point_latest(notice)
        except BaseException:
            folder.close()
            raise
        if changed:
            notice(f"resumed in another environment, last bits may differ: {', '.join(changed)}")
        return folder

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / CHECKPOINTS

    @property
    def genotypes(self) -> Path:
        """Folder of the genotypes."""
        return self.path / GENOTYPES

    @property
    def metrics(self) -> Path:
        """The metrics file."""
        return self.path / METRICS

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration, in today's form."""
        return migrated(read_json(self.path / CONFIG, CONFIG_FORM))

    @property
    def environment(self) -> dict[str, Any]:
        """What the run was started on."""
        return read_json(self.path / ENVIRONMENT, environment.FORM)

    @property
    def seeds(self) -> dict[int, Path]:
        """Seed -> run folder, where this folder holds several; empty where it is a run itself."""
        return seeds_of(self.path)

    @property
    def result(self) -> dict[str, Any] | None:
        """What `write_result` wrote; None while the run is not finished."""
        path = self.path / RESULT
        return read_json(path, RESULT_FORM) if path.exists() else None

    def write_config(self, config: Any) -> Path:
        """What was decided while the run went on."""
        return self._write(self.path / CONFIG, config)

    def write_result(self, result: Any) -> Path:
        """Finish the run. A number under "accuracy" (percent) is what `list_runs` shows."""
        return self._write(self.path / RESULT, result)

    def write_observations(self, observations: Any) -> Path:
        """What the report shows beside the result."""
        return self._write(self.path / OBSERVATIONS, observations)

    def write_genotype(self, name: str, genotype: Any) -> Path:
        """Write genotypes/<name>.json."""
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
            raise InputError(f"genotype name {name!r} may hold letters, digits, dot, dash, underscore only")
        return self._write(self.genotypes / f"{name}.json", genotype)

    def forget_phase(self, phase: str) -> None:
        """Remove checkpoints and metrics of a loop whose outcome is kept elsewhere."""
        remove_tree(self.checkpoints / phase)
        with disk_errors(f"clean up {shown(self.path)}"):
            self.phase_metrics(phase).unlink(missing_ok=True)

    def phase_metrics(self, phase: str) -> Path:
        """The metrics file of one of the run's loops."""
        return self.metrics.with_name(f"metrics-{phase}.jsonl") if phase else self.metrics

    def _write(self, path: Path, value: Any) -> Path:
        self.acquire()
        with disk_errors(f"write {path}"):
            path.parent.mkdir(exist_ok=True)
        write_json(path, value)
        return path

    @property
    def locked(self) -> bool:
        """Whether this object holds the lock."""
        return self._lock is not None

    def acquire(self) -> None:
        """Become the one process that writes this run, and clear away what killed ones left half done.

        The lock is the system's: it goes with the process, however that ends.  Raises `InputError` where
        another process, or another `RunFolder` in this one, holds it.
        """
        if self.locked:
            return
        with disk_errors(f"write in {shown(self.path)}"):
            lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _flock(lock, fcntl.LOCK_EX, patience=0.3):
                owner = os.pread(lock, 200, 0).decode(errors="replace").strip() or "another process"
                raise InputError(f"{shown(self.path)} is being written by {owner}; wait for it or stop it")
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"process {os.getpid()} on {os.uname().nodename}\n".encode(), 0)
        except BaseException:
            os.close(lock)
            raise
        self._lock = lock
        self._release = weakref.finalize(self, os.close, lock)
        _HOLDERS.add(self)
        for place in (self.path, self.checkpoints, self.genotypes):
            sweep(place)

    def close(self) -> None:
        """Give up the lock."""
        if self._release is not None:
            self._release()
            self._lock = self._release = None
            _HOLDERS.discard(self)

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def point_latest(self, notice: Callable[[str], None] = say) -> None:
        """Let `latest` beside this folder point here; where that cannot be, say so and go on.

        Not of one of several seeds, whose folder is what goes on as a whole.
        """
        link = self.path.parent / LATEST
        if link == self.path or seeds_of(self.path.parent):
            return
        temporary = temporary_beside(link)
        try:
            if link.exists() and not link.is_symlink():
                raise FileExistsError(0, "something else has that name")
            os.symlink(self.path.name, temporary)
            os.replace(temporary, link)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            notice(f"{shown(link)} does not point to this run: {error.strerror or error}")

    def _clear(self) -> None:
        """Remove what a run, or the beginning of one, wrote here; all else stays."""
        present = [entry for entry in self.path.iterdir() if _OWN.fullmatch(entry.name)]
        # config.json first: from then on the folder is no run, however far this gets.
        for entry in sorted(present, key=lambda entry: entry.name != CONFIG):
            with disk_errors(f"remove {shown(entry)}"):
                remove_tree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


_HOLDERS: weakref.WeakSet[RunFolder] = weakref.WeakSet()


def is_locked(path: Path) -> bool:
    """Whether some process writes this run now."""
    try:
        lock = os.open(path / LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not _flock(lock, fcntl.LOCK_SH, patience=0.0)
    finally:
        os.close(lock)


def _flock(lock: int, kind: int, patience: float) -> bool:
    """Try for `patience` seconds: `is_locked` of another process holds the lock for a moment."""
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        except OSError as error:
            if kind == fcntl.LOCK_EX:
                say(f"no locks on this disk ({error.strerror}): let one process only write this run")
            return True


def _release_in_child() -> None:
    """A forked worker that outlives its parent must not keep the parent's lock."""
    for folder in list(_HOLDERS):
        folder.close()


os.register_at_fork(after_in_child=_release_in_child)


def _new_default(name: str) -> Path:
    """A new folder runs/<yyyymmdd-hhmmss>-<name>, with -2, -3 ... where two runs begin in one second."""
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.") or "run"
    stem = Path("runs").absolute() / f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{safe}"
    path, number = stem, 1
    with disk_errors(f"create {shown(stem)}"):
        stem.parent.mkdir(exist_ok=True)
        while True:
            try:
                path.mkdir()
                return path.resolve()
            except FileExistsError:
                number += 1
                path = stem.with_name(f"{stem.name}-{number}")


def _prepared(path: Path, overwrite: bool) -> Path:
    """The folder a user chose, made where it is missing, refused before a lock file is put into it."""
    if path.is_symlink() and path.name == LATEST:
        raise InputError(f"{path} is the link to the last run; choose another folder with --out")
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; choose another folder with --out")
    path = path.resolve()
    with disk_errors(f"create {shown(path)}"):
        path.mkdir(parents=True, exist_ok=True)
        _refuse_in_use(path, overwrite)
    return path


def _refuse_in_use(path: Path, overwrite: bool) -> None:
    """Refuse a folder with anything in it, save a run to be overwritten or one that never came to be."""
    names = {entry.name for entry in path.iterdir()}
    foreign = [name for name in names - {LOCK} if not (_OWN.fullmatch(name) or TEMPORARY.fullmatch(name))]
    if CONFIG in names and LOCK in names:
        if not overwrite:
            raise InputError(
                f"{shown(path)} already holds a run; go on with it by --resume {shlex.quote(shown(path))}, "
                "or choose another folder with --out"
            )
    elif names and (foreign or LOCK not in names):
        raise InputError(
            f"{shown(path)} is not empty (it holds {sorted(names)[0]}) and no run to --resume; "
            "choose another folder with --out"
        )
