"""Teach a trained network new classes from a few pictures, and classify with what it learned."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from autometa.brief import brief
from autometa.data import Recipe, load_images
from autometa.data.names import composed, twice
from autometa.errors import DivergedError, InputError
from autometa.meta.bn_modes import Frozen, Statistics
from autometa.models.compact import about, build, check_digest, config_from, genotype_of
from autometa.models.model import Model
from autometa.nas.spaces.genotype import Genotype
from autometa.ops.batch_indices import batch_indices
from autometa.ops.torch_state import in_own_torch_state
from autometa.runs.files import disk_errors, shown, write_bytes
from autometa.runs.forms import FormError, flag, many, maybe, record, text, whole
from autometa.runs.tensors import check_tensor, digest, read_tensors
from autometa.slots.statistics import Given, Recorder
from autometa.train.checked import check_learned, check_names, check_row, check_statistics
from autometa.train.learned import LEARNER, Learned
from autometa.train.records import confidence_form, recipe_form
from autometa.train.run_config import RunConfig
from autometa.train.tasks import silent

FORMAT = "autometa-classifier"
VERSION = 2
"""1 had no checksum; such files are held against their network alone."""
ADAPTED = "adapted"
FILE = "classifier.safetensors"
REMEDY = "adapt again"
LESSON = ("images", "labels", "theta", "second", "steps")
TOLD = record(
    {"names": many(text, 2, 1 << 20), "recipe": recipe_form, "statistics": whole(0, 1 << 20)},
    {
        "data_hash": maybe(text),
        "frozen": flag,
        "extra": record(optional={"confidence": confidence_form, "model": text}),
    },
)
"""What the metadata of a file tell beside the network."""
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
        task, n = torch.zeros(1, dtype=torch.int64, device="cpu"), len(labels)
        picks = batch_indices(task, n_items=n, batch=min(batch, n), steps=steps, seed=seed, mode=mode)
        return cls(images, labels, picks[0].to(images.device))

    def step(self, t: int) -> tuple[Tensor, Tensor]:
        pick = self.picks[t]
        return self.images[pick][None], self.labels[pick][None]

    def support(self) -> tuple[Tensor, Tensor]:
        return self.images[None], self.labels[None]


def balanced(labels: Tensor) -> Tensor:
    """Positions of a support set in which every class is as large as the largest, its images repeated in turn:
    training batches are balanced, so must these be.  labels int64 `[M]` -> int64 `[ways * most]`, class-major."""
    members = [(labels == c).nonzero().flatten() for c in range(int(labels.max()) + 1)]
    most = max(len(m) for m in members)
    return torch.cat([m[torch.arange(most, device=m.device) % len(m)] for m in members])


def to_float(images: np.ndarray | Tensor) -> Tensor:
    """uint8 `[n, C, H, W]` -> float32 in 0 .. 1, as in training."""
    return torch.as_tensor(images).to(torch.float32) / 255


@brief
@dataclass(frozen=True)
class Lesson:
    """What a classifier was taught, and where it began: enough to teach it more classes later, without its run.

    images uint8 `[M, C, H, W]`, labels int64 `[M]`: the support set; learned, data_hash: of the meta-learned model.
    """

    images: Tensor
    labels: Tensor
    learned: Learned
    data_hash: str

    def tensors(self) -> dict[str, Tensor]:
        """By name, on the CPU."""
        found = {"images": self.images, "labels": self.labels, **self.learned}
        return {name: tensor.cpu().contiguous() for name, tensor in found.items()}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], data_hash: str, *, earlier: bool = False) -> Lesson:
        """From what `tensors` gave, in an earlier version perhaps."""
        return cls(tensors["images"], tensors["labels"], Learned.named(tensors, earlier=earlier), data_hash)


@brief
@dataclass(frozen=True)
class Classifier:
    """A network adapted to named classes.

    Queries are normalised with the support set's statistics, so that no answer depends on the other photos.
    phi `[1, row]`; statistics: of every BN of the support forward; genotype: of a discrete network; lesson: None in
    files of before it was kept; extra: what whoever saves it wants back, in JSON's own types; frozen: whether the
    statistics are those of training tasks instead, by which it learned too.
    """

    config: RunConfig
    names: tuple[str, ...]
    recipe: Recipe
    phi: Tensor
    statistics: tuple[Tensor | None, ...]
    genotype: Genotype | None = None
    lesson: Lesson | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    frozen: bool = False

    @property
    def network(self) -> Any:
        config = replace(self.config, inner=replace(self.config.inner, ways=len(self.names)))
        return config.classifier(build(config, self.recipe, self.genotype))

    @property
    def start(self) -> Model:
        """The meta-learned model that this one was adapted from. Raises `InputError` where it was not kept."""
        kept = self.lesson
        if kept is None:
            raise InputError("this classifier does not hold what it was taught with; adapt again to add classes")
        network = build(self.config, self.recipe, self.genotype)
        return Model(self.config, network, kept.learned, self.recipe, kept.data_hash)

    @in_own_torch_state
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
        return torch.cat(rows) if rows else torch.zeros(0, len(self.names), dtype=torch.float32, device="cpu")

    def to(self, device: torch.device | str) -> Classifier:
        """The same on another device."""
        statistics = tuple(None if s is None else s.to(device) for s in self.statistics)
        return replace(self, phi=self.phi.to(device), statistics=statistics)

    @in_own_torch_state
    def predict_files(self, paths: Sequence[str | Path]) -> list[tuple[Path, str, float, dict[str, float]]]:
        """(path, name, its probability, all probabilities) for every image file."""
        return self.named([Path(path) for path in paths], load_images(paths, self.recipe))

    def named(self, paths: Sequence[Path], images: np.ndarray) -> list[tuple[Path, str, float, dict[str, float]]]:
        """The same of images uint8 `[n, C, H, W]` that were read from these files."""
        found = []
        for path, row in zip(paths, self.probabilities(images).tolist(), strict=True):
            best = max(range(len(row)), key=row.__getitem__)
            found.append((path, self.names[best], row[best], dict(zip(self.names, row, strict=True))))
        return found

    def save(self, folder: str | Path) -> Path:
        """Write `classifier.safetensors`, whole or not at all: tensors, and everything else as its metadata."""
        told = {
            "format": FORMAT,
            "version": VERSION,
            **about(self.config, self.genotype),
            "names": list(self.names),
            "recipe": self.recipe.to_dict(),
            "statistics": len(self.statistics),
            "data_hash": None if self.lesson is None else self.lesson.data_hash,
            "extra": dict(self.extra),
            **({"frozen": True} if self.frozen else {}),
        }
        kept = self.to("cpu")
        tensors = {"phi": kept.phi.contiguous()}
        tensors |= {f"statistics.{i}": s.contiguous() for i, s in enumerate(kept.statistics) if s is not None}
        if self.lesson is not None:
            tensors |= {f"lesson.{name}": tensor for name, tensor in self.lesson.tensors().items()}
        told["sha256"] = digest(told, tensors)
        path = Path(folder) / FILE
        with disk_errors(f"save {shown(path)}"):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, save(tensors, {FORMAT: json.dumps(told)}))
        return path.parent

    @classmethod
    @in_own_torch_state
    def load(cls, folder: str | Path) -> Classifier:
        """Raises `InputError` where the folder holds no classifier of this version."""
        path = Path(folder) / FILE
        if not path.is_file():
            raise InputError(f"{folder} holds no classifier; make one with: autometa adapt --support DIR")
        told, tensors = read_tensors(path, FORMAT, REMEDY)
        if told.get("format") != FORMAT or told.get("version") not in (1, VERSION):
            raise InputError(f"{shown(path)} holds a classifier of another version; adapt again")
        try:
            check_digest(told, {}, tensors, VERSION)
            TOLD(told, "")
            made = cls._of(told, tensors)
            made.check()
        except ValueError as error:
            raise InputError(f"{shown(path)} is damaged: {error}; {REMEDY}") from error
        return made

    @classmethod
    def _of(cls, told: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Classifier:
        """From a file's metadata and tensors. Raises `FormError` where tensors are missing or strange."""
        config, genotype = config_from(told)
        count = told["statistics"]
        taught = {name.removeprefix("lesson."): t for name, t in tensors.items() if name.startswith("lesson.")}
        if taught:
            kept = {f"{LEARNER}{name}" for name in config.learner.adapts_with}
            check_names(taught, (*LESSON, *(kept & set(taught))))
        own = {name for name in tensors if not name.startswith("lesson.")}
        check_names({name: tensors[name] for name in own}, ["phi", *(own & {f"statistics.{i}" for i in range(count)})])
        return cls(
            config,
            _in_one_form(told["names"]),
            Recipe(**told["recipe"]),
            tensors["phi"],
            tuple(tensors.get(f"statistics.{i}") for i in range(count)),
            genotype,
            Lesson.of(taught, told["data_hash"], earlier=told.get("version") == 1) if taught else None,
            told.get("extra", {}),
            told.get("frozen", False),
        )

    def check(self) -> None:
        """Hold every tensor against network, names and recipe. Raises `FormError`, or `InputError` where the network
        cannot be built."""
        network = self.network
        if self.config.learner.linear:
            check_row("phi", self.phi, network.layout, (1,))
        else:  # behind the row stands what was kept of the support set, which a forward pass looks at
            check_tensor("phi", self.phi, torch.float32, (1, None))
            check_row("phi", self.phi[:, : network.layout.row], network.layout, (1,))
        shape = (self.recipe.channels, self.recipe.size, self.recipe.size)
        check_statistics(self.statistics, network, self.phi, shape)
        if self.lesson is None:
            return
        images, labels = self.lesson.images, self.lesson.labels
        check_tensor("lesson.images", images, torch.uint8, (None, *shape))
        check_tensor("lesson.labels", labels, torch.int64, (len(images),))
        if sorted(set(labels.tolist())) != list(range(len(self.names))):
            raise FormError(f"the tensor lesson.labels does not name each of {len(self.names)} classes")
        if not isinstance(self.lesson.data_hash, str):
            raise FormError("data_hash is missing")
        check_learned(self.lesson.learned, build(self.config, self.recipe, self.genotype).layout)


