"""The protocol of a meta-learner: how an initialisation is learned from the tasks of the inner loops.

A meta-learner is a frozen dataclass, its fields its settings, registered by name in `LEARNERS`. What it learns beside
theta, and what its outer optimiser keeps, is a mapping of tensors by name that is passed in, saved and resumed.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from autometa.meta.bn_modes import Classifier
from autometa.meta.inner_loop import Batches, Objective, adapt_
from autometa.meta.optimisers import NONE, SGD, Adam, PerKind
from autometa.ops.reptile import reptile_
from autometa.registry import Named, Registry
from autometa.slots.arena import Arena

State = Mapping[str, Tensor]
"""What a meta-learner keeps beside theta, by name. Rows `[row]` belong to columns of the arena."""


class TaskChunk(NamedTuple):
    """Some slots' tasks: objective, support batches, and query images and labels where the learner needs them.

    features(phi `[S, row]`, images `[S, N, C, H, W]`, inner step) gives what the last layer reads, `[S, N, F]`."""

    objective: Objective
    batches: Batches
    queries: Callable[[], tuple[Tensor, Tensor]] | None = None
    features: Callable[[Tensor, Tensor, int], Tensor] | None = None

    @classmethod
    def of(cls, network: Classifier, objective: Objective, batches: Batches) -> TaskChunk:
        """The tasks of a network that is the same in every inner step."""
        return cls(objective, batches, None, lambda phi, images, step: network.logits(phi, images, features=True))


class InnerLoop(NamedTuple):
    """How slots adapt: by so many steps of the optimiser from number `first_step` on, with what the meta-learner keeps;
    kinds of columns that are `frozen` stay as they are."""

    optimiser: Adam | SGD
    steps: int
    state: State
    first_step: int = 0
    frozen: Collection[str] = NONE


@dataclass(frozen=True)
class Adapted:
    """The end of some slots' inner loops.

    losses: `[steps, S]` before each inner step. moves: by how much each slot would move what is learned beside theta,
    `[S, ...]` by the names of the state.
    """

    losses: Tensor
    moves: Mapping[str, Tensor] = field(default_factory=dict)


class MetaLearner(Named, ABC):
    """A meta-learner. The base is Reptile's: adapt on support batches, move theta towards what was found."""

    needs_queries: ClassVar[bool] = False
    """Whether meta-training draws query images beside the support set."""
    order: ClassVar[int] = 0
    """The highest derivative that the meta-update takes."""
    adapts_with: ClassVar[tuple[str, ...]] = ()
    """Names of the state that adaptation needs: models that are handed out keep these."""
    still: ClassVar[tuple[str, ...]] = NONE
    """Kinds of columns that the inner loop never changes."""
    inner_loop: ClassVar[bool] = True
    """Whether anything is adapted by gradient steps. Without, `ready` alone looks at the support set."""
    any_ways: ClassVar[bool] = False
    """Whether what was learned serves any number of classes as it serves those of training."""
    in_pairs: ClassVar[bool] = False
    """Whether the objective is asked for twice as many slots, the second half of which decide as the first
    (`ops.gates`): rows at which decisions are taken anew would be of no use to it."""
    by_prototypes: ClassVar[bool] = False
    """Whether features were trained for means of classes to tell them apart before any step."""
    linear: ClassVar[bool] = True
    """Whether the network's own last layer answers, so that rows are no wider than its layout."""

    def optimiser(self, lr: PerKind, weight_decay: PerKind, beta2: float, state: str) -> Adam | SGD:
        """Of the inner loop, from the settings of a run."""
        return Adam(lr, weight_decay, beta2=beta2, state=state)

    def state(self, arena: Arena, steps: int) -> dict[str, Tensor]:
        """What is kept beside theta, `[groups, ...]` by name, before the first meta-iteration; steps: of a task."""
        return {}

    @property
    def distance_scale(self) -> float:
        """What squared distances to means of classes are multiplied by."""
        return 1.0

    @property
    def stages(self) -> tuple[float, ...]:
        """Shares of the meta-iterations from which on `at` gives another learner."""
        return ()

    def at(self, share: float, state: State) -> MetaLearner:
        """The learner when `share` of the meta-iterations is over; what else depends on it is written into `state`."""
        return self

    def begin(self, phi: Tensor, head: Tensor, task: TaskChunk) -> Tensor:
        """The rows that the inner loop begins at, a differentiable function of those that were learned, `[S, row]`.

        head: columns of the last layers, int64 `[S, ways, F + 1]`.
        """
        return phi

    def ready(self, phi: Tensor, head: Tensor, task: TaskChunk, step: int = 0) -> Tensor:
        """The rows that answer queries, a differentiable function of those after the inner loop; wider where `linear`
        is false. step: the inner step of the network that makes features."""
        return phi

    def classifier(self, network: Any, row: int) -> Any:
        """What answers by the rows that `ready` gave, with the methods that `network` has; row: columns of its own."""
        return network

    def adapt_(self, arena: Arena, task: TaskChunk, inner: InnerLoop) -> Tensor:
        """The inner loop on `arena.phi`, in place, in training and evaluation alike; losses `[steps, S]`, of no steps
        where the learner takes none."""
        if inner.first_step == 0:
            with torch.no_grad():
                start = self.begin(arena.phi, arena.head_of_slot, task)
            if start is not arena.phi:
                arena.phi.copy_(start)
        steps = inner.steps if self.inner_loop else 0
        return self.steps_(arena, task, inner._replace(steps=steps, frozen=(*inner.frozen, *self.still)))

    def steps_(self, arena: Arena, task: TaskChunk, inner: InnerLoop) -> Tensor:
        """The inner steps of `adapt_`."""
        how: dict[str, Any] = {"first_step": inner.first_step, "frozen": inner.frozen}
        return adapt_(arena, task.objective, task.batches, inner.optimiser, inner.steps, **how)

    def train_(self, arena: Arena, task: TaskChunk, inner: InnerLoop) -> Adapted:
        """The inner loop of slots that stand at theta; leaves in `arena.phi` what theta shall move towards."""
        return Adapted(self.adapt_(arena, task, inner))

    def update_(
        self, arena: Arena, moves: Mapping[str, Tensor], finite: Tensor, sizes: Tensor, state: dict[str, Tensor]
    ) -> None:
        """The meta-update: theta and state, in place, from the slots that stayed finite.

        moves: of all slots, as `train_` gave them; finite: bool `[S]`; sizes: step sizes float64 `[groups, kinds]`.
        Here theta moves towards the mean of the slots' `phi`, in one fused pass.
        """
        reptile_(arena.theta, arena.phi, sizes, finite, arena.rows)

    def update_from_mean_(
        self, arena: Arena, mean: Tensor, moves: Mapping[str, Tensor], found: Tensor, sizes: Tensor, state: dict
    ) -> None:
        """`update_` from means over the slots of all processes: mean `[1, row]` of `phi`, moves `[...]` by name; found:
        bool `[1]`, whether any slot stayed finite. For arenas of one group."""
        reptile_(arena.theta, mean, sizes, found, arena.part(0, 1).rows)


LEARNERS: Registry[type[MetaLearner]] = Registry(
    "meta-learner",
    "autometa.learners",
    {
        "reptile": "autometa.meta.reptile:Reptile",
        "fomaml": "autometa.meta.maml:FOMAML",
        "maml": "autometa.meta.maml:MAML",
        "anil": "autometa.meta.maml:ANIL",
        "protonet": "autometa.meta.protonet:ProtoNet",
        "protonet-tuned": "autometa.meta.protonet_tuned:TunedProtoNet",
        "matching": "autometa.meta.matching:Matching",
        "proto-maml": "autometa.meta.proto_maml:ProtoMAML",
        "unicorn": "autometa.meta.unicorn:Unicorn",
        "maml-plus-plus": "autometa.meta.maml_plus_plus:MAMLPlusPlus",
        "meta-sgd": "autometa.meta.meta_sgd:MetaSGD",
        "leap": "autometa.meta.leap:Leap",
    },
)
MetaLearner.registry = LEARNERS
