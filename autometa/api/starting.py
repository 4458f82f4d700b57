"""What a search takes over from an earlier run (`--init RUN`): weights and architecture, or candidates' scores."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from autometa.algorithms.auto_meta import AutoMetaConfig
from autometa.algorithms.auto_meta_job import KNOWN, SEARCH, known_outcomes
from autometa.algorithms.jobs import DATA, INIT
from autometa.algorithms.metanas import MetaNASConfig
from autometa.api.settings import differences
from autometa.errors import InputError
from autometa.models.model import Model, config_of
from autometa.nas.one_shot.network import OneShotNetwork
from autometa.runs import checkpoint
from autometa.runs.files import plain, shown, write_json
from autometa.runs.folder import RunFolder
from autometa.train import records
from autometa.train.network import Network
from autometa.train.tasks import Source

SHAPE = ("channels", "cells", "reductions", "nodes", "primitives", "stem_stride")
"""Settings on which the shape of a search network depends, beside ways and channels of the images."""
ALIKE = ("data.root", "meta.max_slots", "validation.max_slots")
"""Settings of a candidate that do not change its score."""


@dataclass(frozen=True)
class Earlier:
    """A run, finished or stopped, from which a new search begins."""

    folder: RunFolder
    config: MetaNASConfig | AutoMetaConfig

    @classmethod
    def open(cls, run: str | os.PathLike, kind: type) -> Earlier:
        """Raises `InputError` where there is none, or one of another sort."""
        folder = RunFolder.open(run)
        config = config_of(folder)
        if not isinstance(config, kind):
            own = {MetaNASConfig: "a metanas search", AutoMetaConfig: "an auto-meta search"}
            raise InputError(
                f"{shown(folder.path)} holds {own.get(type(config), 'a training run')}, not {own[kind]}: "
                "a search can start from one of its own kind alone"
            )
        return cls(folder, config)

    @property
    def own(self) -> MetaNASConfig | AutoMetaConfig:
        """Its settings, for a new run that says nothing else."""
        return replace(self.config, init=None)

    def shaped(self, base: MetaNASConfig) -> MetaNASConfig:
        """`base` with a network of the earlier run's shape."""
        return replace(base, **{name: getattr(self.config, name) for name in SHAPE})

    def check(self, config: MetaNASConfig | AutoMetaConfig, source: Source, network: Network) -> None:
        """Raise `InputError` naming what differs, where what this run knows cannot serve the new one."""
        if isinstance(config, AutoMetaConfig):
            self._check_candidates(config, source)
        else:
            self._check_shape(config, source, network)

    def _refuse(self, what: str, has: object, asked: object, why: str) -> None:
        raise InputError(
            f"{shown(self.folder.path)} has {what} {_text(has)}, the new run {_text(asked)}: {why}; make them equal, "
            "or leave --init out"
        )

    def _check_shape(self, config: MetaNASConfig, source: Source, network: OneShotNetwork) -> None:
        why = "weights can only start a network of the same shape"
        for name in SHAPE:
            if getattr(self.config, name) != getattr(config, name):
                self._refuse(name, getattr(self.config, name), getattr(config, name), why)
        images, own = self._images()["image_shape"], list(source.image_shape)
        if images[0] != own[0]:
            self._refuse("images with a number of channels of", images[0], own[0], why)
        self.learned(network)

    def _check_candidates(self, config: AutoMetaConfig, source: Source) -> None:
        why = "a score means the same only where cells are trained and scored alike"
        contrary = differences(self.config.candidate(), config.candidate())
        for name, (has, asked) in contrary.items():
            if name not in ALIKE:
                self._refuse(name, has, asked, why)
        if self.config.precision != config.precision:
            self._refuse("precision", self.config.precision, config.precision, why)
        if self._images()["data_hash"] != source.store.data_hash:
            raise InputError(
                f"the images of {source.split.name} are not those that {shown(self.folder.path)} saw: {why}; leave "
                "--init out"
            )

    def _images(self) -> dict:
        found = records.read(self.folder, DATA)
        if found is None:
            raise InputError(f"{shown(self.folder.path)} has not begun yet: there is nothing to start from")
        return found

    def learned(self, network: OneShotNetwork):
        """Weights, architecture and Adam's state in the new network's layout: with other ways the head's rows are
        those of ARCHITECTURE, "Ways"."""
        model = Model.of(self.folder)
        return model.with_ways(network.ways).learned

    def copy_to(self, folder: RunFolder, network: Network) -> None:
        """What the new run needs, into its own folder: it goes on even where the earlier one is gone."""
        about = {"run": str(self.folder.path), "config": plain(self.config), "data": self._images()}
        if isinstance(self.config, AutoMetaConfig):
            found = known_outcomes(self.outcomes())
            write_json(folder.path / KNOWN, {**about, "outcomes": found})
            return
        learned = self.learned(network)
        done = checkpoint.entries(self.folder.checkpoints / SEARCH)[0].step
        tensors = dict(learned.only(()))
        checkpoint.save(folder.path / INIT, done, tensors, {**about, "iterations": done})

    def outcomes(self) -> list:
        """The candidates in its ledger."""
        return records.read_candidates(self.folder)

    def told(self) -> str:
        """What is taken over, in a sentence."""
        place = shown(self.folder.path)
        if isinstance(self.config, AutoMetaConfig):
            return f"candidates that {place} has scored are not trained again"
        done = checkpoint.entries(self.folder.checkpoints / SEARCH)
        return f"starting from what {place} had learned after {done[0].step if done else 0} meta-iterations"


def _text(value: object) -> str:
    return "none" if value is None else str(value)
