"""Meta-training, the loop that every algorithm here shares: Reptile on an arena, task by numbered task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Protocol

import torch
from torch import Tensor

from autometa.brief import brief
from autometa.data import Episodes
from autometa.errors import InputError
from autometa.meta.bn_modes import accuracy
from autometa.meta.inner_loop import Adam, Batches, Objective, adapt_
from autometa.meta.ranks import Ranks, part_of_mean, step_to_mean_
from autometa.meta.reptile import Schedule, adapt_slots_, meta_iteration_
from autometa.ops.cross_entropy import cross_entropy
from autometa.runs.forms import FormError, maybe, record, whole
from autometa.runs.tensors import check_tensor
from autometa.slots.arena import Arena
from autometa.slots.layout import Layout
from autometa.slots.statistics import BatchStatistics
from autometa.train.config import InnerConfig, MetaConfig

WINDOW = 4096
"""Meta-iterations whose step sizes lie on the device."""
TINY = 1e-30
"""The least norm that an update is measured by."""
PER_SLOT = ("second", "steps")
"""What Adam keeps of each slot."""


class Network(Protocol):
    """What meta-training needs of a network."""

    layout: Layout
    ways: int

    @property
    def smallest_map(self) -> tuple[int, int]: ...

    def initial(self, seed: int) -> Tensor: ...

    def logits(self, phi: Tensor, images: Tensor, statistics: BatchStatistics | None = None) -> Tensor: ...


class Logits(Protocol):
    """phi `[S, row]`, images `[S, N, C, H, W]`, inner step -> `[S, N, ways]`."""

    def __call__(self, phi: Tensor, images: Tensor, step: int) -> Tensor: ...


@brief
@dataclass(frozen=True)
class Step:
    """A meta-iteration: losses `[inner steps, S]`, the share of right answers on the last inner step's batch before its
    update `[S]`, and which slots stayed finite `[S]`.

    update: norm of the meta-update over the norm of what it changed, of weights and architecture, float64 `[2]`;
    architecture: the architecture's part of theta afterwards, `[A]`, empty where there is none.
    """

    losses: Tensor
    accuracy: Tensor
    finite: Tensor
    update: Tensor
    architecture: Tensor


class StepSizes:
    """Meta step sizes of weights and architecture where tasks are drawn, a window of meta-iterations at a time.

    of(i): both at meta-iteration i of `total`.
    """

    def __init__(self, of: Callable[[int], tuple[float, float]], total: int, home: torch.device) -> None:
        self._of, self._total = of, total
        self._window, self._sizes = 0, self._schedule(0).to(home)

    def replan(self, total: int) -> None:
        """`of` answers otherwise from now on."""
        self._total = total
        self._sizes.copy_(self._schedule(self._window))

    def _schedule(self, window: int) -> Tensor:
        """float64 `[WINDOW, 2]`."""
        last = max(self._total, 1)
        rows = [self._of(min(i, last)) for i in range(window * WINDOW, (window + 1) * WINDOW)]
        return torch.tensor(rows, dtype=torch.float64, device="cpu")

    def reach(self, i: int) -> None:
        """Have the step sizes of meta-iteration i at hand, before it is done: the host's part of it."""
        if i // WINDOW != self._window:
            self._window = i // WINDOW
            self._sizes.copy_(self._schedule(self._window))

    def at(self, counter: Tensor, groups: int, device: torch.device) -> Tensor:
        """Those of the meta-iteration that `counter` int64 `[1]` names, float64 `[groups, 2]` on `device`."""
        sizes = self._sizes.index_select(0, counter % WINDOW).to(device)
        return sizes.expand(groups, 2).contiguous()


class Target(Protocol):
    """What a meta-learner makes of slots after their inner loops: an arena of these slots, their task ids int64 `[S]`
    and logits. Theta moves towards the mean of what it leaves in `arena.phi`; Reptile leaves all as it is."""

    def __call__(self, arena: Arena, ids: Tensor, logits: Logits) -> None: ...


