"""Candidates of an architecture search, side by side in one `Trainer`: what becomes of those that fail or pause."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from autometa.brief import brief
from autometa.errors import DivergedError, InputError
from autometa.meta.bn_modes import MODES
from autometa.meta.learner import MetaLearner
from autometa.meta.reptile import Reptile
from autometa.nas.networks.side_by_side import Macro, SideBySide
from autometa.nas.spaces.block_space import BlockSpace
from autometa.nas.spaces.space import Architecture, Space
from autometa.runs.files import of_form
from autometa.runs.forms import record, text
from autometa.runs.tensors import decoded, metadata
from autometa.runs.watch import WATCHED, NonFiniteWatch
from autometa.slots.arena import Arena
from autometa.slots.layout import Layout
from autometa.slots.statistics import BatchStatistics
from autometa.train.config import (
    DataConfig,
    EvalConfig,
    InnerConfig,
    MetaConfig,
    check_common,
    check_macro,
    one_of,
    require,
)
from autometa.train.learned import LEARNER
from autometa.train.loop import Loop, Results
from autometa.train.shapes import check_shapes
from autometa.train.tasks import Source
from autometa.train.trainer import Trainer

TOLD = "candidate"
"""What a candidate's checkpoint tells of it beside its tensors."""
SLOTS = 200
"""Slots worked on at once on a CPU, where the config does not say; a GPU takes as many as its memory holds."""


@brief
@dataclass(frozen=True)
class CandidateConfig:
    """How a candidate is trained and scored; the defaults are Auto-Meta's (Kim et al. 2018, section 4).

    Args:
        filters: F, channels of the first cells (paper: 4, 10, 12 or 32).
        repeats: N, normal cells before each reduction (paper: 0 or 1).
        scale_rate: what F is multiplied by at reductions (paper: 1 or 2).
        data: images and split.
        learner: the meta-learner.
        inner: the inner loop.
        meta: the outer loop; max_slots: slots of all cells worked on at once.
        validation: scoring on validation classes; max_slots: tasks of all cells adapted and classified at once, on a
            GPU at least.
        mode: normalisation of the queries that are scored, one of the three BN modes.
        seed: of initialisations, tasks and batches, the same for every cell.
    """

    filters: int = 10
    repeats: int = 1
    scale_rate: int = 1
    data: DataConfig = field(default_factory=lambda: DataConfig("omniglot:vinyals", 28))
    learner: MetaLearner = field(default_factory=Reptile)
    inner: InnerConfig = field(default_factory=lambda: InnerConfig(ways=5, shots=10, batch=10, steps=8, lr=1e-3))
    meta: MetaConfig = field(default_factory=lambda: MetaConfig(iterations=1000, batch=5, step_size=1.0))
    validation: EvalConfig = field(
        default_factory=lambda: EvalConfig(tasks=100, shots=1, queries=5, batch=5, steps=50, part="val", max_slots=40)
    )
    mode: str = "support_statistics"
    seed: int = 0

    def check(self) -> None:
        """Raise `InputError` where fields do not fit together."""
        check_common(self.data, self.inner, self.meta, self.validation, self.seed, "fp32")
        check_shapes("inner", self.inner, self.learner)
        check_macro("", self.filters, self.repeats, self.scale_rate)
        one_of(MODES, {"mode": self.mode})
        part = self.validation.part
        require(part == "val", f"candidates are scored on val classes, not on {part}: test classes stay unseen")

    def macro(self, image_shape: tuple[int, int, int]) -> Macro:
        return Macro(self.filters, self.repeats, self.scale_rate, self.inner.ways, image_shape)


@dataclass(frozen=True)
class Outcome:
    """A candidate's end: accuracy and half width of its 95% interval in percent, NaN where it failed; seconds: its
    share of the batch's; failure: why there is no accuracy."""

    key: str
    accuracy: float
    interval: float
    parameters: int
    macs: int
    seconds: float
    failure: str | None


