"""A relaxation of your own in one file: sparsemax in place of softmax, and a gradient against convolutions.

    autometa search metanas --preset quick --plugin examples/new_relaxation.py --relaxation sparse --relaxation.cost 0.5

or, here, a short search from Python, with and without the cost:

    python examples/new_relaxation.py

What a relaxation decides is how logits become weights, at which temperature, and which gradient moves them. The inner
loop, meta-learning, pruning, checkpoints and evaluation stay as they are.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass

import torch

import autometa
from autometa.nas.relax.relaxation import RELAXATIONS, Relaxation, with_gradient_of


@dataclass(frozen=True)
class Sparse(Relaxation):
    """Sparsemax (Martins and Astudillo 2016, algorithm 1): ops that are far behind have weight 0 and are not evaluated.

    Args:
        cost: what convolutions add to the objective, times their mean weight.
    """

    cost: float = 0.0

    def weights(self, logits):
        ranked = logits.sort(dim=-1, descending=True).values
        count = torch.arange(1, logits.shape[-1] + 1, dtype=logits.dtype, device=logits.device)
        total = ranked.cumsum(dim=-1) - 1.0
        many = (count * ranked > total).sum(dim=-1, keepdim=True)
        return (logits - total.gather(-1, many - 1) / many).clamp(min=0.0)

    def guided(self, loss, task):
        dear = ["conv" in name for name in task.primitives]

        def objective(phi, images, labels, step):
            ops = torch.cat([weights for nodes in task.weights(phi).values() for weights, _ in nodes], dim=1)
            return with_gradient_of(loss(phi, images, labels, step), self.cost * ops[..., dear].mean(dim=(1, 2)))

        return objective


RELAXATIONS.register("sparse", Sparse)

SETTINGS = {
    "relaxation": "sparse",
    "channels": 4,
    "arch_lr": 0.2,
    "meta.iterations": 60,
    "warmup": 20,
    "test.tasks": 20,
    "test.steps": 10,
    "compare": "[]",
}


def weights_left(cost: float) -> float:
    """Median number of weights that pruning leaves."""
    with tempfile.TemporaryDirectory() as folder:
        how = {"settings": {**SETTINGS, "relaxation.cost": cost}, "out": f"{folder}/run", "quiet": True}
        return autometa.search("metanas", preset="quick", **how)["parameters"]


def main() -> None:
    """Search twice, and compare what is left."""
    free, dear = weights_left(0.0), weights_left(10.0)
    print(f"weights left after pruning: {free:.0f}, {dear:.0f} where convolutions cost: {free / dear:.1f} times fewer")


if __name__ == "__main__":
    main()
