"""The protocol of a relaxation: how the choice among ops becomes weights that a gradient can move, and which gradient.

A relaxation is a frozen dataclass, its fields its settings, registered by name in `RELAXATIONS`. The base is MetaNAS's
(Elsken et al. 2020, section 3): a softmax at a temperature that falls within every task, and architecture parameters
that learn from the same batches as the weights.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from autometa.errors import InputError
from autometa.nas.relax.soft_pruning import temperature
from autometa.registry import Named, Registry

GONE = -1e4
"""The logit of a choice that was taken away: its weight is exactly 0 at any temperature in use."""
TINY = 1e-30
WARMUP, SEARCH, TEST = "warmup", "search", "test"


class Loss(Protocol):
    """Losses of all slots: phi `[S, row]`, images `[S, N, C, H, W]`, labels `[S, N]`, inner step -> `[S]`."""

    def __call__(self, phi: Tensor, images: Tensor, labels: Tensor, step: int, /) -> Tensor: ...


class Phase(NamedTuple):
    """A part of a search: `name` is `warmup`, `search` (after it) or `test`; of its tasks the number of inner steps on
    the architecture and the temperatures at the first and the last of them."""

    name: str
    steps: int
    t_max: float
    t_min: float


class Task(NamedTuple):
    """What the architecture of some slots may learn from.

    steps: inner steps, 0 where the loss is that of the queries and moves all there is to learn; columns: of a row,
    those before the architecture's; held_out: query images and labels, None at meta-testing, where nobody knows them;
    lr: of the weights in the inner loop; weights: kind of cell -> per node op weights `[S, inputs, primitives]` and
    pair weights `[S, pairs]` (or None) of phi.
    """

    steps: int
    columns: int
    held_out: Callable[[], tuple[Tensor, Tensor]] | None
    lr: float
    weights: Callable[[Tensor], Mapping[str, Sequence[tuple[Tensor, Tensor | None]]]]
    primitives: tuple[str, ...]


SPARSE = ("ops-and-inputs", "ops", "none")


@dataclass(frozen=True)
class Relaxation(Named, ABC):
    """A continuous relaxation of the choice among ops, and the source of its gradient.

    Args:
        entropy: of the objective, times the mean entropy of op weights: above 0 ops are told apart sooner (the entropy
            penalty of ASAP and SNAS's one-hot limit).
        skip: of the objective, times the mean weight of `skip_connect`, to which DARTS is known to collapse (Zela et
            al. 2020).
        shrink: when ops are taken away for good, as shares of the meta-iterations; what is left trains on. The search
            space shrinks by an equal factor each time (P-DARTS, Chen et al. 2019, section 3.2).
        ops: ops of an input that are left in the end.
        pairs: pairs of inputs of a node that are left in the end.
        parameters: the share of the search network's weights that is left in the end: where ops and pairs leave more,
            the weakest ops go until it is kept.
        sparse: whose weights the falling temperature makes sparse: `ops-and-inputs` (the paper), `ops`, or `none`; that
            of the others stays at 1 (Elsken et al. 2020, table 3).
    """

    entropy: float = 0.0
    skip: float = 0.0
    shrink: tuple[float, ...] = ()
    ops: int = 1
    pairs: int = 1
    parameters: float = 1.0
    sparse: str = SPARSE[0]

    needs_queries: ClassVar[bool] = False
    """Whether the architecture learns from query images while meta-training."""

    def check(self) -> None:
        """Raise `InputError` where settings do not fit together."""
        rising = all(a < b for a, b in zip((0.0, *self.shrink), (*self.shrink, 1.0), strict=True))
        if not rising:
            raise InputError(f"relaxation.shrink must be rising shares between 0 and 1, not {list(self.shrink)}")
        for name in ("ops", "pairs"):
            if getattr(self, name) < 1:
                raise InputError(f"relaxation.{name} must be at least 1, not {getattr(self, name)}")
        if not 0.0 < self.parameters <= 1.0:
            raise InputError(f"relaxation.parameters must be above 0 and at most 1, not {self.parameters:g}")
        if self.parameters < 1.0 and not self.shrink:
            raise InputError("relaxation.parameters needs relaxation.shrink, which says when weights are taken away")
        if self.sparse not in SPARSE:
            raise InputError(f"relaxation.sparse must be {' or '.join(SPARSE)}, not {self.sparse}")

    def of_ops(self, t: float) -> float:
        """The temperature of op weights where that of the network is t."""
        return 1.0 if self.sparse == "none" else t

    def of_inputs(self, t: float) -> float:
        """The temperature of the weights of pairs of inputs, likewise."""
        return t if self.sparse == SPARSE[0] else 1.0

    def weights(self, logits: Tensor) -> Tensor:
        """Weights of choices `[..., n]` from logits over the last axis, divided by the temperature: not negative, of
        sum 1, and exactly 0 for a logit of `GONE`."""
        return torch.softmax(logits, dim=-1)

    def temperature(self, step: int, phase: Phase) -> float:
        """At an inner step: linear from t_max to t_min, and t_max all through warm-up."""
        return phase.t_max if phase.name == WARMUP else temperature(step, phase.steps, phase.t_max, phase.t_min)

    def objective(self, loss: Loss, task: Task, phase: Phase) -> Loss:
        """The inner loop's objective, whose gradient moves weights and architecture; its value is the training loss."""
        gradient = loss if phase.name == WARMUP or task.steps == 0 else self.guided(loss, task)
        if not (self.entropy or self.skip) or phase.name == WARMUP:
            return gradient

        def penalised(phi: Tensor, images: Tensor, labels: Tensor, step: int) -> Tensor:
            return with_gradient_of(gradient(phi, images, labels, step), self.penalty(phi, task))

        return penalised

    def guided(self, loss: Loss, task: Task) -> Loss:
        """`objective` after warm-up, before penalties: who gives the architecture its gradient. Here the same batch."""
        return loss

    def penalty(self, phi: Tensor, task: Task) -> Tensor:
        """What `entropy` and `skip` add to the objective, `[S]`."""
        ops = torch.cat([op for nodes in task.weights(phi).values() for op, _ in nodes], dim=1)
        surprise = -ops.clamp(min=TINY).log()  # not entr, whose slope at a weight of 0 is no number
        found = self.entropy * (ops * surprise).sum(dim=-1).mean(dim=-1)
        if self.skip and "skip_connect" in task.primitives:
            found = found + self.skip * ops[..., task.primitives.index("skip_connect")].mean(dim=-1)
        return found

    def left(self, share: float, many: int, least: int) -> int:
        """How many of `many` choices are left when `share` of the meta-iterations is over."""
        done = sum(at <= share for at in self.shrink)
        if not done or many <= least:
            return many
        return least if done == len(self.shrink) else round(many * (least / many) ** (done / len(self.shrink)))


def with_gradient_of(loss: Tensor, other: Tensor) -> Tensor:
    """The value of `loss`, with the gradient of both."""
    return loss + (other - other.detach())


def shrunk_(logits: Tensor, left: int) -> None:
    """All but the `left` largest of logits `[..., n]` become `GONE`, in place."""
    if left < logits.shape[-1]:
        order = logits.argsort(dim=-1, descending=True, stable=True)
        logits.scatter_(-1, order[..., left:], GONE)


def split(phi: Tensor, task: Task) -> tuple[Tensor, Tensor]:
    """Weights and architecture of rows `[S, row]`."""
    return phi[:, : task.columns], phi[:, task.columns :]


def joined(weights: Tensor, architecture: Tensor) -> Tensor:
    """Rows of their parts."""
    return torch.cat([weights, architecture], dim=1)


RELAXATIONS: Registry[type[Relaxation]] = Registry(
    "relaxation",
    "autometa.relaxations",
    {
        "same-batch": "autometa.nas.relax.same_batch:SameBatch",
        "held-out": "autometa.nas.relax.held_out:HeldOut",
        "unrolled": "autometa.nas.relax.unrolled:Unrolled",
        "query": "autometa.nas.relax.query:Query",
        "training-speed": "autometa.nas.relax.training_speed:TrainingSpeed",
    },
)
Relaxation.registry = RELAXATIONS
