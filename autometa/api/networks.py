"""What `train` is asked to train: a four-layer net, a cell by its key, or a genotype, with settings that suit it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from autometa.algorithms.algorithm import search_named, training
from autometa.algorithms.presets import TRAIN, preset
from autometa.api.photos import PHOTOS, SECONDS, fitted, look, own_photos, with_length
from autometa.errors import InputError
from autometa.nas.networks.conv_network import FOUR_LAYER
from autometa.nas.networks.named import architecture_of, read_genotype, space_of
from autometa.runs.files import shown
from autometa.runs.folder import CONFIG, RunFolder
from autometa.runs.places import place_of
from autometa.train.run_config import RunConfig, config_of, model_config

PLACEHOLDERS = {config.network for config in TRAIN.values()} - set(FOUR_LAYER)
PLACED = tuple(name for name, config in TRAIN.items() if config.network in PLACEHOLDERS)
"""Presets that train a genotype."""


def train_base(
    network: str | None, preset_name: str | None, config: str | os.PathLike | None, settings: Mapping[str, Any]
) -> tuple[RunConfig, tuple[str, ...]]:
    """The settings of a training before those of the command line, and what was chosen for the person, to be told.

    Raises `InputError` where there is no such network.
    """
    if preset_name is None and config is None and network is not None and not _named(network):
        path, home = _genotype_file(network)
        if home is None:
            return _for_genotype(path, settings)
    return _base(network, preset_name, config), ()


def _named(network: str) -> bool:
    """Whether a network is no genotype file of its own."""
    return network in FOUR_LAYER or space_of(network) is not None or _winner(network) is not None


def _for_genotype(path: str, settings: Mapping[str, Any]) -> tuple[RunConfig, tuple[str, ...]]:
    """A genotype from anywhere: the network, data and length that a search of a few minutes would have."""
    photos, name = own_photos(settings), str(settings.get("data.name", ""))
    if photos is not None:
        seen = look(photos)
        alike, label = fitted(preset(search_named(None).name, PHOTOS), seen, settings), PHOTOS
        alike = with_length(alike, seen.channels, SECONDS)
    else:
        label = "omniglot-small" if name.partition(":")[0] == "omniglot" else "quick"
        alike = preset(search_named(None).name, label)
    note = (
        f"{shown(path)} comes without settings; it gets those of a search with the preset {label} on "
        f"{name or alike.data.name}: --preset names others ({', '.join(PLACED)})"
    )
    return alike.training(path), (note,)


def _base(network: str | None, preset_name: str | None, config: str | os.PathLike | None) -> RunConfig:
    if network is None:
        if preset_name is None and config is None:
            raise InputError(
                f"say what to train: one of {', '.join(FOUR_LAYER)}, a genotype file, the folder of a search, "
                f"or a --preset ({', '.join(TRAIN)})"
            )
        return _own(preset_name)
    if network in FOUR_LAYER:
        alike = network.replace("maml", "reptile")
        return replace(_own(preset_name or alike), network=network)
    if space_of(network) is not None:
        architecture_of(network)
        return replace(_own(preset_name), network=network)
    winner = _winner(network)
    if winner is not None:
        return winner if preset_name is None else _in_macro(_own(preset_name), winner)
    path, home = _genotype_file(network)
    if preset_name is None:
        return replace(_own(None), network=path) if home is None else home.training(path)
    base = replace(_own(preset_name), network=path)
    alike = home is not None and TRAIN[preset_name].network in FOUR_LAYER
    return replace(base, **home.sizes()) if alike else base


def _own(preset_name: str | None) -> RunConfig:
    """The settings of a preset of `train`, or the defaults."""
    return preset(training().name, preset_name) if preset_name else training().config()


def _winner(network: str) -> RunConfig | None:
    """How a search over candidates trained its winner, where `network` is the folder of one."""
    place = place_of(network)
    if not (place / CONFIG).is_file():
        return None
    folder = RunFolder.open(place)
    config = config_of(folder)
    return model_config(folder) if config.handed_out() is not config else None


def _in_macro(base: RunConfig, winner: RunConfig) -> RunConfig:
    """Another preset's training of a winner's network."""
    macro = {name: getattr(winner, name) for name in ("network", "filters", "repeats", "scale_rate")}
    return replace(base, **macro)


def _genotype_file(network: str) -> tuple[str, RunConfig | None]:
    """The genotype file meant by `network`, and the config of the run in whose folder it lies, where it does."""
    path = place_of(network)
    if not path.exists():
        known = ", ".join(FOUR_LAYER)
        raise InputError(f"unknown network {network!r}: neither one of {known}, nor a genotype file, nor a run folder")
    if path.is_dir():
        path = RunFolder.open(path).path / "genotypes" / "most_frequent.json"
        if not path.exists():
            raise InputError(f"{shown(path.parent.parent)} holds no genotype; give the folder of a finished search")
    path = path.resolve()
    home = path.parent.parent
    return str(path), config_of(RunFolder.open(home)) if (home / CONFIG).is_file() else None


def with_genotype(config: RunConfig) -> RunConfig:
    """The config with its genotype, if any, read once and named by its full path."""
    if not config.by_genotype:
        return config
    if config.network in PLACEHOLDERS and not Path(config.network).exists():
        raise InputError("this preset trains a found cell; name it: a genotype file or the folder of a search")
    read_genotype(config.network)
    return replace(config, network=str(Path(config.network).resolve()))


def without_placeholder(base: RunConfig | None, own: RunConfig) -> RunConfig | None:
    """A preset with the genotype of the run `own`, where it names none itself."""
    named = getattr(base, "network", None)
    return replace(base, network=own.network) if named in PLACEHOLDERS else base
