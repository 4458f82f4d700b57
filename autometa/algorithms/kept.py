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
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from autometa.algorithms.config import from_json
from autometa.algorithms.jobs import DATA
from autometa.algorithms.metanas import MetaNASConfig
from autometa.algorithms.reptile import ReptileConfig
from autometa.algorithms.trained import Model
from autometa.algorithms.training import Learned, Network
from autometa.data import Recipe
from autometa.errors import InputError
from autometa.nas.discrete import DiscreteNetwork
from autometa.nas.genotype import Genotype
from autometa.runs.files import disk_errors, plain, read_json, shown, write_bytes, write_json
from autometa.runs.folder import CONFIDENCE, CONFIG, RunFolder

TENSORS = "model.safetensors"
FORMAT = "autometa-model"


@dataclass(frozen=True)
class Kept:
    """A kept model, and what was measured of its confidences (`{}` where nothing was)."""

    model: Model
    confidence: Mapping[str, Any]


def about(config: MetaNASConfig | ReptileConfig, genotype: Genotype | None) -> dict[str, Any]:
    """Which network, in JSON's own types; `config_from` reads it."""
    return {
        "kind": "metanas" if isinstance(config, MetaNASConfig) else "train",
        "config": plain(config, strict=True),
        "genotype": None if genotype is None else genotype.to_json(),
    }


def genotype_of(network: Network) -> Genotype | None:
    """Of a discrete network; None of all others."""
    return network.genotype if isinstance(network, DiscreteNetwork) else None


def config_from(value: Mapping[str, Any]) -> tuple[MetaNASConfig | ReptileConfig, Genotype | None]:
    """Config and genotype that `about` told."""
    config = from_json(MetaNASConfig if value["kind"] == "metanas" else ReptileConfig, value["config"])
    return config, None if value["genotype"] is None else Genotype.from_json(value["genotype"])


def build(config: MetaNASConfig | ReptileConfig, recipe: Recipe, genotype: Genotype | None) -> Network:
    """The network of a config for images as the recipe makes them."""
    shape = (recipe.channels, recipe.size, recipe.size)
    return config.build(*((shape,) if genotype is None else (shape, genotype)))


def keep(run: RunFolder, folder: str | Path, *, polarity: str | None = None) -> Path:
    """Write the model of a run to `folder`; polarity: of its recipe, where people's pictures shall be read otherwise
    than the training images were (`auto` takes ink of either polarity).

    Rounding to float16 is all that is lost. Raises `InputError` where the run has no model yet.
    """
    model, folder = Model.of(run), Path(folder)
    if float(model.learned.theta.abs().max()) > torch.finfo(torch.float16).max:
        raise InputError(f"the weights in {shown(run.path)} are too large for float16; train with a smaller --inner.lr")
    recipe = model.recipe if polarity is None else replace(model.recipe, polarity=polarity)
    tensors = {
        "theta": model.learned.theta.to("cpu", torch.float16),
        "root_second": model.learned.second.sqrt().to("cpu", torch.float16),
        "steps": model.learned.steps.cpu(),
    }
    kept = about(model.config, genotype_of(model.network))
    data = {
        "recipe": recipe.to_dict(),
        "image_shape": [recipe.channels, recipe.size, recipe.size],
        "data_hash": model.data_hash,
    }
    with disk_errors(f"write {shown(folder)}"):
        folder.mkdir(parents=True, exist_ok=True)
    metadata = {FORMAT: json.dumps({"kind": kept["kind"], "genotype": kept["genotype"]})}
    write_bytes(folder / TENSORS, save({name: t.contiguous() for name, t in tensors.items()}, metadata))
    write_json(folder / DATA, data)
    write_json(folder / CONFIG, kept["config"])
    return folder


def load_kept(folder: str | Path) -> Kept:
    """What `keep` wrote. Raises `InputError` where it is damaged."""
    folder = Path(folder)
    path = folder / TENSORS
    try:
        with safe_open(path, "pt") as file:
            told = json.loads((file.metadata() or {}).get(FORMAT, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        config, genotype = config_from({**told, "config": read_json(folder / CONFIG)})
        learned = Learned(tensors["theta"].float(), tensors["root_second"].float().square(), tensors["steps"])
    except (OSError, SafetensorError, json.JSONDecodeError, KeyError) as error:
        raise InputError(f"{shown(path)} cannot be read; fetch or make the model again") from error
    data = read_json(folder / DATA)
    recipe = Recipe(**data["recipe"])
    model = Model(config, build(config, recipe, genotype), learned, recipe, data["data_hash"])
    return Kept(model, confidence_of(folder))


def confidence_of(folder: Path) -> Mapping[str, Any]:
    """What was measured of the confidences of the model in a folder, `{}` where nothing was.

    Raises `InputError` where the file holds anything else.
    """
    path = folder / CONFIDENCE
    if not path.exists():
        return {}
    found = read_json(path)
    least = found.get("min_confidence") if isinstance(found, dict) else None
    measured = isinstance(least, int | float) and not isinstance(least, bool) and 0 <= least <= 1
    if not measured and not (isinstance(found, dict) and isinstance(found.get("unmeasured"), str)):
        raise InputError(f"{shown(path)} holds no measured confidences; remove it, or run again")
    return found
