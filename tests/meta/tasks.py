"""Learning problems small enough to check by hand, and small networks to learn them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from autometa.nas.networks.conv_network import four_layer
from autometa.ops import cross_entropy
from autometa.slots.arena import Arena
from autometa.slots.init import ONES
from autometa.slots.layout import Layout, LayoutBuilder
from tests.nas.networks import one_shot

WAYS = 4


def plain_layout(weights: int = 5, architecture: int = 3) -> Layout:
    """One entry of each kind."""
    builder = LayoutBuilder()
    builder.block("a")
    builder.add("w", (weights,), ONES)
    builder.architecture()
    builder.block("b")
    builder.add("alpha", (architecture,), ONES)
    return builder.build()


def per_kind(weights: float, architecture: float) -> Tensor:
    """One number for each column of `plain_layout()`."""
    return torch.tensor([weights, architecture], dtype=torch.float64).repeat_interleave(16)


@dataclass(frozen=True)
class Targets:
    """Batches for `quadratic`: the images of step t are the targets of the rows, moved a little from step to step."""

    target: Tensor

    def step(self, t: int) -> tuple[Tensor, Tensor]:
        return self.target + 0.1 * t, torch.zeros(len(self.target), 1, dtype=torch.int64)


def quadratic(phi: Tensor, images: Tensor, labels: Tensor, step: int) -> Tensor:
    """Half the squared distance of each row from its target; the gradient is phi - target."""
    return 0.5 * ((phi - images) ** 2).sum(dim=1)


def targets(layout: Layout, slots: int, seed: int = 0, dtype=torch.float64) -> Targets:
    """Random targets, 0 in the gaps of the layout."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(slots, layout.row, generator=generator, dtype=torch.float64)
    mask = torch.zeros(layout.row, dtype=torch.float64)
    for e in layout.entries:
        mask[e.offset : e.offset + e.size] = 1.0
    return Targets((drawn * mask).to(dtype))


@dataclass(frozen=True)
class Images:
    """Random batches for a network: a function of step, task and seed alone."""

    ids: tuple[int, ...]
    shape: tuple[int, int, int]
    batch: int = 5
    dtype: torch.dtype = torch.float64

    def step(self, t: int) -> tuple[Tensor, Tensor]:
        images, labels = [], []
        for task in self.ids:
            generator = torch.Generator().manual_seed(1000 * task + t)
            labels.append(torch.randint(WAYS, (self.batch,), generator=generator))
            images.append(torch.randn(self.batch, *self.shape, generator=generator, dtype=torch.float64))
        return torch.stack(images).to(self.dtype), torch.stack(labels)


def network_objective(network, **options):
    return lambda phi, x, y, t: cross_entropy(network.logits(phi, x, **options), y)


def small_networks() -> dict:
    """A network with architecture parameters and one without, and the shape of their images."""
    return {
        "one-shot": (one_shot(cells=2), (1, 10, 9)),
        "conv": (four_layer("reptile-omniglot", WAYS, (1, 12, 12), 3), (1, 12, 12)),
    }


def arena_of(network, slots: int, dtype=torch.float64) -> Arena:
    return Arena.single(network.layout, network.initial(3).to(dtype), slots)


def gaps(layout: Layout) -> Tensor:
    """bool `[row]`: columns that belong to no entry."""
    free = torch.ones(layout.row, dtype=torch.bool)
    for e in layout.entries:
        free[e.offset : e.offset + e.size] = False
    return free
