"""A meta-learner of your own in one file: first-order MAML (Finn et al. 2017, section 5.2) on Reptile's loop.

    autometa train reptile-omniglot --plugin examples/new_meta_learner.py --learner fomaml --data strokes

or, here, a short training from Python, beside the network before it was trained:

    python examples/new_meta_learner.py

Reptile moves theta towards the mean of the adapted weights. First-order MAML moves it against the gradient of the query
loss at the adapted weights: the same step towards `theta - gradient`. Sampling, chunks of slots, checkpoints, several
processes and evaluation stay as they are.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace

import autometa
from autometa.algorithms.train import register, reptile_trainer
from autometa.meta.inner_loop import slot_gradients
from autometa.ops import cross_entropy

QUERIES = 5


def fomaml(network, source, config):
    """A `Trainer`; `meta.step_size` is the learning rate of the outer loop."""
    episodes = source.training(config.inner, config.test.part, config.seed, queries=QUERIES)

    def target(arena, ids, logits) -> None:
        images, labels = episodes.queries(episodes.tasks(ids))

        def loss(phi, images, labels, step):
            return cross_entropy(logits(phi, images, step), labels)

        _, gradient = slot_gradients(loss, arena.phi, images, labels, config.inner.steps)
        arena.phi.copy_(arena.theta.index_select(0, arena.group_of_slot) - gradient)

    return replace(reptile_trainer(network, source, config), episodes=episodes, target=target)


register("fomaml", fomaml)

SETTINGS = {
    "learner": "fomaml",
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
