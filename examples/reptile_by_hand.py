"""Reptile by hand, on slots and an arena alone: the whole idea in one loop (Nichol et al. 2018, algorithm 2).

    python examples/reptile_by_hand.py

Each task has a slot: a row of parameters. All slots take their inner steps together, then theta moves towards the mean
of what they found. A task is a sine of its own amplitude and phase, to be drawn from ten of its points.
"""

from __future__ import annotations

import torch

from autometa.meta.inner_loop import adapt_
from autometa.meta.optimisers import Adam, PerKind
from autometa.slots.arena import Arena
from autometa.slots.init import ZEROS
from autometa.slots.layout import LayoutBuilder

HIDDEN, SLOTS, POINTS = 40, 10, 10


def layout():
    """Where each parameter stands in a row: the body, then the head."""
    builder = LayoutBuilder()
    builder.block("body")
    for name, shape in (("w1", (1, HIDDEN)), ("b1", (HIDDEN,)), ("w2", (HIDDEN, HIDDEN)), ("b2", (HIDDEN,))):
        builder.add(name, shape, ZEROS)
    builder.block("head")
    builder.head()
    builder.add("head.w", (HIDDEN, 1), ZEROS)
    return builder.build()


LAYOUT = layout()


def loss(phi, x, y, step):
    """Squared error of each slot's network on its own points: phi [S, row], x and y [S, POINTS, 1] -> [S]."""
    w1, b1, w2, b2, out = (LAYOUT.view(phi, name) for name in ("w1", "b1", "w2", "b2", "head.w"))
    hidden = torch.tanh(torch.tanh(x @ w1 + b1[:, None]) @ w2 + b2[:, None])
    return (hidden @ out - y).square().mean(dim=(1, 2))


class Sines:
    """The same points of each slot's sine in every inner step."""

    def __init__(self, generator):
        amplitude, phase = torch.rand(2, SLOTS, 1, 1, generator=generator)
        self.x = torch.rand(SLOTS, POINTS, 1, generator=generator) * 10 - 5
        self.y = (0.1 + 4.9 * amplitude) * torch.sin(self.x + 6.28 * phase)

    def step(self, t):
        return self.x, self.y


def train(iterations: int, seed: int = 0) -> float:
    """The mean error after ten steps on ten new sines, once theta was trained for so many meta-iterations."""
    generator = torch.Generator().manual_seed(seed)
    start = {e.name: torch.randn(e.shape, generator=generator) / max(e.shape[0], 1) ** 0.5 for e in LAYOUT.entries}
    arena, optimiser = Arena.single(LAYOUT, LAYOUT.pack(start), SLOTS), Adam(PerKind(0.02), state="reset")
    for i in range(iterations):
        arena.reload_()  # every slot starts at theta
        optimiser.begin_(arena)
        adapt_(arena, loss, Sines(generator), optimiser, 10)
        arena.theta += (1 - i / iterations) * (arena.phi.mean(dim=0) - arena.theta)  # theta moves towards their mean
    arena.reload_()
    optimiser.begin_(arena)
    new = Sines(torch.Generator().manual_seed(99))
    adapt_(arena, loss, new, optimiser, 10)
    return float(loss(arena.phi, new.x, new.y, 0).mean())


if __name__ == "__main__":
    print(f"mean squared error on new sines: {train(0):.2f} untrained, {train(500):.2f} after 500 meta-iterations")
