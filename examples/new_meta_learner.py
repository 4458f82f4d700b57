"""A meta-learner of your own in one file: Reptile whose outer loop has momentum, with gradient descent inside.

    autometa train reptile-omniglot --plugin examples/new_meta_learner.py --learner momentum --learner.momentum 0.5 \
        --data strokes

or, here, a short training from Python, beside the network before it was trained:

    python examples/new_meta_learner.py

It keeps a velocity beside theta, by name, which is saved, resumed and shared among processes as theta is, and chooses
the optimiser of the inner loop. Sampling, chunks of slots, checkpoints and evaluation stay as they are.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass

import torch

import autometa
from autometa.meta.learner import LEARNERS, MetaLearner
from autometa.meta.optimisers import SGD, PerKind


@dataclass(frozen=True)
class Momentum(MetaLearner):
    """Reptile with momentum: theta follows a running sum of the steps towards what the tasks found.

    Args:
        momentum: what is kept of the sum from one meta-iteration to the next.
    """

    momentum: float = 0.5

    def optimiser(self, lr, weight_decay, beta2, state):
        return SGD(PerKind(20 * lr.weights, lr.architecture), weight_decay)

    def state(self, arena, steps):
        return {"velocity": torch.zeros_like(arena.theta)}

    def update_(self, arena, moves, finite, sizes, state):
        before = arena.theta.clone()
        super().update_(arena, moves, finite, sizes, state)
        state["velocity"].mul_(self.momentum).add_(arena.theta - before)
        arena.theta.copy_(before + state["velocity"])


LEARNERS.register("momentum", Momentum)

SETTINGS = {
    "learner": "momentum",
    "filters": 16,
    "data.name": "strokes",
    "data.image_size": 14,
    "data.variant": "ink",
    "inner.lr": 5e-3,
    "inner.shots": 5,
    "meta.step_size": 0.5,
    "test.tasks": 100,
    "test.queries": 5,
    "test.steps": 10,
}


def accuracy(iterations: int) -> float:
    """Percent right on unseen classes after so many meta-iterations."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {**SETTINGS, "meta.iterations": iterations}
        return autometa.train("reptile-omniglot", settings=settings, out=f"{folder}/run", quiet=True)["accuracy"]


def main() -> None:
    """Train, and compare with no training at all."""
    before, after = accuracy(0), accuracy(200)
    print(f"5-way 1-shot on unseen alphabets: untrained {before:.1f}%, after 200 meta-iterations {after:.1f}%")


if __name__ == "__main__":
    main()