@brief
@dataclass
class Trainer:
    """One meta-training run as state (the arena) and a step.

    logits(task ids `[S]`, in warm-up?) gives the network of those slots; architecture_step is the meta step size of
    the architecture parameters, which stand still for `warmup` meta-iterations. target: of another meta-learner than
    Reptile. counter int64 `[1]`: the number of the
    next meta-iteration, where tasks are drawn; max_slots: that of `meta` until `Loop` finds another one; ranks: the
    processes among which `divide_` has divided the meta-batch; weights: columns of theta before the architecture's,
    all of them where it is None.
    """

    arena: Arena
    episodes: Episodes
    optimiser: Adam
    inner: InnerConfig
    meta: MetaConfig
    logits: Callable[[Tensor, bool], Logits]
    architecture_step: Schedule = Schedule(0.0)
    warmup: int = 0
    weights: int | None = None
    target: Target | None = None

    def __post_init__(self) -> None:
        home = self.episodes.home
        self.max_slots = self.meta.max_slots
        self.counter = torch.zeros(1, dtype=torch.int64, device=home)
        self._places = torch.arange(self.meta.batch, device=home)
        self.ranks: Ranks | None = None
        self._step_sizes = StepSizes(self._sizes_at, self.meta.iterations, home)

    @property
    def device(self) -> torch.device:
        return self.arena.theta.device

    def _sizes_at(self, i: int) -> tuple[float, float]:
        over = self.meta.position(i)
        architecture = 0.0 if i < self.warmup else self.architecture_step.at(over, 1)
        return self.meta.steps().at(over, 1), architecture

    def replan(self, meta: MetaConfig, warmup: int) -> None:
        """Go on with another number of meta-iterations, of which `warmup` are warm-up."""
        self.meta, self.warmup = meta, warmup
        self._step_sizes.replan(meta.iterations)

    def reach(self, i: int) -> None:
        """As `StepSizes.reach`."""
        self._step_sizes.reach(i)

    def step(self, i: int) -> Step:
        """Meta-iteration i, on tasks i * batch .. (i + 1) * batch - 1."""
        self.reach(i)
        self.counter.fill_(i)
        return self.next_step(i < self.warmup)

    def next_step(self, warm: bool) -> Step:
        """The meta-iteration that `counter` names, which then names the one after it; warm: whether it is in warm-up.

        On a device where tasks are drawn too, the host waits for nothing and copies nothing, so that all of it can be
        captured in a graph.
        """
        if self.ranks is not None:
            return self.ended(self.ranks.summed(self.begun(warm)))
        right: list[Tensor] = []
        before = self.arena.theta.clone()
        how = {"frozen": (False, warm), "max_slots": self.max_slots, "target": self._target(warm)}
        done = meta_iteration_(*self._work(warm, right), self._sizes(), **how)
        self.counter += 1
        return Step(done.losses, torch.cat(right), done.finite, *self._moved(before))

    def _moved(self, before: Tensor) -> tuple[Tensor, Tensor]:
        """`Step.update` and `Step.architecture` of a step that began at `before`."""
        theta, cut = self.arena.theta[0], self.before_architecture
        moved = theta - before[0]

        def norms(row: Tensor) -> Tensor:
            parts = (row[:cut], row[cut:])
            return torch.stack([torch.linalg.vector_norm(part, dtype=torch.float64) for part in parts])

        return norms(moved) / norms(before[0]).clamp(min=TINY), theta[cut:].clone()

    @property
    def before_architecture(self) -> int:
        """How many columns of theta are weights."""
        return self.arena.theta.shape[1] if self.weights is None else self.weights

    def _work(self, warm: bool, right: list[Tensor]) -> tuple:
        """Arena, tasks, optimiser and steps of the meta-iteration that `counter` names."""
        ids = self._ids()
        return self.arena, lambda a, b: self._tasks(ids[a:b], warm, right), self.optimiser, self.inner.steps

    def _ids(self) -> Tensor:
        """The task of each slot."""
        return self.counter * self.meta.batch + self._places

    def _target(self, warm: bool) -> Callable[[Arena, int, int], None] | None:
        if self.target is None:
            return None
        ids, target = self._ids(), self.target
        return lambda part, a, b: target(part, ids[a:b], self.logits(ids[a:b].to(self.device), warm))

    def _sizes(self) -> Tensor:
        """Its meta step sizes, float64 `[groups, kinds]`."""
        return self._step_sizes.at(self.counter, self.arena.groups, self.device)

    def packed(self, step: Step) -> Tensor:
        """A meta-iteration's outcome as one row, float64 `[(inner steps + 2) * S + 2 + A]`."""
        parts = (step.losses.flatten(), step.accuracy, step.finite, step.update, step.architecture)
        return torch.cat([part.to(torch.float64) for part in parts])

    def unpacked(self, row: Tensor) -> Step:
        """What `packed` packed."""
        dtype, slots, steps = self.arena.theta.dtype, self.meta.batch, self.inner.steps
        own = self.arena.theta.shape[1] - self.before_architecture
        losses, right, finite, update, architecture = row.split([steps * slots, slots, slots, 2, own])
        return Step(losses.view(steps, slots).to(dtype), right, finite != 0, update, architecture.to(dtype))

    def divide_(self, ranks: Ranks) -> None:
        """Keep the slots that are this process's of a meta-batch divided among `ranks`; theta and what Adam keeps are
        the leader's.

        Raises `InputError` where there are more processes than tasks.
        """
        total, (start, stop) = self.meta.batch, ranks.share(self.meta.batch)
        if ranks.size > total:
            raise InputError(f"{total} tasks per meta-iteration cannot be divided among {ranks.size} processes")
        whole, part = self.arena, self.arena.part(start, stop)
        self.arena = replace(part, **{f.name: getattr(part, f.name).clone() for f in fields(part)})
        self._places, self.ranks = self._places[start:stop], ranks
        ranks.copied(self.arena.theta)
        for name in PER_SLOT:
            ranks.scattered(getattr(whole, name) if ranks.leads else None, getattr(self.arena, name), total)

    def begun(self, warm: bool) -> Tensor:
        """This process's part of a divided meta-iteration: what all processes' parts add up to is its mean and its
        outcomes, float64 `[row + 1 + (inner steps + 2) * batch]`. Nothing here waits for another process."""
        right: list[Tensor] = []
        how = {"frozen": (False, warm), "max_slots": self.max_slots, "target": self._target(warm)}
        done = adapt_slots_(*self._work(warm, right), **how)
        rows = torch.cat([done.losses.double(), torch.cat(right).double()[None], done.finite.double()[None]])
        before, after = self.ranks.share(self.meta.batch)
        rows = torch.nn.functional.pad(rows, (before, self.meta.batch - after))
        return torch.cat([part_of_mean(self.arena, done.finite), rows.flatten()])

    def ended(self, total: Tensor) -> Step:
        """The end of a divided meta-iteration, from the sum of all parts: the outcomes of all slots."""
        mean, before = self.arena.theta.shape[1] + 1, self.arena.theta.clone()
        step_to_mean_(self.arena, total[:mean], self._sizes())
        self.counter += 1
        rows = total[mean:].view(-1, self.meta.batch)
        losses = rows[:-2].to(self.arena.theta.dtype)
        return Step(losses, rows[-2], rows[-1] != 0, *self._moved(before))

    def _tasks(self, ids: Tensor, warm: bool, right: list[Tensor]) -> tuple[Objective, Batches]:
        """Objective and batches of some tasks; `right` receives their shares of right answers."""
        inner, drawn = self.inner, self.episodes.tasks(ids)
        logits = self.logits(drawn.ids.to(self.device), warm)

        def loss(phi: Tensor, images: Tensor, labels: Tensor, t: int) -> Tensor:
            out = logits(phi, images, t)
            if t == inner.steps - 1:
                right.append(accuracy(out.detach(), labels))
            return cross_entropy(out, labels)

        return loss, self.episodes.batches(drawn, inner.batch, inner.steps, inner.batch_mode)

    def try_slots(self, slots: int, warm: bool) -> None:
        """One inner step of the first slots, of which nothing is kept: to see how much memory they take."""
        part = self.arena.part(0, slots)
        copied = replace(part, phi=part.phi.clone(), second=part.second.clone(), steps=part.steps.clone())
        adapt_(copied, *self._tasks(self._places[:slots], warm, []), self.optimiser, 1, frozen=(False, warm))

    def capture(self) -> tuple[dict[str, Tensor], dict]:
        """All that the next step depends on, beside its number; of all slots, on the leader, where they are divided."""
        arena, ranks = self.arena, self.ranks
        state = {} if self.device.type == "cpu" else {"max_slots": self.max_slots}
        found = {"theta": arena.theta, "second": arena.second, "steps": arena.steps}
        if ranks is not None:
            found.update({name: ranks.gathered(found[name], self.meta.batch) for name in PER_SLOT})
        return found, state

    def restore(self, tensors: dict[str, Tensor], state: dict) -> None:
        """Go on from what `capture` gave; where slots are divided all processes do so, the leader's values count.

        Raises `FormError`, and changes nothing, where the tensors are others than `capture` gives.
        """
        self._check(tensors, state)
        if self.ranks is None:
            for name, value in tensors.items():
                getattr(self.arena, name).copy_(value)
        else:
            if self.ranks.leads:
                self.arena.theta.copy_(tensors["theta"])
            self.ranks.copied(self.arena.theta)
            for name in PER_SLOT:
                self.ranks.scattered(tensors.get(name), getattr(self.arena, name), self.meta.batch)
        self.max_slots = state.get("max_slots", self.max_slots)

    def _check(self, tensors: dict[str, Tensor], state: dict) -> None:
        """Hold what would be restored against the arena."""
        if self.ranks is not None and not self.ranks.leads:
            return
        arena = self.arena
        if set(tensors) != {"theta", *PER_SLOT}:
            raise FormError(f"it holds the tensors {', '.join(sorted(tensors)) or 'none'}, not those of this loop")
        for name, value in tensors.items():
            own = getattr(arena, name)
            slots = own.shape[0] if name == "theta" else self.meta.batch
            check_tensor(name, value, own.dtype, (slots, *own.shape[1:]), finite=name == "theta")
        record(optional={"max_slots": maybe(whole(1))})(state, "state")


