"""What a search takes over from an earlier run (`--init RUN`)."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from autometa.errors import InputError
from autometa.runs.files import plain, shown
from autometa.runs.folder import RunFolder
from autometa.train import records
from autometa.train.records import DATA
from autometa.train.run_config import ALGORITHMS, RunConfig, config_of
from autometa.train.tasks import Source

if TYPE_CHECKING:
    from autometa.algorithms.algorithm import Algorithm

Config = TypeVar("Config", bound=RunConfig)


@dataclass(frozen=True)
class Earlier(ABC, Generic[Config]):
    """A run, finished or stopped, from which a new search of the same algorithm begins.

    shape: settings that the new run takes over. alike: whether it takes over all of them where nothing else is said.
    """

    shape: ClassVar[tuple[str, ...]] = ()
    alike: ClassVar[bool] = False
    folder: RunFolder
    config: Config

    @classmethod
    def open(cls, run: str | os.PathLike, algorithm: Algorithm[Config]) -> Earlier[Config]:
        """Raises `InputError` where there is none or one of another algorithm, or where this one takes nothing over."""
        if cls is Earlier:
            raise InputError(f"{algorithm.command} takes nothing over from an earlier run; leave --init out")
        folder = RunFolder.open(run)
        config = config_of(folder)
        if config.algorithm != algorithm.name:
            raise InputError(
                f"{shown(folder.path)} holds {ALGORITHMS[config.algorithm].what}, not {algorithm.what}: "
                "a search can start from one of its own kind alone"
            )
        return cls(folder, cast(Config, config))

    @property
    def own(self) -> Config:
        """Its settings, for a new run that says nothing else."""
        return replace(cast(Any, self.config), init=None)

    def shaped(self, base: Config) -> Config:
        """`base` with a network of the earlier run's shape."""
        return replace(cast(Any, base), **{name: getattr(self.config, name) for name in self.shape})

    @abstractmethod
    def check(self, config: Config, source: Source, network: Any) -> None:
        """Raise `InputError` naming what differs, where what this run knows cannot serve the new one."""

    @abstractmethod
    def copy_to(self, folder: RunFolder, network: Any) -> None:
        """What the new run needs, into its own folder: it goes on even where the earlier one is gone."""

    @abstractmethod
    def told(self) -> str:
        """What is taken over, in a sentence."""

    def refuse(self, what: str, has: object, asked: object, why: str) -> None:
        """Raise `InputError`: both runs have to have the same."""
        raise InputError(
            f"{shown(self.folder.path)} has {what} {_text(has)}, the new run {_text(asked)}: {why}; make them equal, "
            "or leave --init out"
        )

    def about(self) -> dict[str, Any]:
        """Which run, its settings and images."""
        return {"run": str(self.folder.path), "config": plain(self.config), "data": self.images()}

    def images(self) -> dict[str, Any]:
        """What its data.json says. Raises `InputError` where it has not begun."""
        found = records.read(self.folder, DATA)
        if found is None:
            raise InputError(f"{shown(self.folder.path)} has not begun yet: there is nothing to start from")
        return found


def _text(value: object) -> str:
    return "none" if value is None else str(value)
