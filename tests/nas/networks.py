"""Small networks and data for the tests of this room."""

from __future__ import annotations

import torch

from autometa.nas.networks.conv_network import four_layer
from autometa.nas.networks.discrete import DiscreteNetwork
from autometa.nas.one_shot.network import OneShotNetwork
from autometa.nas.spaces.genotype import CellGenotype, Genotype

IMAGE = (1, 10, 9)
WAYS = 4
GENOTYPE = Genotype(
    CellGenotype((((("sep_conv_3x3"), 0), ("skip_connect", 1)), (("max_pool_3x3", 2), ("conv_1x5_5x1", 0))), (2, 3)),
    CellGenotype(((("skip_connect", 0), ("conv_3x3", 1)), (("dil_conv_3x3", 1), ("skip_connect", 2))), (2, 3)),
)


def one_shot(**changes) -> OneShotNetwork:
    settings = dict(channels=2, ways=WAYS, image_shape=IMAGE, cells=3, reductions=(1,), nodes=2, alpha_std=0.5)
    return OneShotNetwork(**settings | changes)


def discrete(**changes) -> DiscreteNetwork:
    return DiscreteNetwork(**dict(genotype=GENOTYPE, channels=2, ways=WAYS, image_shape=IMAGE, cells=3) | changes)


def networks() -> dict:
    """Everything with `layout`, `initial` and `logits`, by name."""
    return {
        "one-shot": one_shot(),
        "one-shot, plain": one_shot(pairwise=False),
        "discrete": discrete(),
        "reptile": four_layer("reptile-omniglot", WAYS, (1, 12, 12), 3),
        "maml": four_layer("maml-omniglot", WAYS, (1, 12, 12), 3),
        "pooled": four_layer("reptile-miniimagenet", WAYS, (3, 17, 17), 3),
    }


def rows(network, slots: int, dtype=torch.float64, seed: int = 0) -> torch.Tensor:
    """A differently initialised row per slot."""
    return torch.stack([network.initial(seed + s) for s in range(slots)]).to(dtype)


def images_for(network, slots: int, batch: int, dtype=torch.float64, seed: int = 0):
    """Random images `[S, N, C, H, W]` and labels `[S, N]`."""
    shape = network.network.image_shape if hasattr(network, "network") else network.image_shape
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(slots, batch, *shape, generator=generator, dtype=torch.float64)
    return x.to(dtype), torch.randint(WAYS, (slots, batch), generator=generator)
