"""Meta-training of one architecture or of many side by side on an arena, task by numbered task."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from autometa.brief import brief
from autometa.data import Episodes
from autometa.data.episodes import Tasks
from autometa.errors import InputError
from autometa.meta.bn_modes import Classifier, accuracy
from autometa.meta.learner import InnerLoop, MetaLearner, TaskChunk
from autometa.meta.optimisers import NONE, SGD, Adam, PerKind
from autometa.meta.outer_loop import TaskSource, adapt_slots_, meta_iteration_
from autometa.meta.ranks import Ranks, mean_of_parts, part_of_mean, part_of_moves
from autometa.meta.reptile import Reptile
from autometa.meta.schedule import Schedule
from autometa.ops.cross_entropy import cross_entropy
from autometa.runs.forms import FormError, maybe, record, whole
from autometa.runs.tensors import check_tensor
from autometa.slots.arena import Arena, steps_by_kind
from autometa.train.config import InnerConfig, MetaConfig
from autometa.train.learned import LEARNER
from autometa.train.shapes import shape_of
from autometa.train.tasks import SameBatches

WINDOW = 4096
"""Meta-iterations whose step sizes lie on the device."""
TINY = 1e-30
"""The least norm that an update is measured by."""
PER_SLOT = ("second", "steps")
"""What Adam keeps of each slot."""


class Logits(Protocol):
    """phi `[S, row]`, images `[S, N, C, H, W]`, inner step -> `[S, N, ways]`, or the last layer's `features`."""

    def __call__(self, phi: Tensor, images: Tensor, step: int, /, *, features: bool = False) -> Tensor: ...


class Learning(Classifier, Protocol):
    """Networks of some slots, with their objective."""

    def loss(self, phi: Tensor, images: Tensor, labels: Tensor, step: int, /) -> Tensor: ...


@brief
@dataclass(frozen=True)
class Step:
    """A meta-iteration: losses `[inner steps, S]`, the share of right answers on the last inner step's batch before its
    update `[S]`, and which slots stayed finite `[S]`.

    update: norm of the meta-update over the norm of what it changed, of weights and architecture, float64 `[2]`;
    architecture: its part of theta afterwards, `[A]`, empty where there is none. Both are of the first group.
    """

    losses: Tensor
    accuracy: Tensor
    finite: Tensor
    update: Tensor
    architecture: Tensor


class StepSizes:
    """Meta step sizes of all kinds of columns where tasks are drawn, a window of meta-iterations at a time.

    of(i): those at meta-iteration i of `total`.
    """

    def __init__(self, of: Callable[[int], PerKind], total: int, home: torch.device) -> None:
        self._of, self._total = of, total
        self._window, self._sizes = 0, self._schedule(0).to(home)

    def replan(self, total: int) -> None:
        """`of` answers otherwise from now on."""
        self._total = total
        self._sizes.copy_(self._schedule(self._window))

    def _schedule(self, window: int) -> Tensor:
        """float64 `[WINDOW, kinds]`."""
        last = max(self._total, 1)
        rows = [self._of(min(i, last)).values() for i in range(window * WINDOW, (window + 1) * WINDOW)]
        return torch.tensor(rows, dtype=torch.float64, device="cpu")

    def reach(self, i: int) -> None:
        """Have the step sizes of meta-iteration i at hand, before it is done: the host's part of it."""
        if i // WINDOW != self._window:
            self._window = i // WINDOW
            self._sizes.copy_(self._schedule(self._window))

    def at(self, counter: Tensor, groups: int, device: torch.device) -> Tensor:
        """Those of the meta-iteration that `counter` int64 `[1]` names, float64 `[groups, kinds]` on `device`."""
        sizes = self._sizes.index_select(0, counter % WINDOW).to(device)
        return sizes.expand(groups, sizes.shape[1]).contiguous()


