"""Reptile's four-layer meta-iteration beside what others write: a loop over tasks, and vmap over them, compiled or not.

    python -m benchmarks.meta_iteration [--threads 1,2] [--rounds 10] [--json FILE]

Preset `reptile-omniglot`: five tasks, five inner steps of ten images. `package`: a whole meta-iteration of `Trainer`,
tasks and batches drawn too. The rivals have their batches ready: `loop` (a function of a dict of tensors, autograd,
Adam written by hand, a task after the other), `vmap` (all tasks as one batched step of `torch.func`, the same Adam on
stacked tensors) and `vmap, compiled` (that step by torch.compile). All take turns in every round. Says nothing about a
rival whose weights after a meta-iteration are others than the package's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import grad_and_value, vmap

from autometa.algorithms.presets import preset
from autometa.algorithms.train import ReptileConfig, trainer
from autometa.train.config import DataConfig
from autometa.train.tasks import Source
from autometa.train.trainer import Trainer
from benchmarks.inner_step import machine
from benchmarks.measure import interleaved, percentiles

Values = dict[str, Tensor]
LR, BETA2, EPS = 1e-3, 0.999, 1e-8
AGREE = 0.1
"""Relative difference of the weights' change that rounding explains: without a first moment Adam moves a weight by a
whole step in a direction that is rounding where its gradient is nothing else, as of channels that no image reaches."""


def logits(params: Values, images: Tensor) -> Tensor:
    """Reptile's network (Nichol et al. 2018, appendix A), images `[N, 1, 28, 28]`."""
    x = images
    for i in range(4):
        own = {role: params[f"conv{i}.{role}"] for role in ("conv_weight", "conv_bias", "bn_gamma", "bn_beta")}
        x = F.pad(x, (0, 1, 0, 1) if x.shape[-1] % 2 == 0 else (1, 1, 1, 1))
        x = F.conv2d(x, own["conv_weight"], own["conv_bias"], stride=2)
        x = F.relu(F.batch_norm(x, None, None, own["bn_gamma"], own["bn_beta"], training=True, eps=1e-3))
    return F.linear(x.flatten(1), params["head.weight"], params["head.bias"])


def loss(params: Values, images: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits(params, images), labels)


def adam(params: Values, gradients: Values, second: Values, steps: int) -> tuple[Values, Values]:
    """Without a first moment, as Reptile's."""
    second = {name: BETA2 * second[name] + (1 - BETA2) * g * g for name, g in gradients.items()}
    root = (1 - BETA2**steps) ** 0.5
    return {name: p - LR * gradients[name] / (second[name].sqrt() / root + EPS) for name, p in params.items()}, second


def by_loop(theta: Values, images: Tensor, labels: Tensor) -> Values:
    """Mean of the adapted weights: images `[tasks, steps, N, 1, 28, 28]`, labels `[tasks, steps, N]`."""
    total = {name: torch.zeros_like(value) for name, value in theta.items()}
    for task in range(len(images)):
        phi = {name: value.clone().requires_grad_() for name, value in theta.items()}
        second = {name: torch.zeros_like(value) for name, value in theta.items()}
        for t in range(images.shape[1]):
            found = torch.autograd.grad(loss(phi, images[task, t], labels[task, t]), list(phi.values()))
            with torch.no_grad():
                phi, second = adam(phi, dict(zip(phi, found, strict=True)), second, t + 1)
            phi = {name: value.requires_grad_() for name, value in phi.items()}
        total = {name: value + phi[name].detach() / len(images) for name, value in total.items()}
    return total


def batched_step(params: Values, second: Values, images: Tensor, labels: Tensor, steps: int) -> tuple[Values, Values]:
    gradients, _ = vmap(grad_and_value(loss))(params, images, labels)
    return adam(params, gradients, second, steps)


def by_vmap(step: Callable, theta: Values, images: Tensor, labels: Tensor) -> Values:
    """The same of all tasks at once."""
    phi = {name: value.expand(len(images), *value.shape).contiguous() for name, value in theta.items()}
    second = {name: torch.zeros_like(value) for name, value in phi.items()}
    for t in range(images.shape[1]):
        phi, second = step(phi, second, images[:, t], labels[:, t], t + 1)
    return {name: value.mean(dim=0) for name, value in phi.items()}


