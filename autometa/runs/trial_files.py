"""Checkpoints of paused trials: files beside a ledger, each there whole or not at all, named by trial and step."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from autometa.errors import InputError
from autometa.runs.files import disk_errors, read_file, shown, sweep, sync_folder, temporary_beside, write_synced
from autometa.runs.tensors import LARGEST

REMEDY = "put a copy of the ledger's files back, or begin a new run"

Place = tuple[int, int]
"""A trial's number, and the meta-iterations that it has done."""


class TrialFiles:
    """The folder `ledger.trials` beside `ledger.sqlite`, which is there while it holds a file."""

    def __init__(self, ledger: Path) -> None:
        self.folder = ledger.with_suffix(".trials")

    def path(self, place: Place) -> Path:
        """Where a checkpoint stands."""
        return self.folder / f"trial-{place[0]:06d}-step-{place[1]}.safetensors"

    @contextlib.contextmanager
    def written(self, data: Mapping[Place, bytes]) -> Iterator[Mapping[Place, Path]]:
        """Files on the disk under names of their own, for `keep` within the block; what is not kept goes."""
        made: dict[Place, Path] = {}
        if not data:
            yield made
            return
        try:
            with disk_errors(f"write to {shown(self.folder)}"):
                self.folder.mkdir(exist_ok=True)
                for place, payload in data.items():
                    made[place] = temporary_beside(self.path(place))
                    write_synced(made[place], payload)
            yield made
        finally:
            for path in made.values():
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)

    def keep(self, made: Mapping[Place, Path]) -> None:
        """Give files that were `written` their names."""
        if made:
            with disk_errors(f"write to {shown(self.folder)}"):
                for place, path in made.items():
                    os.replace(path, self.path(place))
                sync_folder(self.folder)

    def read(self, place: Place, digest: str) -> bytes:
        """A checkpoint. Raises `InputError` where it is missing or is not the one that the ledger knows."""
        data = read_file(self.path(place), LARGEST, REMEDY)
        if hashlib.sha256(data).hexdigest() != digest:
            raise InputError(f"{shown(self.path(place))} is damaged; {REMEDY}")
        return data

    def only(self, places: Iterable[Place]) -> None:
        """Remove all other files, and the folder with the last one; for a time when nobody writes."""
        if not self.folder.is_dir():
            return
        wanted = {self.path(place) for place in places}
        sweep(self.folder)
        with disk_errors(f"tidy {shown(self.folder)}"):
            for path in self.folder.glob("trial-*.safetensors"):
                if path not in wanted:
                    path.unlink(missing_ok=True)
            if not wanted:
                with contextlib.suppress(OSError):  # something of a person's own lies there
                    self.folder.rmdir()