@dataclass(frozen=True)
class Snapshot:
    """A candidate part of the way through its training: tensors by name as a network of this cell alone lays them out
    (theta `[row]`, second `[tasks, row]`, steps `[tasks, kinds]`, what the meta-learner keeps), and the state of the
    watch over slots that are not finite. key: the cell's."""

    key: str
    tensors: Mapping[str, Tensor]
    watch: Mapping[str, Any]

    def encoded(self) -> bytes:
        """As the bytes of a safetensors file."""
        apart = {name: value.contiguous().clone() for name, value in self.tensors.items()}
        return safetensors.torch.save(apart, {TOLD: json.dumps({"key": self.key, "watch": self.watch})})

    @classmethod
    def decoded(cls, data: bytes) -> Snapshot:
        """What `encoded` gave. Raises `InputError` for other bytes."""
        try:
            told = of_form(metadata(data)[TOLD].encode(), record({"key": text, "watch": WATCHED}))
            return cls(told["key"], decoded(data), told["watch"])
        except (KeyError, ValueError) as error:
            raise InputError(f"the checkpoint of a candidate is damaged: {error}; begin a new run") from error


@dataclass(frozen=True)
class Cells:
    """The networks of some slots: `Classifier` for the cells that they have."""

    network: SideBySide
    cell_of_slot: Tensor

    @property
    def ways(self) -> int:
        return self.network.ways

    def logits(
        self, phi: Tensor, images: Tensor, statistics: BatchStatistics | None = None, *, features: bool = False
    ) -> Tensor:
        return self.network.logits(phi, images, self._cells(phi), statistics, features)

    def loss(self, phi: Tensor, images: Tensor, labels: Tensor, step: int) -> Tensor:
        """The inner loop's objective."""
        return self.network.losses(phi, images, labels, self._cells(phi))

    def _cells(self, phi: Tensor) -> Tensor:
        """Of these rows; twice those of the slots where they come in pairs."""
        return self.cell_of_slot.repeat(len(phi) // max(len(self.cell_of_slot), 1))


@dataclass(kw_only=True)
class CandidateTrainer(Trainer):
    """A `Trainer` of several cells, a group for each, whose layouts are numbered as they are.

    failures: why cells were left out, by number. alive: those that have not failed, in the order of the arena's groups.
    """

    network: SideBySide
    space: Space
    macro: Macro
    config: CandidateConfig
    failures: dict[int, str] = field(default_factory=dict)

    @classmethod
    def create(
        cls, cells: Sequence[Architecture], config: CandidateConfig, source: Source, space: Space | None = None
    ) -> CandidateTrainer:
        """From fresh initialisations, `meta.batch` slots for each cell; space: theirs, that of blocks where None."""
        within: Space = space or BlockSpace()
        macro, learner = config.macro(source.image_shape), config.learner
        network = within.networks(cells, macro)
        groups = torch.arange(len(cells), device=source.device)
        theta = network.initial(config.seed).to(source.device)
        return cls(
            arena=Arena.create(network.layouts, theta, groups.repeat_interleave(config.meta.batch), groups),
            episodes=source.training(config.inner, config.validation.part, config.seed, learner),
            optimiser=config.inner.optimiser(learner),
            inner=config.inner,
            meta=config.meta,
            networks=lambda cell_of_slot: learner.classifier(Cells(network, cell_of_slot), network.row),
            learner=learner,
            network=network,
            space=within,
            macro=macro,
            config=config,
        )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.alive = list(range(len(self.network.layouts)))
        self._watches = {g: NonFiniteWatch() for g in self.alive}
        self.max_slots = self.meta.max_slots or (SLOTS if self.device.type == "cpu" else None)

    def failed(self, results: Results) -> list[int]:
        """The cells of which too many slots left the finite numbers, as these meta-iterations show."""
        found = []
        for _, done in results:
            for g, flags in zip(self.alive, done.finite.view(-1, self.config.meta.batch), strict=True):
                try:
                    if g not in self.failures:
                        self._watches[g].update(flags)
                except DivergedError as error:
                    self.failures[g] = str(error)
                    found.append(g)
        return found

    def leave_out(self, failed: Sequence[int]) -> None:
        """Go on without these cells; to the others nothing changes."""
        if not failed:
            return
        kept = [k for k, g in enumerate(self.alive) if g not in failed]
        arena, groups = self.arena, torch.tensor(kept, dtype=torch.int64, device=self.device)
        slots = torch.isin(arena.group_of_slot, groups)
        self.state = {name: value[groups] for name, value in self.state.items()}
        new_groups = torch.arange(len(kept), device=self.device)
        self.alive = [self.alive[k] for k in kept]
        self.arena = replace(
            arena,
            theta=arena.theta[groups],
            phi=arena.phi[slots],
            second=arena.second[slots],
            steps=arena.steps[slots],
            group_of_slot=new_groups.repeat_interleave(self.config.meta.batch),
            layout_of_slot=arena.layout_of_slot[slots],
        )

    def snapshot(self, g: int, key: str) -> Snapshot:
        """Of cell g, which has not failed; key: its own."""
        k, batch = self.alive.index(g), self.config.meta.batch
        own = slice(k * batch, (k + 1) * batch)
        rows = {"theta": self.arena.theta[k], "second": self.arena.second[own]}
        rows |= {f"{LEARNER}{name}": value[k] for name, value in self.state.items()}
        old, new = self.network.layouts[g], self._alone(g)
        tensors = {name: _moved(value, old, new) for name, value in rows.items()}
        return Snapshot(key, tensors | {"steps": self.arena.steps[own].cpu()}, self._watches[g].state())

    def resume(self, g: int, snapshot: Snapshot) -> None:
        """Let cell g go on from a snapshot of the same cell."""
        k, batch = self.alive.index(g), self.config.meta.batch
        own = slice(k * batch, (k + 1) * batch)
        old, new, device = self._alone(g), self.network.layouts[g], self.device
        rows = {name: _moved(value, old, new).to(device) for name, value in snapshot.tensors.items() if name != "steps"}
        for target, value in ((self.arena.theta[k], rows["theta"]), (self.arena.second[own], rows["second"])):
            target.zero_()
            target[..., : value.shape[-1]] = value
        self.arena.steps[own] = snapshot.tensors["steps"].to(device)
        for name, value in self.state.items():
            kept = rows[f"{LEARNER}{name}"]
            shared = min(kept.shape[-1], value.shape[-1])  # tables are as wide as the widest network beside
            value[k].zero_()
            value[k][..., :shared] = kept[..., :shared]
        self._watches[g].restore(dict(snapshot.watch))

    def inherit(self, g: int, snapshot: Snapshot) -> None:
        """Let cell g begin with the weights of another one, those of parameters that both have by name and shape."""
        layout = self.space.networks([self.space.parse(snapshot.key)], self.macro).layouts[0]
        theirs = layout.unpack(snapshot.tensors["theta"])
        row = self.arena.theta[self.alive.index(g)]
        for name, own in self.network.layouts[g].unpack(row).items():
            if name in theirs and theirs[name].shape == own.shape:
                own.copy_(theirs[name])

    def _alone(self, g: int) -> Layout:
        """The layout of cell g's network without others beside it."""
        return self.network.alone(g).layouts[0]

    def train(self, notice: Callable[[str], None], first: int = 0, last: int | None = None) -> None:
        """Meta-iterations first .. last - 1, to the last of the config where None. On a GPU they are replayed as a
        graph, which is made anew when cells were left out."""
        loop = Loop(self, notice)
        for i in range(first, self.config.meta.iterations if last is None else last):
            failed = self.failed(loop.launch(i))
            if failed:
                failed += self.failed(loop.drain())
                self.leave_out(failed)
                if not self.alive:
                    return
                loop = Loop(self, notice)
        self.leave_out(self.failed(loop.drain()))

    def learned(self) -> Arena:
        """One slot per cell that has not failed, as evaluation begins: at theta, and with Adam's state carried from
        the cell's mean second moment and largest count."""
        arena, batch = self.arena, self.config.meta.batch
        made = Arena.create(self.network.layouts, arena.theta, torch.arange(arena.groups, device=self.device))
        made.layout_of_slot.copy_(arena.layout_of_slot[::batch])
        if self.config.inner.adam_state == "carry" and arena.groups:
            total = arena.second[::batch].clone()
            for task in range(1, batch):
                total += arena.second[task::batch]
            made.second.copy_(total / batch)
            made.steps.copy_(arena.steps.view(arena.groups, batch, -1).amax(dim=1))
        return made


def _moved(values: Tensor, old: Layout, new: Layout) -> Tensor:
    """Rows `[..., row]` of one layout as another one with the same entries lays them out, on the CPU; what has no rows
    stays."""
    if not values.dim() or values.shape[-1] < old.row:
        return values.cpu()
    rows = [new.pack(old.unpack(row), row.dtype) for row in values.cpu().reshape(-1, values.shape[-1])]
    return torch.stack(rows).view(*values.shape[:-1], new.row)
