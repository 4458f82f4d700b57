"""The outer loop: one meta-iteration of any meta-learner on the slots of an arena."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from autometa.meta.learner import InnerLoop, MetaLearner, TaskChunk
from autometa.meta.optimisers import NONE, SGD, Adam, PerKind
from autometa.meta.reptile import Reptile
from autometa.ops.finite_slots import finite_slots
from autometa.slots.arena import Arena

TaskSource = Callable[[int, int], TaskChunk | tuple]
"""Slots start .. stop - 1 -> their tasks, as `TaskChunk` or a tuple of its fields."""


@dataclass(frozen=True)
class Iteration:
    """What the inner loops of one meta-iteration did: losses `[inner_steps, S]`, which slots stayed finite, bool `[S]`,
    and the moves of what a meta-learner keeps beside theta, `[S, ...]` by name."""

    losses: Tensor
    finite: Tensor
    moves: Mapping[str, Tensor] = field(default_factory=dict)


def meta_iteration_(
    arena: Arena,
    tasks: TaskSource,
    optimiser: Adam | SGD,
    inner_steps: int,
    step_size: PerKind | Tensor,
    *,
    learner: MetaLearner | None = None,
    state: dict[str, Tensor] | None = None,
    frozen: Collection[str] = NONE,
    max_slots: int | None = None,
) -> Iteration:
    """One meta-iteration, in place on `arena` and `state`.

    Slots start at theta, adapt in chunks of `max_slots` (the result does not depend on it), and the meta-learner
    (Reptile where None) updates theta; a frozen kind keeps its bits. step_size: per kind, or float64
    `[groups, kinds]` where it lies on the device. Adam's second moment of a slot that is not finite is mended from its
    group. (Nichol et al. 2018, algorithm 2; Finn et al. 2017, algorithm 1.)
    """
    learner, state = learner or Reptile(), {} if state is None else state
    done = adapt_slots_(
        arena, tasks, optimiser, inner_steps, learner=learner, state=state, frozen=frozen, max_slots=max_slots
    )
    sizes = step_size if isinstance(step_size, Tensor) else step_size.table(arena, frozen)
    learner.update_(arena, done.moves, done.finite, sizes, state)
    return done


def adapt_slots_(
    arena: Arena,
    tasks: TaskSource,
    optimiser: Adam | SGD,
    inner_steps: int,
    *,
    learner: MetaLearner,
    state: Mapping[str, Tensor],
    frozen: Collection[str] = NONE,
    max_slots: int | None = None,
) -> Iteration:
    """`meta_iteration_` without its update: slots adapt from theta, which stays; lost slots' moments are mended."""
    arena.reload_()
    optimiser.begin_(arena)
    chunk = max_slots or arena.slots
    parts, inner = [], InnerLoop(optimiser, inner_steps, state, frozen=frozen)
    for start in range(0, arena.slots, chunk):
        stop = min(start + chunk, arena.slots)
        task = TaskChunk(*tasks(start, stop))
        parts.append(learner.train_(arena.part(start, stop), task, inner))
    loss = torch.cat([part.losses for part in parts], dim=1)
    moves = {name: torch.cat([part.moves[name] for part in parts]) for name in parts[0].moves}
    finite = finite_slots(arena.phi) & torch.isfinite(loss).all(dim=0)
    _heal_moments_(arena, finite)
    return Iteration(loss, finite, moves)


def _heal_moments_(arena: Arena, finite: Tensor) -> None:
    """A slot that left the finite numbers goes on with the mean moment of its group's healthy ones, and starts Adam
    anew where the group has none."""
    if arena.phi.device.type != "cpu":
        heal_without_looking_(arena, finite)
        return
    for slot in (~finite).nonzero().flatten().tolist():
        alike = finite & (arena.group_of_slot == arena.group_of_slot[slot])
        if bool(alike.any()):
            arena.second[slot] = arena.second[alike].mean(dim=0)
        else:
            arena.second[slot] = 0.0
            arena.steps[slot] = 0


def heal_without_looking_(arena: Arena, finite: Tensor) -> None:
    """The same for all slots at once, for a device: nothing here depends on a value that the host would wait for."""
    slots = torch.arange(arena.groups, device=finite.device)[:, None]
    healthy = (arena.group_of_slot == slots) & finite  # [groups, slots]
    count = healthy.sum(dim=1)
    known = torch.where(finite[:, None], arena.second, torch.zeros((), dtype=arena.second.dtype, device=finite.device))
    mean = (healthy.to(arena.second.dtype) @ known) / count.clamp(min=1)[:, None]
    arena.second.copy_(torch.where(finite[:, None], arena.second, mean.index_select(0, arena.group_of_slot)))
    alone = count.index_select(0, arena.group_of_slot) == 0
    arena.steps.masked_fill_(alone[:, None], 0)
