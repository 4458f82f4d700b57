"""A run's outcome, read back from its folder: config, network, what was learned."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from autometa.brief import brief
from autometa.data import Recipe
from autometa.errors import InputError
from autometa.nas.networks.network import Network
from autometa.nas.spaces.genotype import Genotype
from autometa.runs import checkpoint
from autometa.runs.files import REMEDY, shown
from autometa.runs.folder import RunFolder
from autometa.runs.forms import FormError
from autometa.slots.layout import Layout
from autometa.train import records
from autometa.train.checked import check_captured
from autometa.train.learned import Learned
from autometa.train.records import DATA
from autometa.train.run_config import RunConfig, config_of, model_config


def learned_of(folder: RunFolder, network: Network) -> Learned:
    """What the run has learned so far, from its newest checkpoint, held against its network.

    Raises `InputError` where there is none yet.
    """
    found = checkpoint.load_latest(folder.checkpoints / config_of(folder).phase)
    if found is None:
        raise InputError(f"{folder.path} has no checkpoint yet; let it run until its first one")
    try:
        check_captured(found.tensors, network.layout)
    except FormError as error:
        raise InputError(f"checkpoint {shown(found.path)} does not fit its run: {error}; {REMEDY}") from error
    return Learned.of(found.tensors)


def built(config: RunConfig, image_shape: tuple[int, int, int], genotype: Genotype | None = None) -> Network:
    """The network of a config that was read from a file. Raises `InputError` where it cannot be built."""
    try:
        network = config.build(image_shape, genotype)
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

    config: RunConfig
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