def package() -> Trainer:
    """Of the preset, on drawn characters: data say nothing about its time."""
    config = preset("train", "reptile-omniglot")
    assert isinstance(config, ReptileConfig)
    source = Source.open(DataConfig("strokes", 28))
    return trainer(config.build(source.image_shape), source, config)


def rivals(made: Trainer) -> tuple[dict[str, Callable[[], Values]], Values]:
    """Name -> the mean of adapted weights, from the package's first weights and tasks; and these weights."""
    network = preset("train", "reptile-omniglot").build((1, 28, 28))
    theta = network.layout.unpack(made.arena.theta[0].clone())
    tasks = made.episodes.tasks(torch.arange(made.meta.batch))
    batches = made.episodes.batches(tasks, made.inner.batch, made.inner.steps, made.inner.batch_mode)
    images, labels = (torch.stack(part, dim=1) for part in zip(*map(batches.step, range(len(batches))), strict=True))
    # steps are a tensor to the compiled one: it would be compiled again for each number of them
    compiled = torch.compile(batched_step, dynamic=False)
    as_tensor = lambda *given: compiled(*given[:4], torch.tensor(float(given[4])))  # noqa: E731
    return {
        "loop": partial(by_loop, theta, images, labels),
        "vmap": torch.no_grad()(partial(by_vmap, batched_step, theta, images, labels)),
        "vmap, compiled": torch.no_grad()(partial(by_vmap, as_tensor, theta, images, labels)),
    }, theta


def disagreeing(made: Trainer, others: dict[str, Callable[[], Values]], theta: Values) -> dict[str, float]:
    """Relative difference of each rival's change of the weights from the package's, where it is too large."""
    network = preset("train", "reptile-omniglot").build((1, 28, 28))
    made.step(0)
    own = network.layout.unpack(made.arena.theta[0])
    moving = [name for name in theta if not name.endswith("conv_bias")]  # BN takes these out: Adam moves noise there
    size = sum(float((own[name] - theta[name]).square().sum()) for name in moving) ** 0.5
    found = {}
    for name, call in others.items():
        mean = call()
        apart = sum(float((own[key] - mean[key]).square().sum()) for key in moving) ** 0.5 / size
        if not apart <= AGREE:
            found[name] = apart
    return found


def measure(threads: int, rounds: int) -> dict:
    """Percentiles in microseconds of all, and how many times as long as the package the rivals take."""
    torch.set_num_threads(threads)
    made = package()
    others, theta = rivals(made)
    wrong = disagreeing(made, others, theta)
    calls = {name: call for name, call in others.items() if name not in wrong}
    times = {name: percentiles(seconds) for name, seconds in interleaved(
        {"package": lambda: made.step(1), **calls}, rounds).items()}  # fmt: skip
    ratios = {name: times[name]["p50_us"] / times["package"]["p50_us"] for name in calls}
    return {"threads": threads, "times": times, "ratios": ratios, "disagree": wrong}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", default="1,2", help="one or more counts, as in 1,2")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    about, results = machine(), []
    print(f"{about['cpu']}, {about['instruction set']}, torch {about['torch']}")
    print("| threads | who | ms, 20 % | 50 % | 80 % | times the package's |\n|---|---|---|---|---|---|")
    for threads in map(int, given.threads.split(",")):
        results.append(measure(threads, given.rounds))
        for name, found in results[-1]["times"].items():
            points = " | ".join(f"{found[point] / 1e3:.2f}" for point in ("p20_us", "p50_us", "p80_us"))
            print(f"| {threads} | {name} | {points} | {results[-1]['ratios'].get(name, 1.0):.2f} |", flush=True)
        for name, apart in results[-1]["disagree"].items():
            print(f"{name} is left out: its weights differ by {apart:.1e} of their change")
    if given.json:
        given.json.write_text(json.dumps({"machine": about, "results": results}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
