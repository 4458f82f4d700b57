"""The inner steps that are timed: networks of the papers' sizes, one random batch per slot."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from autometa.meta.inner_loop import Objective, slot_gradients
from autometa.meta.optimisers import Adam, PerKind
from autometa.nas.networks.conv_network import four_layer
from autometa.nas.networks.discrete import DiscreteNetwork
from autometa.nas.one_shot.network import OneShotNetwork
from autometa.ops import cross_entropy
from autometa.slots.arena import Arena
from tests.golden.genotypes import GENOTYPES

OPS = ("conv_block", "conv_stack", "preprocess", "mixed_op", "linear_head", "cross_entropy", "adam")


@dataclass(frozen=True)
class Case:
    """A network, images per slot and step, and the row of the tolerance table its gradients answer to."""

    title: str
    make: Callable[[], object]
    batch: int
    depth: str


CASES = {
    "one-shot-28": Case(
        # float32 itself, PyTorch's too, is up to 2.3e-3 off here: the row of the larger network
        "one-shot, 28x28x1, 20-way",
        lambda: OneShotNetwork(28, 20, (1, 28, 28)),
        20,
        "supernet_84 gradient",
    ),
    "one-shot-84": Case(
        "one-shot, 84x84x3, 5-way", lambda: OneShotNetwork(28, 5, (3, 84, 84)), 20, "supernet_84 gradient"
    ),
    "four-layer-28": Case(
        "four layers of 64, 28x28x1, 5-way",
        lambda: four_layer("reptile-omniglot", 5, (1, 28, 28)),
        10,
        "discrete gradient",
    ),
    "four-layer-84": Case(
        "four layers of 32, 84x84x3, 5-way",
        lambda: four_layer("reptile-miniimagenet", 5, (3, 84, 84)),
        10,
        "discrete gradient",
    ),
    "discrete-28": Case(
        "discrete cells, 28x28x1, 20-way",
        lambda: DiscreteNetwork(GENOTYPES["metanas_og_v2"], 28, 20, (1, 28, 28)),
        20,
        "discrete gradient",
    ),
}


@contextmanager
def forced(name: str | None) -> Iterator[None]:
    """Every op on this backend; the best that can run where None."""
    before = os.environ.pop("AUTOMETA_BACKEND", None)
    if name:
        os.environ["AUTOMETA_BACKEND"] = name
    try:
        yield
    finally:
        os.environ.pop("AUTOMETA_BACKEND", None)
        if before is not None:
            os.environ["AUTOMETA_BACKEND"] = before


class InnerStep:
    """Forward, cross-entropy, backward and Adam of all slots of an arena; each call is one step.

    backend: of forward and backward.  Adam is the compiled one where there is one, for baselines too.
    """

    def __init__(self, case: Case, slots: int = 1, backend: str | None = None, device="cpu") -> None:
        made = torch.Generator().manual_seed(0)
        self.network, self.backend = case.make(), backend
        self.arena = Arena.single(self.network.layout, self.network.initial(0).to(device), slots)
        self.images = torch.rand(slots, case.batch, *self.network.image_shape, generator=made).to(device)
        self.labels = torch.randint(self.network.ways, (slots, case.batch), generator=made).to(device)
        self.optimiser = Adam(PerKind(1e-6, 1e-6))  # weights hardly move, so that every round computes the same
        self.objective: Objective = self._loss
        self.flops = 2 * 3 * case.batch * self.network.macs() * slots

    def _loss(self, phi: Tensor, images: Tensor, labels: Tensor, step: int) -> Tensor:
        return cross_entropy(self.network.logits(phi, images), labels)

    def compile(self) -> None:
        """Forward and backward through torch.compile from the next call on."""
        from torch._dynamo import config

        for name in ("recompile_limit", "cache_size_limit"):
            if hasattr(config, name):
                setattr(config, name, 10_000)  # every op instance is a variant of one function
        self.objective = torch.compile(self._loss, dynamic=False)

    def gradient(self) -> Tensor:
        """`[S, row]` at the present weights."""
        with forced(self.backend):
            return slot_gradients(self.objective, self.arena.phi, self.images, self.labels, 0)[1]

    def __call__(self) -> None:
        self.optimiser.step_(self.arena, self.gradient())
