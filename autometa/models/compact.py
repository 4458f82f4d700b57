"""A model kept small: what a run hands out, in half precision and without the run.

A folder with config.json and data.json as in a run, and model.safetensors: `theta` float16, `root_second` float16 (the
square root of Adam's second moment, whose own values lie below float16's range), `steps` int64.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from autometa.data import Recipe
from autometa.errors import InputError
from autometa.models.model import Model, built
from autometa.nas.networks.discrete import DiscreteNetwork
from autometa.nas.networks.network import Network
from autometa.nas.spaces.genotype import Genotype
from autometa.runs.files import disk_errors, plain, read_json, shown, write_bytes, write_json
from autometa.runs.folder import CONFIDENCE, CONFIG, RunFolder
from autometa.runs.forms import FormError, maybe, record
from autometa.runs.tensors import check_tensor, digest, read_tensors
from autometa.train import records
from autometa.train.checked import check_learned, check_names
from autometa.train.learned import LEARNER, Learned
from autometa.train.records import DATA
from autometa.train.run_config import RunConfig, read_config

TENSORS = "model.safetensors"
FORMAT, VERSION = "autometa-model", 2
REMEDY = "fetch or make the model again"
ABOUT = record({"config": record(), "genotype": maybe(record())})
"""What `about` tells."""


@dataclass(frozen=True)
class Kept:
    """A kept model, and what was measured of its confidences (`{}` where nothing was)."""

    model: Model
    confidence: Mapping[str, Any]


def about(config: RunConfig, genotype: Genotype | None) -> dict[str, Any]:
    """Which network, in JSON's own types; `config_from` reads it."""
    return {
        "config": plain(config, strict=True),
        "genotype": None if genotype is None else genotype.to_json(),
    }


def genotype_of(network: Network) -> Genotype | None:
    """Of a discrete network; None of all others."""
    return network.genotype if isinstance(network, DiscreteNetwork) else None


def config_from(value: Mapping[str, Any]) -> tuple[RunConfig, Genotype | None]:
    """Config and genotype that `about` told."""
    ABOUT(value, "")
    config = read_config(value["config"])
    genotype = None if value["genotype"] is None else Genotype.from_json(value["genotype"])
    if config.by_genotype != (genotype is not None):
        missing, extra = "its genotype is missing", "it has a genotype, which its network does not have"
        raise FormError(missing if config.by_genotype else extra)
    return config, genotype


def build(config: RunConfig, recipe: Recipe, genotype: Genotype | None) -> Network:
    """The network of a config for images as the recipe makes them."""
    return built(config, (recipe.channels, recipe.size, recipe.size), genotype)


def keep(run: RunFolder, folder: str | Path, *, polarity: str | None = None, fit: str | None = None) -> Path:
    """Write the model of a run to `folder`; polarity, fit: of its recipe, where people's pictures shall be read
    otherwise than the training images were (`auto` takes ink of either polarity, `ink` puts it into the middle).

    Rounding to float16 is all that is lost. Raises `InputError` where the run has no model yet.
    """
    model, folder = Model.of(run), Path(folder)
    if float(model.learned.theta.abs().max()) > torch.finfo(torch.float16).max:
        raise InputError(f"the weights in {shown(run.path)} are too large for float16; train with a smaller --inner.lr")
    given = {"polarity": polarity, "fit": fit}
    recipe = replace(model.recipe, **{name: value for name, value in given.items() if value is not None})
    tensors = {
        "theta": model.learned.theta.to("cpu", torch.float16),
        "root_second": model.learned.second.sqrt().to("cpu", torch.float16),
        "steps": model.learned.steps.cpu(),
        **{f"{LEARNER}{name}": model.learned.state[name].cpu() for name in model.config.learner.adapts_with},
    }
    kept = about(model.config, genotype_of(model.network))
    data = {
        "recipe": recipe.to_dict(),
        "image_shape": [recipe.channels, recipe.size, recipe.size],
        "data_hash": model.data_hash,
    }
    with disk_errors(f"write {shown(folder)}"):
        folder.mkdir(parents=True, exist_ok=True)
    told = {"version": VERSION, "genotype": kept["genotype"]}
    told["sha256"] = digest({**told, "config": kept["config"], "data": data}, tensors)
    payload = save({name: t.contiguous() for name, t in tensors.items()}, {FORMAT: json.dumps(told)})
    write_bytes(folder / TENSORS, payload)
    write_json(folder / DATA, data)
    write_json(folder / CONFIG, kept["config"])
    return folder


def load_kept(folder: str | Path) -> Kept:
    """What `keep` wrote. Raises `InputError` where it is damaged.

    Models of before there was a checksum are held against their network alone.
    """
    folder = Path(folder)
    told, tensors = read_tensors(folder / TENSORS, FORMAT, REMEDY)
    config, data = read_json(folder / CONFIG, record(), REMEDY), read_json(folder / DATA, records.FORMS[DATA], REMEDY)
    try:
        earlier = told.get("version", 1) == 1
        check_digest(told, {"config": config, "data": data}, tensors, VERSION)
        config, genotype = config_from({**told, "config": config})
        recipe = Recipe(**data["recipe"])
        network = build(config, recipe, genotype)
        kept = tuple(f"{LEARNER}{name}" for name in config.learner.adapts_with)
        check_names(tensors, ("theta", "root_second", "steps", *kept))
        halves = {name: check_tensor(name, tensors[name], torch.float16, (None,)) for name in ("theta", "root_second")}
        own = {"theta": halves["theta"].float(), "second": halves["root_second"].float().square()}
        learned = Learned.named(tensors | own, earlier=earlier)
        check_learned(learned, network.layout)
    except ValueError as error:
        raise InputError(f"the model in {shown(folder)} is damaged: {error}; {REMEDY}") from error
    return Kept(Model(config, network, learned, recipe, data["data_hash"]), confidence_of(folder))


def check_digest(told: dict[str, Any], beside: Mapping[str, Any], tensors: Mapping[str, Tensor], version: int) -> None:
    """Raise `FormError` unless a file holds what was written: its `sha256`, which is taken out of `told`, is that over
    the rest, what stands beside it, and its tensors. Files of version 1 have none."""
    if told.get("version", 1) == 1 and "sha256" not in told:
        return
    if told.get("version") != version:
        raise FormError("it was written by another version of autometa")
    if told.pop("sha256", None) != digest({**told, **beside}, tensors):
        raise FormError("its content does not match its checksum")


def confidence_of(folder: Path) -> Mapping[str, Any]:
    """What was measured of the confidences of the model in a folder, `{}` where nothing was.

    Raises `InputError` where the file holds anything else.
    """
    path = folder / CONFIDENCE
    return read_json(path, records.confidence_form, "remove it, or run again") if path.exists() else {}
