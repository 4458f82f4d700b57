"""Reptile (Nichol et al. 2018): move the meta-parameters towards what the tasks' inner loops found."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from autometa.meta.inner_loop import SGD, Adam, Batches, Objective, PerKind, adapt_
from autometa.ops.finite_slots import finite_slots
from autometa.ops.reptile import reptile_
from autometa.slots.arena import Arena

SHAPES = ("constant", "linear", "cosine")


@dataclass(frozen=True)
class Schedule:
    """A meta step size over the run: `constant`, `linear` or `cosine` from start to end.

    Reptile's falls linearly to 0 (appendix A), MetaNAS's search keeps it and its scaled-up training follows a cosine.
    """

    start: float
    end: float = 0.0
    shape: str = "linear"

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ValueError(f"schedule shape must be {' or '.join(SHAPES)}, not {self.shape!r}")

    def at(self, iteration: float, total: int) -> float:
        """The value at meta-iteration `iteration` of `total`, counted from 0, or at a share of 1."""
        if self.shape == "constant":
            return self.start
        done = iteration / max(total, 1)
        if self.shape == "linear":
            return self.start + (self.end - self.start) * done
        return self.end + (self.start - self.end) * 0.5 * (1.0 + math.cos(math.pi * done))


TaskSource = Callable[[int, int], tuple[Objective, Batches]]
Target = Callable[[Arena, int, int], None]
"""Called with slots start .. stop - 1 as an arena, after their inner loops; what it leaves in `phi` is what theta moves
towards."""


@dataclass(frozen=True)
class Iteration:
    """What one meta-iteration did: losses `[inner_steps, S]` and which slots stayed finite, bool `[S]`."""

    losses: Tensor
    finite: Tensor


def meta_iteration_(
    arena: Arena,
    tasks: TaskSource,
    optimiser: Adam | SGD,
    inner_steps: int,
    step_size: tuple[float, float] | Tensor,
    *,
    frozen: tuple[bool, bool] = (False, False),
    max_slots: int | None = None,
    target: Target | None = None,
) -> Iteration:
    """One Reptile iteration, in place on `arena`.

    Slots start at theta, adapt in chunks of `max_slots` (the result does not depend on it), and
    `theta += step_size * mean over finite slots (phi - theta)` for weights and architecture with a step size each; a
    frozen kind keeps its bits. step_size: of both kinds, or float64 `[groups, kinds]` where it lies on the device.
    `tasks(start, stop)` gives objective and batches of those slots. Adam's second moment of a slot that is not finite
    is mended from its group. target: what makes of it another meta-learner. (Nichol et al. 2018, algorithm 2: Reptile,
    batched version.)
    """
    done = adapt_slots_(arena, tasks, optimiser, inner_steps, frozen=frozen, max_slots=max_slots, target=target)
    sizes = step_size if isinstance(step_size, Tensor) else PerKind(*step_size).table(arena, frozen)
    reptile_(arena.theta, arena.phi, sizes, done.finite, arena.bounds, arena.group_of_slot, arena.layout_of_slot)
    return done


def adapt_slots_(
    arena: Arena,
    tasks: TaskSource,
    optimiser: Adam | SGD,
    inner_steps: int,
    *,
    frozen: tuple[bool, bool] = (False, False),
    max_slots: int | None = None,
    target: Target | None = None,
) -> Iteration:
    """`meta_iteration_` without its last step: slots adapt from theta, which stays; lost slots' moments are mended."""
    arena.reload_()
    optimiser.begin_(arena)
    chunk = max_slots or arena.slots
    losses = []
    for start in range(0, arena.slots, chunk):
        stop = min(start + chunk, arena.slots)
        objective, batches = tasks(start, stop)
        part = arena.part(start, stop)
        losses.append(adapt_(part, objective, batches, optimiser, inner_steps, frozen=frozen))
        if target is not None:
            target(part, start, stop)
    loss = torch.cat(losses, dim=1)
    finite = finite_slots(arena.phi) & torch.isfinite(loss).all(dim=0)
    _heal_moments_(arena, finite)
    return Iteration(loss, finite)


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