@brief
@dataclass(frozen=True)
class Learned:
    """What meta-training leaves: theta `[row]`, and where Adam goes on (`[row]`, `[kinds]`) if it is carried."""

    theta: Tensor
    second: Tensor
    steps: Tensor

    @classmethod
    def of(cls, captured: Mapping[str, Tensor]) -> Learned:
        """From what `Trainer.capture` gives: Adam goes on from the slots' mean second moment and largest count."""
        return cls(captured["theta"][0].clone(), captured["second"].mean(dim=0), captured["steps"].amax(dim=0))

    @classmethod
    def untrained(cls, network: Network, seed: int, device: torch.device | str = "cpu") -> Learned:
        """The initialisation itself, the yardstick that a search must beat."""
        theta = network.initial(seed).to(device)
        return cls(theta, torch.zeros_like(theta), torch.zeros(2, dtype=torch.int64, device=device))

    def to(self, device: torch.device | str) -> Learned:
        """The same on another device."""
        return Learned(self.theta.to(device), self.second.to(device), self.steps.to(device))

    def arena(self, layout: Layout, slots: int, adam_state: str) -> Arena:
        """An arena whose slots start here."""
        arena = Arena.single(layout, self.theta, slots)
        if adam_state == "carry":
            arena.second.copy_(self.second)
            arena.steps.copy_(self.steps)
        return arena
