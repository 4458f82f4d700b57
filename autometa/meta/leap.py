"""Leap (Flennerhag et al. 2019, arXiv 1812.01054): the path that the inner loop takes shall become short."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from autometa.errors import InputError
from autometa.meta.inner_loop import slot_gradients
from autometa.meta.learner import Adapted, InnerLoop, TaskChunk
from autometa.meta.optimisers import PerKind
from autometa.meta.outer_gradient import OUTER, OuterGradient
from autometa.slots.arena import Arena

METRICS = ("length", "energy")
TINY = 1e-12


@dataclass(frozen=True)
class Leap(OuterGradient):
    """Leap: theta descends the length of the inner loop's path over the loss surface, point i of which is the weights
    and their loss, and which the weights of the step after it pull towards themselves (algorithm 1).

    The Jacobian of an inner step is taken for the identity, as in the paper. The loss at a point is that of the batch
    of the step from it; at the end, of the last batch once more.

    Args:
        outer: as its base says; the paper descends (`sgd`).
        metric: `length` of the path, or its `energy`, the sum of squares (section 2.2).
        loss: whether losses are a coordinate of the path beside the weights.
    """

    outer: str = OUTER[1]
    metric: str = METRICS[0]
    loss: bool = True

    order: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.metric not in METRICS:
            raise InputError(f"learner.metric must be {' or '.join(METRICS)}, not {self.metric}")

    def train_(self, arena: Arena, task: TaskChunk, inner: InnerLoop) -> Adapted:
        """Leaves theta minus the gradient of the pull-forward objective in `arena.phi`."""
        steps, losses = inner.steps, list[Tensor]()
        start = arena.phi.clone()
        gradient, moving = torch.zeros_like(start), PerKind(1.0, 1.0).columns(arena, inner.frozen)
        row, slope, batch = start, torch.zeros_like(start), task.batches.step(0) if steps else None
        for t in range(steps + 1):
            if t < steps:
                batch = task.batches.step(t)
                loss, grad = slot_gradients(task.objective, arena.phi, *batch, t)
            elif batch is not None:
                with torch.no_grad():
                    loss, grad = task.objective(arena.phi, *batch, steps - 1), slope
            if t > 0:
                gradient += self.pull(arena.phi - row, loss - losses[-1], slope)
            if t < steps:
                losses.append(loss)
                row, slope = arena.phi.clone(), moving * grad
                inner.optimiser.step_(arena, grad, inner.frozen)
        arena.phi.copy_(torch.where(torch.isfinite(arena.phi), start - moving * gradient, arena.phi))
        return Adapted(torch.stack(losses) if losses else start.new_zeros(0, arena.slots))

    def pull(self, way: Tensor, rise: Tensor, slope: Tensor) -> Tensor:
        """The gradient of a piece of the path for its first point, `[S, row]`.

        way: of the weights `[S, row]`; rise: of the loss `[S]`; slope: the loss's gradient at the first point. A loss
        that rises counts as one that falls, so that theta is never pulled uphill (section 2.3).
        """
        drop = -rise.abs() if self.loss else torch.zeros_like(rise)
        towards = way + drop[:, None] * slope
        if self.metric == "energy":
            return -2 * towards
        return -towards / (way.square().sum(dim=1) + drop.square()).clamp(min=TINY).sqrt()[:, None]
