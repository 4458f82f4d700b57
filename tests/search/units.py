"""Units of work that cost next to nothing, for workers under test."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from autometa.errors import InputError
from autometa.search.workers import Unit


def value_of(key: str) -> float:
    """The accuracy of a candidate, decided by its key alone."""
    return sum(ord(letter) * (n + 3) for n, letter in enumerate(key)) % 89 + 0.5


@dataclass(frozen=True)
class Toy:
    """Scores keys. folder: of notes about what happened; a key that holds `kill` kills its worker the first time,
    `raise` raises the first time, `poison` every time; `input` is a user's mistake."""

    folder: Path
    delay: float = 0.0

    def __call__(self, device: str):
        (self.folder / f"opened-{os.getpid()}").write_text(device)
        return self.work

    def work(self, batch):
        for key in batch.keys:
            time.sleep(self.delay)
            if "kill" in key and self._first(key):
                os.kill(os.getpid(), signal.SIGKILL)
            if ("raise" in key and self._first(key)) or "poison" in key:
                raise RuntimeError(f"{key} will not do")
            if "input" in key:
                raise InputError(f"{key} is a mistake")
        made = [{"key": key, "accuracy": value_of(key), "interval": 1.0, "parameters": len(key)} for key in batch.keys]
        return [{**o, "accuracy": None, "failure": "diverged"} if "diverge" in o["key"] else o for o in made]

    def _first(self, key: str) -> bool:
        try:
            (self.folder / f"done-{key}").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


@dataclass(frozen=True)
class Killed:
    """Another unit, in whose hands the first worker that has trained `key` dies before it can tell."""

    unit: Unit
    folder: Path
    key: str

    def __call__(self, device: str):
        work = self.unit(device)

        def killed(batch):
            outcomes = work(batch)
            if self.key in batch.keys and not (self.folder / "killed").exists():
                (self.folder / "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return outcomes

        return killed


@dataclass(frozen=True)
class Within:
    """Another unit, in an environment with these variables: a cluster begun earlier does not know ours."""

    unit: Unit
    variables: dict[str, str]

    def __call__(self, device: str):
        os.environ.update(self.variables)
        return self.unit(device)
