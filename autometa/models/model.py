"""A run's outcome, read back from its folder: config, network, what was learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from autometa.algorithms.auto_meta import AutoMetaConfig
from autometa.algorithms.auto_meta_job import FINAL, FOUND
from autometa.algorithms.jobs import DATA, OWN_GENOTYPE
from autometa.algorithms.metanas import MetaNASConfig
from autometa.algorithms.train import ReptileConfig
from autometa.brief import brief
from autometa.data import Recipe
from autometa.data.names import READINGS
from autometa.errors import InputError
from autometa.nas.spaces.genotype import Genotype
from autometa.runs import checkpoint
from autometa.runs.files import REMEDY, shown
from autometa.runs.folder import CONFIG, RunFolder
from autometa.runs.forms import FormError
from autometa.runs.migrate import migrated
from autometa.slots.layout import Layout
from autometa.train import records
from autometa.train.checked import check_captured
from autometa.train.config import from_json
from autometa.train.learned import Learned
from autometa.train.network import Network

AnyConfig = MetaNASConfig | AutoMetaConfig | ReptileConfig
KINDS = {"arch_lr": MetaNASConfig, "beam": AutoMetaConfig, "network": ReptileConfig}
"""The sort of run by a setting that it alone has."""


def config_of(folder: RunFolder) -> AnyConfig:
    """The run's config, checked. Raises `InputError` where it is damaged, or the folder holds another sort of run."""
    value = folder.config
    kind = next((kind for name, kind in KINDS.items() if name in value), None)
    if kind is None:
        raise InputError(f"{shown(folder.path)} holds no search and no training run; choose another one with --run")
    try:
        return read_config(kind, value)
    except InputError as error:
        raise InputError(f"{shown(folder.path / CONFIG)}: {error}") from error


def read_config(kind: type[AnyConfig], value: Mapping[str, Any]) -> AnyConfig:
    """A config from a file, checked: types and limits of all fields, before anything is allocated.

    Raises `InputError`, also where what it names is of a plugin that is not loaded.
    """
    if isinstance(value.get("data"), Mapping):  # what does not say how it reads names began before that was recorded
        value = {**value, "data": {"reading": READINGS[0], **value["data"]}}
    config = from_json(kind, migrated(value))
    config.check()
    return config


def settled_config(folder: RunFolder) -> AnyConfig:
    """The config of a run, its genotype read from the run's own copy."""
    config, own = config_of(folder), folder.genotypes / f"{OWN_GENOTYPE}.json"
    if isinstance(config, ReptileConfig) and own.exists():
        return replace(config, network=str(own))
    return config


def model_config(folder: RunFolder) -> MetaNASConfig | ReptileConfig:
    """The config of the network that a run hands out: of an Auto-Meta run its winner's.

    Raises `InputError` where that is not yet found.
    """
    config = settled_config(folder)
    if not isinstance(config, AutoMetaConfig):
        return config
    best = records.read(folder, FOUND, {"winner": None})["winner"]
    if best is None:
        raise InputError(f"the search in {folder.path} has not found its cell yet; go on with it first")
    return config.final_config(best["key"])


def learned_of(folder: RunFolder, network: Network) -> Learned:
    """What the run has learned so far, from its newest checkpoint, held against its network.

    Raises `InputError` where there is none yet.
    """
    phase = PHASES[type(config_of(folder))]
    found = checkpoint.load_latest(folder.checkpoints / phase)
    if found is None:
        raise InputError(f"{folder.path} has no checkpoint yet; let it run until its first one")
    try:
        check_captured(found.tensors, network.layout)
    except FormError as error:
        raise InputError(f"checkpoint {shown(found.path)} does not fit its run: {error}; {REMEDY}") from error
    return Learned.of(found.tensors)


PHASES = {MetaNASConfig: "search", AutoMetaConfig: FINAL, ReptileConfig: "train"}
"""The loop of meta-iterations whose outcome a run hands out."""


def built(
    config: MetaNASConfig | ReptileConfig, image_shape: tuple[int, int, int], genotype: Genotype | None = None
) -> Network:
    """The network of a config that was read from a file. Raises `InputError` where it cannot be built."""
    try:
        network = config.build(*((image_shape,) if genotype is None else (image_shape, genotype)))
        _ = network.layout
    except InputError:
        raise
    except ValueError as error:
        raise InputError(str(error)) from error
    return network


@brief
@dataclass(frozen=True)
class Model:
    """A run ready to adapt: its config, network, learned state, how it wants its images, which ones it saw."""

    config: MetaNASConfig | ReptileConfig
    network: Network
    learned: Learned
    recipe: Recipe
    data_hash: str

    @classmethod
    def of(cls, folder: RunFolder) -> Model:
        """Raises `InputError` where the folder holds no usable run."""
        config = model_config(folder)
        about = records.read(folder, DATA)
        if about is None:
            raise InputError(f"{folder.path} has not begun yet: it holds no {DATA}; go on with it first")
        network = built(config, tuple(about["image_shape"]))
        return cls(config, network, learned_of(folder, network), Recipe(**about["recipe"]), about["data_hash"])

    def to(self, device: torch.device) -> Model:
        """The model with what it learned on a device."""
        return replace(self, learned=self.learned.to(device))

    def with_ways(self, ways: int) -> Model:
        """The model for another number of classes (ARCHITECTURE, "Ways"): fewer use the head's first rows, more get
        rows set to the mean of the trained rows."""
        if ways == self.network.ways:
            return self
        network = replace(self.network, ways=ways)
        old, new = self.network.layout, network.layout
        state = {name: _resized_rows(value, old, new) for name, value in self.learned.state.items()}
        theta, second = (resized(row, old, new) for row in (self.learned.theta, self.learned.second))
        learned = Learned(theta, second, self.learned.steps, state)
        return replace(self, network=network, learned=learned)


def _resized_rows(value: Tensor, old: Layout, new: Layout) -> Tensor:
    """What a meta-learner keeps, its rows for another head; what has no rows stays."""
    if not value.dim() or value.shape[-1] != old.row:
        return value
    return torch.stack([resized(row, old, new) for row in value.view(-1, old.row)]).view(*value.shape[:-1], new.row)


def resized(row: Tensor, old: Layout, new: Layout) -> Tensor:
    """A row for a head with another number of classes; everything else stays."""
    values = old.unpack(row)
    for name in ("head.weight", "head.bias"):
        trained, ways = values[name], new.by_name[name].shape[0]
        extra = trained.mean(dim=0, keepdim=True).expand(max(ways - len(trained), 0), *trained.shape[1:])
        values[name] = torch.cat([trained[:ways], extra])
    return new.pack(values, row.dtype)
