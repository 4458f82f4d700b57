"""Frozen statistics: one mean and variance for every normalisation, of images of training tasks.

With them every image is looked at alone, while a network learns a task as well as when it answers: no answer depends on
a support set, and no two images need to be in memory together.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from autometa.data import DataError
from autometa.errors import InputError
from autometa.meta.bn_modes import FROZEN, Frozen, Statistics, accuracy, answers_name, predicted
from autometa.slots.statistics import Recorder
from autometa.train.learned import Learned
from autometa.train.run_config import RunConfig
from autometa.train.tasks import Source, TestTasks

MOST, FEWEST = 320, 64
"""Images; at 28 x 28 as many as the first, of larger ones fewer."""


def training_pictures(config: RunConfig, source: Source) -> Tensor:
    """The support sets of the first training tasks, uint8 `[n, C, H, W]`, on the CPU."""
    inner, size = config.inner, source.image_shape[1]
    episodes = source.training(inner, config.test.part, config.seed)
    each = inner.ways * inner.shots
    wanted = max(FEWEST, min(MOST, MOST * 28 * 28 // size**2))
    tasks = episodes.tasks(torch.arange(-(-wanted // each), device="cpu"))
    images, _ = episodes.support(tasks)
    return bytes_of(images.flatten(0, 1).cpu())


def bytes_of(images: Tensor) -> Tensor:
    """Images in 0 .. 1 as uint8, which they were."""
    return (images * 255).round().to(torch.uint8)


def frozen_statistics(network: Any, theta: Tensor, pictures: Tensor) -> Statistics:
    """Of these pictures together, uint8 `[n, C, H, W]`, under meta-learned weights `[row]`, by what classifies."""
    recorder, images = Recorder(), pictures.to(theta.device)
    with torch.no_grad():
        network.logits(theta[None], images[None].float() / 255, recorder)
    return tuple(recorder.kept)


def frozen_of(config: RunConfig, network: Any, theta: Tensor) -> Statistics:
    """The frozen statistics of a model, whose training images are read for them.

    Raises `InputError` where they cannot be read.
    """
    try:
        source = Source.open(config.data)
        pictures = training_pictures(config, source)
    except DataError as error:
        raise InputError(
            f"frozen statistics are of training pictures, which cannot be read here ({error}); work where they are, or "
            "with the statistics of the support set"
        ) from error
    return frozen_statistics(config.learning(network), theta, pictures)


def evaluated(
    config: RunConfig, network: Any, learned: Learned, source: Source, start: int, stop: int
) -> dict[str, Tensor]:
    """`config.evaluate_chunk`; where its test is `frozen` the tasks are learned once more, with every normalisation by
    the frozen statistics, and accuracy `[T]` and answers `[T, Q]` stand beside those of the other modes."""
    found = config.evaluate_chunk(network, learned, source, start, stop)
    return found | by_frozen(config, network, learned, source, start, stop) if config.test.frozen else found


def names_of(config: RunConfig) -> tuple[str, ...]:
    """What `evaluated` gives at least."""
    return (*config.evaluated, *([f"{config.answering}{FROZEN}"] if config.test.frozen else []))


def by_frozen(
    config: RunConfig, network: Any, learned: Learned, source: Source, start: int, stop: int
) -> dict[str, Tensor]:
    """Evaluation tasks start .. stop - 1, learned and answered by frozen statistics."""
    test = config.test
    still = frozen_statistics(config.learning(network), learned.theta, training_pictures(config, source))
    frozen = Frozen(network, still)
    mode = test.batch_mode or config.inner.batch_mode
    episodes = source.testing(network.ways, test)
    tasks = TestTasks.draw(episodes, start, stop, test.batch, config.adaptation_steps, mode)
    phi = config.adapt(frozen, learned, tasks.batches, stop - start)
    with torch.no_grad():
        logits = config.classifier(frozen).logits(phi, tasks.queries)
    return {f"{config.answering}{FROZEN}": accuracy(logits, tasks.labels), answers_name(FROZEN): predicted(logits)}
