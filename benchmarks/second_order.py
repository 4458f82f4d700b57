"""MAML's exact gradient by differences of the compiled first-order step: its error, and what it costs.

    python -m benchmarks.second_order [--rounds 5] [--tasks 5] [--train 150] [--threads 1]

Reptile's network on Omniglot, 5-way 1-shot, an inner rate of 0.4, five inner steps (Finn et al. 2017): from a fresh
initialisation and after a short first-order training. Errors are those of the part of the meta-gradient beyond first
order, relative to the exact one in float64, the largest of all tasks: with ReLUs that decide as at the base point, and
with ReLUs that decide anew. Seconds are the least of all rounds, methods in turn.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from autometa.meta import differences
from autometa.meta.maml import WholeSet, meta_gradient, meta_gradient_by_differences
from autometa.nas.networks.conv_network import four_layer
from autometa.ops import gates
from autometa.ops.cross_entropy import cross_entropy
from autometa.runs.environment import cpu_model
from autometa.train.config import DataConfig, InnerConfig
from autometa.train.tasks import Source

RATE, STEPS = 0.4, 5
SIZES = (1e-2, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
WAYS = 5


class Tasks:
    """Omniglot's, drawn by number."""

    def __init__(self, count: int) -> None:
        self.source, self.count = Source.open(DataConfig("omniglot:background", 28, "ink")), count
        wanting = type("Queries", (), {"needs_queries": True})()
        self.episodes = self.source.training(InnerConfig(ways=WAYS, shots=1, queries=5), "test", 0, wanting)

    def draw(self, number: int, dtype: torch.dtype) -> tuple[WholeSet, tuple[Tensor, Tensor]]:
        first = number * self.count
        tasks = self.episodes.tasks(torch.arange(first, first + self.count))
        (images, labels), (queries, answers) = self.episodes.support(tasks), self.episodes.queries(tasks)
        return WholeSet(images.to(dtype), labels), (queries.to(dtype), answers)


def anew(objective: Callable) -> Callable:
    """The objective, whose slots decide for themselves in pairs as well."""

    def run(phi: Tensor, images: Tensor, labels: Tensor, t: int) -> Tensor:
        with gates.paired(False):
            return objective(phi, images, labels, t)

    return run


def trained(theta: Tensor, objective: Callable, tasks: Tasks, iterations: int) -> Tensor:
    """After so many meta-iterations of first-order MAML with Adam."""
    theta = theta.clone().requires_grad_()
    outer = torch.optim.Adam([theta], lr=1e-3)
    for number in range(iterations):
        support, query = tasks.draw(1 + number, torch.float32)
        rows = theta.detach().expand(tasks.count, -1)
        found = meta_gradient(objective, rows, support, query, steps=STEPS, lr=RATE, second_order=False)
        theta.grad = found.gradient.mean(dim=0)
        outer.step()
    return theta.detach()


def errors(theta: Tensor, objective: Callable, tasks: Tasks) -> None:
    """Prints a line for each size of a difference."""
    how = {"steps": STEPS, "lr": RATE}
    rows = theta.expand(tasks.count, -1)
    high = meta_gradient(objective, rows.double(), *tasks.draw(0, torch.float64), **how).gradient
    plain = meta_gradient(objective, rows.double(), *tasks.draw(0, torch.float64), second_order=False, **how).gradient
    beyond, low = high - plain, tasks.draw(0, torch.float32)
    own = meta_gradient(objective, rows, *low, second_order=False, **how).gradient
    share = float(beyond.norm() / plain.norm())
    print(f"  beyond first order: {share:.1f} times as long as the first-order gradient")
    for size in SIZES:
        told = []
        for one in (objective, anew(objective)):
            differences.STEP = size
            found = meta_gradient_by_differences(one, rows, *low, **how).gradient
            told.append(float((((found - own).double() - beyond).norm(dim=1) / beyond.norm(dim=1)).max()))
        print(f"  h |u| = {size:.0e} |r|: {told[0]:9.2%} of it decided as at r, {told[1]:9.2%} decided anew")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rounds", 5), ("tasks", 5), ("train", 150), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    warnings.simplefilter("ignore")
    tasks = Tasks(chosen.tasks)
    network = four_layer("reptile-omniglot", WAYS, tasks.source.image_shape, 64)

    def objective(phi: Tensor, images: Tensor, labels: Tensor, t: int) -> Tensor:
        return cross_entropy(network.logits(phi, images), labels)

    print(f"{cpu_model()}, {chosen.threads} threads, torch {torch.__version__}")
    start, kept = network.initial(0), differences.STEP
    for name, theta in (("fresh", start), ("trained", trained(start, objective, tasks, chosen.train))):
        print(name)
        errors(theta, objective, tasks)
    differences.STEP = kept
    rows, drawn, how = start.expand(tasks.count, -1), tasks.draw(0, torch.float32), {"steps": STEPS, "lr": RATE}
    methods = {
        "first order": partial(meta_gradient, objective, rows, *drawn, second_order=False, **how),
        "differences": partial(meta_gradient_by_differences, objective, rows, *drawn, **how),
        "exact, reference": partial(meta_gradient, objective, rows, *drawn, **how),
    }
    took: dict[str, float] = {name: float("inf") for name in methods}
    for _ in range(chosen.rounds + 1):
        for name, method in methods.items():
            begin = time.process_time()
            method()
            took[name] = min(took[name], time.process_time() - begin)
    for name, seconds in took.items():
        print(f"{name:17} {1000 * seconds:8.1f} ms of processor time, {seconds / took['first order']:5.2f} times")


if __name__ == "__main__":
    main()
