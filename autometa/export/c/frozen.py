"""Frozen statistics: one mean and variance for every normalisation, of images of training tasks.

With them a picture is looked at alone: no answer depends on a support set, and no two pictures need to be in memory
together.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from autometa.export.c.folding import Statistics
from autometa.models.model import Model
from autometa.slots.statistics import Recorder
from autometa.train.tasks import Source

MOST, FEWEST = 320, 64
"""Images; at 28 x 28 as many as the first, of larger ones fewer."""


def training_pictures(model: Model, source: Source) -> Tensor:
    """The support sets of the first training tasks, uint8 `[n, C, H, W]`."""
    inner, test = model.config.inner, model.config.test
    episodes = source.training(inner, test.part, model.config.seed)
    each = inner.ways * inner.shots
    wanted = max(FEWEST, min(MOST, MOST * 28 * 28 // model.recipe.size**2))
    tasks = episodes.tasks(torch.arange(-(-wanted // each), device="cpu"))
    images, _ = episodes.support(tasks)
    return bytes_of(images.flatten(0, 1).cpu())


def bytes_of(images: Tensor) -> Tensor:
    """Images in 0 .. 1 as uint8, which they were."""
    return (images * 255).round().to(torch.uint8)


def frozen_statistics(model: Model, pictures: Tensor) -> Statistics:
    """Of these pictures together, uint8 `[n, C, H, W]`, under the weights that were meta-learned."""
    recorder = Recorder()
    with torch.no_grad():
        classifier_of(model).logits(model.learned.theta[None], pictures[None].float() / 255, recorder)
    return tuple(recorder.kept)


def classifier_of(model: Model) -> Any:
    """What answers by meta-learned weights: a search network pruned by its own architecture, all others as they are."""
    network = model.network
    return model.config.classifier(network) if model.config.adapts_architecture else network