def _in_one_form(names: Sequence[str]) -> tuple[str, ...]:
    """Names of classes, composed; as they are where two would then be one, in a file of before that was seen.

    Raises `FormError` where two are the same as they are.
    """
    if len(set(names)) < len(names):
        raise FormError("names hold one class twice")
    return tuple(names) if twice(names) else tuple(composed(name) for name in names)


@in_own_torch_state
def learn(
    model: Model,
    images: np.ndarray | Tensor,
    labels: np.ndarray | Tensor,
    names: Sequence[str],
    *,
    steps: int | None = None,
    seed: int | None = None,
    device: torch.device | str = "cpu",
    notice: Callable[[str], None] = silent,
    frozen: Statistics | None = None,
) -> Classifier:
    """Adapt a meta-learned model to a support set: images uint8 `[M, C, H, W]`, labels int64 `[M]` below `len(names)`.

    A search network is adapted as at meta-testing (weights and architecture, weights alone, pruning), a fixed one for
    its evaluation steps; `steps` and `seed` stand for the run's own, of either part. frozen: statistics by which every
    normalisation goes, in its steps and its answers (`train.frozen`), instead of those of batch and support set. Raises
    `InputError` unless there are two classes, `DivergedError` where the adapted weights are not finite.
    """
    if len(names) < 2:
        raise InputError("a classifier needs images of at least two classes, not of one class")
    if len(names) > model.network.ways and not model.config.learner.any_ways:
        notice(
            f"{len(names)} classes for a network trained on {model.network.ways}: the new rows of its last layer "
            "start at the mean of the trained ones, expect lower accuracy"
        )
    support, answers = torch.as_tensor(images), torch.as_tensor(labels)
    kept = model.learned.only(model.config.learner.adapts_with).to("cpu")
    lesson = Lesson(support, answers, kept, model.data_hash)
    config = model.config if steps is None else model.config.with_steps(steps)
    config = config if seed is None else replace(config, test=replace(config.test, seed=seed))
    model = model.with_ways(len(names)).to(device)
    evened = balanced(answers)
    pictures = to_float(support[evened]).to(device)
    network = model.network if frozen is None else Frozen(model.network, frozen)
    phi = _adapted(config, network, model.learned, pictures, answers[evened].to(device))
    if not bool(torch.isfinite(phi).all()):
        raise DivergedError("the network left the finite numbers while it learned; train it with a smaller --inner.lr")
    if frozen is None:
        recorder = Recorder()
        with torch.no_grad():
            config.classifier(network).logits(phi, pictures[None], recorder)
        statistics = tuple(recorder.kept)
    else:
        statistics = tuple(None if s is None else s.to(device) for s in frozen)
    about = {"genotype": genotype_of(model.network), "lesson": lesson, "frozen": frozen is not None}
    return Classifier(model.config, tuple(names), model.recipe, phi, statistics, **about)


def _adapted(config: RunConfig, network: Any, learned: Learned, images: Tensor, labels: Tensor) -> Tensor:
    """The weights `[1, row]` after the steps and batches of the config's evaluation."""
    test = config.test
    mode = test.batch_mode or config.inner.batch_mode
    batches = SupportBatches.draw(images, labels, test.batch, config.adaptation_steps, test.seed, mode)
    return config.adapt(network, learned, batches, 1)