@brief
@dataclass
class Trainer:
    """Meta-training of the groups of an arena as state (the arena, what the meta-learner keeps) and a step.

    logits(task ids `[S]`, in warm-up?) gives the network of those slots, which are one group's. Of several groups, each
    another architecture, all see the same tasks and batches (common random numbers), so that differences between them
    are not those between tasks; networks(layouts of slots `[S]`) gives theirs, and nobody counts right answers.
    architecture_step is the meta step size of
    the architecture parameters, which stand still for `warmup` meta-iterations. state: what the meta-learner keeps
    beside theta, by name, as at the start where None. counter int64 `[1]`: the number of the next meta-iteration, where
    tasks are drawn; max_slots: that of `meta` until `Loop` finds another one; ranks: the processes among which
    `divide_` has divided the meta-batch; learning, shaped, ways: the learner, the tasks and their
    number of classes as they are at this meta-iteration; weights: columns of theta before the architecture's, all of
    them where None.
    guide(task, in warm-up?) gives a task another objective; before(theta, share of the meta-iterations that is over)
    changes theta in place before a meta-iteration.
    """

    arena: Arena
    episodes: Episodes
    optimiser: Adam | SGD
    inner: InnerConfig
    meta: MetaConfig
    logits: Callable[[Tensor, bool], Logits] | None = None
    networks: Callable[[Tensor], Learning] | None = None
    architecture_step: Schedule = Schedule(0.0)
    warmup: int = 0
    weights: int | None = None
    learner: MetaLearner = field(default_factory=Reptile)
    guide: Callable[[TaskChunk, bool], TaskChunk] | None = None
    before: Callable[[Tensor, float], None] | None = None
    state: dict[str, Tensor] = None  # type: ignore[assignment]  # the learner's own

    def __post_init__(self) -> None:
        home = self.episodes.home
        self.max_slots = self.meta.max_slots
        self.counter = torch.zeros(1, dtype=torch.int64, device=home)
        self._places = torch.arange(self.meta.batch, device=home)
        self.ranks: Ranks | None = None
        self._step_sizes = StepSizes(self._sizes_at, self.meta.iterations, home)
        if self.state is None:
            self.state = self.learner.state(self.arena, self.inner.steps)
        self.learning, self.shaped, self.ways = self.learner, self.episodes, self.inner.ways

    @property
    def device(self) -> torch.device:
        return self.arena.theta.device

    def _sizes_at(self, i: int) -> PerKind:
        over = self.meta.position(i)
        architecture = 0.0 if i < self.warmup else self.architecture_step.at(over, 1)
        return PerKind(self.meta.steps().at(over, 1), architecture)

    def replan(self, meta: MetaConfig, warmup: int) -> None:
        """Go on with another number of meta-iterations, of which `warmup` are warm-up."""
        self.meta, self.warmup = meta, warmup
        self._step_sizes.replan(meta.iterations)

    def reach(self, i: int) -> None:
        """As `StepSizes.reach`; what `before` does is the host's part too, and which learner and tasks it has."""
        self._step_sizes.reach(i)
        self.learning = self.learner.at(self.meta.position(i), self.state)
        if self.inner.drawn:
            self.ways, shots = shape_of(self.inner, self.episodes.seed, i)
            self.shaped = self.episodes.shaped(self.ways, shots)
        if self.before is not None:
            self.before(self.arena.theta, self.meta.position(i))

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
        before = self.arena.theta[0].clone()
        done = meta_iteration_(*self._work(warm, right), self._sizes(), **self._how(warm))
        self.counter += 1
        return Step(done.losses, self._right(right), done.finite, *self._moved(before))

    def _how(self, warm: bool) -> dict[str, Any]:
        """How slots adapt, by the names of `adapt_slots_`."""
        frozen = ("architecture",) if warm else NONE
        return {"learner": self.learning, "state": self.state, "frozen": frozen, "max_slots": self.max_slots}

    def _right(self, right: Sequence[Tensor]) -> Tensor:
        """Shares of right answers `[S]`, nan where the learner takes no inner step."""
        return torch.cat(list(right)) if right else torch.full_like(self.arena.phi[:, 0], math.nan)

    def _moved(self, before: Tensor) -> tuple[Tensor, Tensor]:
        """`Step.update` and `Step.architecture` of a step that began at `before`."""
        theta, cut = self.arena.theta[0], self.before_architecture
        moved = theta - before

        def norms(row: Tensor) -> Tensor:
            parts = (row[:cut], row[cut:])
            return torch.stack([torch.linalg.vector_norm(part, dtype=torch.float64) for part in parts])

        return norms(moved) / norms(before).clamp(min=TINY), theta[cut:].clone()

    @property
    def before_architecture(self) -> int:
        """How many columns of theta are weights."""
        return self.arena.theta.shape[1] if self.weights is None else self.weights

    def _work(self, warm: bool, right: list[Tensor]) -> tuple[Arena, TaskSource, Adam | SGD, int]:
        """Arena, tasks, optimiser and steps of the meta-iteration that `counter` names."""
        ids = self._ids()
        tasks: TaskSource = partial(self._tasks, ids, warm, right)
        if self.networks is not None:
            tasks = partial(self._shared, self.networks, *self._drawn(ids))
        return self.arena, tasks, self.optimiser, self.inner.steps

    def _ids(self) -> Tensor:
        """The tasks of this meta-iteration, of each slot where there is one group."""
        return self.counter * self.meta.batch + self._places

    def _sizes(self) -> Tensor:
        """Its meta step sizes, float64 `[groups, kinds]`."""
        return self._step_sizes.at(self.counter, self.arena.groups, self.device)

    def packed(self, step: Step) -> Tensor:
        """A meta-iteration's outcome as one row, float64 `[(inner steps + 2) * S + 2 + A]`."""
        parts = (step.losses.flatten(), step.accuracy, step.finite, step.update, step.architecture)
        return torch.cat([part.to(torch.float64) for part in parts])

    def unpacked(self, row: Tensor) -> Step:
        """What `packed` packed."""
        dtype, slots, steps = self.arena.theta.dtype, self.meta.batch * self.arena.groups, self.inner.steps
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
        for value in self.state.values():
            ranks.copied(value)
        for name in PER_SLOT:
            ranks.scattered(getattr(whole, name) if ranks.leads else None, getattr(self.arena, name), total)

    def begun(self, warm: bool) -> Tensor:
        """This process's part of a divided meta-iteration: what all processes' parts add up to is its mean and its
        outcomes, float64 `[row + 1 + (inner steps + 2) * batch]`. Nothing here waits for another process."""
        assert self.ranks is not None, "divided by `divide_`"
        right: list[Tensor] = []
        done = adapt_slots_(*self._work(warm, right), **self._how(warm))
        rows = torch.cat([done.losses.double(), self._right(right).double()[None], done.finite.double()[None]])
        before, after = self.ranks.share(self.meta.batch)
        rows = torch.nn.functional.pad(rows, (before, self.meta.batch - after))
        moves = [part_of_moves(done.moves[name], done.finite) for name in sorted(done.moves)]
        self._shapes = {name: done.moves[name].shape[1:] for name in sorted(done.moves)}
        return torch.cat([part_of_mean(self.arena, done.finite), *moves, rows.flatten()])

    def ended(self, total: Tensor) -> Step:
        """The end of a divided meta-iteration, from the sum of all parts: the outcomes of all slots."""
        cut, before = self.arena.theta.shape[1] + 1, self.arena.theta[0].clone()
        count, rest = total[cut - 1 : cut], total[cut:]
        mean, found = mean_of_parts(total[:cut], self.arena)
        moves = {}
        for name, shape in self._shapes.items():
            moves[name] = (rest[: shape.numel()] / count.clamp(min=1.0)).to(mean.dtype).view(shape)
            rest = rest[shape.numel() :]
        self.learner.update_from_mean_(self.arena, mean, moves, found, self._sizes(), self.state)
        self.counter += 1
        rows = rest.view(-1, self.meta.batch)
        losses = rows[:-2].to(self.arena.theta.dtype)
        return Step(losses, rows[-2], rows[-1] != 0, *self._moved(before))

    def _drawn(self, ids: Tensor) -> tuple[Tasks, list[tuple[Tensor, Tensor]], tuple[Tensor, Tensor] | None]:
        """These tasks, their batches for all inner steps, and their queries where they are needed."""
        inner, tasks = self.inner, self.shaped.tasks(ids)
        queries = self.shaped.queries(tasks) if self.learner.needs_queries else None
        batches = self.shaped.batches(tasks, inner.batch, inner.steps, inner.batch_mode)
        return tasks, SameBatches.drawn(batches, inner.steps if self.learner.inner_loop else 0), queries

    def _shared(
        self,
        networks: Callable[[Tensor], Learning],
        tasks: Tasks,
        drawn: Sequence[tuple[Tensor, Tensor]],
        queries: tuple[Tensor, Tensor] | None,
        start: int,
        stop: int,
    ) -> TaskChunk:
        """Objective, batches and queries of some slots of several groups."""
        task = torch.arange(start, stop, device=self.device) % self.meta.batch
        batches = SameBatches(drawn, task, partial(self.shaped.support, tasks))
        same = None if queries is None else partial(batches.of_slots, queries)
        network, ways = networks(self.arena.layout_of_slot[start:stop]), self.ways

        def loss(phi: Tensor, images: Tensor, labels: Tensor, t: int) -> Tensor:
            return cross_entropy(network.logits(phi, images)[..., :ways].contiguous(), labels)

        return TaskChunk.of(network, network.loss if ways == network.ways else loss, batches)._replace(queries=same)

    def _tasks(self, ids: Tensor, warm: bool, right: list[Tensor], start: int, stop: int) -> TaskChunk:
        """Objective, batches and queries of some of these tasks; `right` receives their shares of right answers."""
        assert self.logits is not None, "one architecture has logits, several have losses"
        inner, shaped, ways = self.inner, self.shaped, self.ways
        drawn = shaped.tasks(ids[start:stop])
        logits, known = self.logits(drawn.ids.to(self.device), warm), len(right)

        def loss(phi: Tensor, images: Tensor, labels: Tensor, t: int) -> Tensor:
            out = logits(phi, images, t)[..., :ways].contiguous()
            if t == inner.steps - 1 and len(right) == known:  # `guide` may look at other images after the batch
                right.append(accuracy(out.detach(), labels))
            return cross_entropy(out, labels)

        batches = shaped.batches(drawn, inner.batch, inner.steps, inner.batch_mode)
        task = TaskChunk(loss, batches, lambda: shaped.queries(drawn), partial(logits, features=True))
        return task if self.guide is None else self.guide(task, warm)

    def try_slots(self, slots: int, warm: bool) -> Arena:
        """One inner step of the first slots from theta, of which nothing is kept: to see what it takes and gives.
        Returns the slots as they are after it, with Adam's second moments from 0 on."""
        part = self.arena.part(0, slots)
        phi, second = part.theta.index_select(0, part.group_of_slot), torch.zeros_like(part.second)
        copied = replace(part, phi=phi, second=second, steps=torch.zeros_like(part.steps))
        now, self.shaped, self.ways = (self.shaped, self.ways), self.episodes, self.inner.ways  # the largest tasks
        task = TaskChunk(*self._work(warm, [])[1](0, slots))
        self.shaped, self.ways = now
        self.learning.train_(copied, task, InnerLoop(self.optimiser, 1, self.state, frozen=self._how(warm)["frozen"]))
        return copied

    def _kept(self) -> dict[str, Tensor]:
        """What the meta-learner keeps, by its names in a checkpoint."""
        return {f"{LEARNER}{name}": value for name, value in self.state.items()}

    def capture(self) -> tuple[dict[str, Tensor], dict]:
        """All that the next step depends on, beside its number; of all slots, on the leader, where they are divided."""
        arena, ranks = self.arena, self.ranks
        state = {} if self.device.type == "cpu" else {"max_slots": self.max_slots}
        found = {"theta": arena.theta, "second": arena.second, "steps": arena.steps}
        found |= self._kept()
        if ranks is not None:
            found.update({name: ranks.gathered(found[name], self.meta.batch) for name in PER_SLOT})
        return found, state

    def restore(self, tensors: dict[str, Tensor], state: dict) -> None:
        """Go on from what `capture` gave; where slots are divided all processes do so, the leader's values count.

        Raises `FormError`, and changes nothing, where the tensors are others than `capture` gives.
        """
        own = {name: steps_by_kind(value) if name == "steps" else value for name, value in tensors.items()}
        self._check(own, state)
        if self.ranks is None:
            for name in ("theta", *PER_SLOT):
                getattr(self.arena, name).copy_(own[name])
            for name, value in self._kept().items():
                value.copy_(own[name])
        else:
            for name, value in {"theta": self.arena.theta, **self._kept()}.items():
                if self.ranks.leads:
                    value.copy_(own[name])
                self.ranks.copied(value)
            for name in PER_SLOT:
                self.ranks.scattered(own.get(name), getattr(self.arena, name), self.meta.batch)
        self.max_slots = state.get("max_slots", self.max_slots)

    def _check(self, tensors: dict[str, Tensor], state: dict) -> None:
        """Hold what would be restored against the arena."""
        if self.ranks is not None and not self.ranks.leads:
            return
        arena = self.arena
        kept = self._kept()
        if set(tensors) != {"theta", *PER_SLOT, *kept}:
            raise FormError(f"it holds the tensors {', '.join(sorted(tensors)) or 'none'}, not those of this loop")
        for name, value in tensors.items():
            own = kept[name] if name in kept else getattr(arena, name)
            slots = self.meta.batch if name in PER_SLOT else own.shape[0]
            check_tensor(name, value, own.dtype, (slots, *own.shape[1:]), finite=name == "theta")
        record(optional={"max_slots": maybe(whole(1))})(state, "state")
