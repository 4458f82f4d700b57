"""Teach a trained network new classes from a few pictures, and classify with what it learned."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from autometa.algorithms import metanas, reptile
from autometa.algorithms.config import from_json
from autometa.algorithms.metanas import MetaNASConfig
from autometa.algorithms.reptile import ReptileConfig
from autometa.algorithms.trained import Model
from autometa.algorithms.training import Network
from autometa.data import Recipe, load_class_folder, load_images
from autometa.errors import DivergedError, InputError
from autometa.nas.discrete import DiscreteNetwork
from autometa.nas.genotype import Genotype
from autometa.nas.one_shot import AtTemperature
from autometa.ops.batch_indices import batch_indices
from autometa.runs.files import disk_errors, plain, say, shown, write_bytes
from autometa.runs.folder import RunFolder
from autometa.slots.statistics import Given, Recorder

FORMAT = "autometa-classifier"
VERSION = 1
ADAPTED = "adapted"
FILE = "classifier.safetensors"
BATCH = 64


@dataclass(frozen=True)
class SupportBatches:
    """The inner loop's batches from one support set in memory, classes of any size: images float32
    `[M, C, H, W]`, labels int64 `[M]`, picks int64 `[steps, batch]`."""

    images: Tensor
    labels: Tensor
    picks: Tensor

    @classmethod
    def draw(cls, images: Tensor, labels: Tensor, batch: int, steps: int, seed: int, mode: str) -> SupportBatches:
        task, n = torch.zeros(1, dtype=torch.int64), len(labels)
        picks = batch_indices(task, n_items=n, batch=min(batch, n), steps=steps, seed=seed, mode=mode)
        return cls(images, labels, picks[0].to(images.device))

    def step(self, t: int) -> tuple[Tensor, Tensor]:
        pick = self.picks[t]
        return self.images[pick][None], self.labels[pick][None]


def balanced(labels: Tensor) -> Tensor:
    """Positions of a support set in which every class is as large as the largest, its images repeated in turn:
    training batches are balanced, so must these be.  labels int64 `[M]` -> int64 `[ways * most]`, class-major."""
    members = [(labels == c).nonzero().flatten() for c in range(int(labels.max()) + 1)]
    most = max(len(m) for m in members)
    return torch.cat([m[torch.arange(most) % len(m)] for m in members])


def to_float(images: np.ndarray) -> Tensor:
    """uint8 `[n, C, H, W]` -> float32 in 0 .. 1, as in training."""
    return torch.from_numpy(images).to(torch.float32) / 255


@dataclass(frozen=True)
class Classifier:
    """A network adapted to named classes.

    Queries are normalised with the support set's statistics, so that no answer depends on the other photos.
    phi `[1, row]`; statistics: of every BN of the support forward; genotype: of a discrete network.
    """

    config: MetaNASConfig | ReptileConfig
    names: tuple[str, ...]
    recipe: Recipe
    phi: Tensor
    statistics: tuple[Tensor | None, ...]
    genotype: Genotype | None = None

    @property
    def network(self) -> Network | AtTemperature:
        shape = (self.recipe.channels, self.recipe.size, self.recipe.size)
        config = replace(self.config, inner=replace(self.config.inner, ways=len(self.names)))
        given = (shape,) if self.genotype is None else (shape, self.genotype)
        return final_network(config, config.build(*given))

    @torch.no_grad()
    def probabilities(self, images: np.ndarray | Tensor) -> Tensor:
        """uint8 `[n, C, H, W]`, as `Recipe` makes them -> `[n, classes]`. Raises `InputError` on another shape."""
        shape = (self.recipe.channels, self.recipe.size, self.recipe.size)
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.shape[1:] != shape:
            wanted = ", ".join(map(str, shape))
            raise InputError(f"images must be uint8 [n, {wanted}], not {images.dtype} {list(images.shape)}")
        network, rows = self.network, []
        for start in range(0, len(images), BATCH):
            batch = to_float(images[start : start + BATCH])[None].to(self.phi.device)
            rows.append(network.logits(self.phi, batch, Given(self.statistics))[0].softmax(dim=-1).cpu())
        return torch.cat(rows) if rows else torch.zeros(0, len(self.names))

    def to(self, device: torch.device | str) -> Classifier:
        """The same on another device."""
        statistics = tuple(None if s is None else s.to(device) for s in self.statistics)
        return replace(self, phi=self.phi.to(device), statistics=statistics)

    def predict_files(self, paths: Sequence[str | Path]) -> list[tuple[Path, str, float, dict[str, float]]]:
        """(path, name, its probability, all probabilities) for every image file."""
        found = []
        for path, row in zip(paths, self.probabilities(load_images(paths, self.recipe)).tolist(), strict=True):
            best = max(range(len(row)), key=row.__getitem__)
            found.append((Path(path), self.names[best], row[best], dict(zip(self.names, row, strict=True))))
        return found

    def save(self, folder: str | Path) -> Path:
        """Write `classifier.safetensors`, whole or not at all: tensors, and everything else as its metadata."""
        about = {
            "format": FORMAT,
            "version": VERSION,
            "kind": "metanas" if isinstance(self.config, MetaNASConfig) else "train",
            "names": list(self.names),
            "recipe": self.recipe.to_dict(),
            "statistics": len(self.statistics),
            "config": plain(self.config, strict=True),
            "genotype": None if self.genotype is None else self.genotype.to_json(),
        }
        kept = self.to("cpu")
        tensors = {"phi": kept.phi.contiguous()}
        tensors |= {f"statistics.{i}": s.contiguous() for i, s in enumerate(kept.statistics) if s is not None}
        path = Path(folder) / FILE
        with disk_errors(f"save {shown(path)}"):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, save(tensors, {FORMAT: json.dumps(about)}))
        return path.parent

    @classmethod
    def load(cls, folder: str | Path) -> Classifier:
        """Raises `InputError` where the folder holds no classifier of this version."""
        path = Path(folder) / FILE
        if not path.is_file():
            raise InputError(f"{folder} holds no classifier; make one with: autometa adapt --support DIR")
        try:
            with safe_open(path, "pt") as file:
                about = json.loads((file.metadata() or {}).get(FORMAT, "{}"))
                tensors = {name: file.get_tensor(name) for name in file.keys()}
        except (OSError, SafetensorError, json.JSONDecodeError) as error:
            raise InputError(f"{shown(path)} cannot be read; adapt again") from error
        if about.get("format") != FORMAT or about.get("version") != VERSION:
            raise InputError(f"{shown(path)} holds a classifier of another version; adapt again")
        config = from_json(MetaNASConfig if about["kind"] == "metanas" else ReptileConfig, about["config"])
        genotype = None if about["genotype"] is None else Genotype.from_json(about["genotype"])
        statistics = tuple(tensors.get(f"statistics.{i}") for i in range(about["statistics"]))
        recipe = Recipe(**about["recipe"])
        return cls(config, tuple(about["names"]), recipe, tensors["phi"], statistics, genotype)


def final_network(config: MetaNASConfig | ReptileConfig, network: Network) -> Network | AtTemperature:
    """What classifies after adaptation: a search network is hard-pruned, a fixed one is used as it is."""
    if isinstance(config, MetaNASConfig):
        return AtTemperature(network, config.t_min_test, config.prune_testing)
    return network


def adapt(
    run: RunFolder,
    support: str | Path,
    *,
    out: str | Path | None = None,
    quiet: bool = False,
    notice: Callable[[str], None] = say,
    device: torch.device | str = "cpu",
) -> Classifier:
    """Teach the network of `run` the classes of a folder of class folders (1 to 5 images each are enough).

    A search network is adapted as at meta-testing (weights and architecture, weights alone, pruning), a fixed one
    for its evaluation steps. Saved to `out`, by default `RUN/adapted`.
    Raises `InputError` where folder or run cannot be used.
    """
    model = Model.of(run)
    images, labels, names = load_class_folder(support, model.recipe)
    if len(names) < 2:
        raise InputError(f"{support} holds one class; a classifier needs at least two class folders")
    if len(names) > model.network.ways and not quiet:
        notice(
            f"{len(names)} classes for a network trained on {model.network.ways}: the new rows of its last layer "
            "start at the mean of the trained ones, expect lower accuracy"
        )
    model = model.with_ways(len(names)).to(device)
    classifier = learn(model, to_float(images), torch.from_numpy(labels), names)
    classifier.save(Path(out) if out is not None else run.path / ADAPTED)
    return classifier


def learn(model: Model, images: Tensor, labels: Tensor, names: Sequence[str]) -> Classifier:
    """Adapt `model`, where it lies, to a support set: images float32 `[M, C, H, W]`, labels int64 `[M]` below
    `len(names)`.

    Steps and batches as at the run's evaluation. Raises `DivergedError` where the adapted weights are not finite.
    """
    config, test = model.config, model.config.test
    evened = balanced(labels)
    device = model.learned.theta.device
    images, labels = images[evened].to(device), labels[evened].to(device)
    mode = test.batch_mode or config.inner.batch_mode
    searched = isinstance(config, MetaNASConfig)
    steps = test.steps + (config.test_weight_steps if searched else 0)
    batches = SupportBatches.draw(images, labels, test.batch, steps, test.seed, mode)
    adapt_slots = metanas.adapt if searched else reptile.adapt
    phi = adapt_slots(model.network, model.learned, batches, 1, config)
    if not bool(torch.isfinite(phi).all()):
        raise DivergedError("the network left the finite numbers while it learned; train it with a smaller --inner.lr")
    recorder = Recorder()
    with torch.no_grad():
        final_network(config, model.network).logits(phi, images[None], recorder)
    genotype = model.network.genotype if isinstance(model.network, DiscreteNetwork) else None
    return Classifier(config, tuple(names), model.recipe, phi, tuple(recorder.kept), genotype)
