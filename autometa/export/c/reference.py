"""What the C code computes, in PyTorch: each form of an export, for tests, self-tests and measured accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from autometa.export.c.graph import Graph, ordered
from autometa.meta.bn_modes import Statistics
from autometa.meta.optimisers import Adam
from autometa.models.model import Model
from autometa.slots.statistics import Given


def classifier_of(model: Model) -> Any:
    """What answers by meta-learned weights: a search network pruned by its own architecture, all others as they are."""
    network = model.network
    return model.config.classifier(network) if model.config.adapts_architecture else network


class Features(Protocol):
    """uint8 `[n, C, H, W]` -> features `[n, F]` in the order of the device."""

    def __call__(self, images: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class FloatFeatures:
    """By the network itself."""

    model: Model
    graph: Graph
    statistics: Statistics

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        found = classifier_of(self.model).logits(
            self.model.learned.theta[None], images[None].float() / 255, Given(self.statistics), features=True
        )
        return ordered(found[0], self.graph)


def by_prototypes(features: Tensor, labels: Tensor, queries: Tensor, scale: float) -> Tensor:
    """The nearest mean of a class, squared Euclidean distance times scale (Snell et al. 2017)."""
    means = torch.stack([features[labels == k].mean(dim=0) for k in range(int(labels.max()) + 1)])
    return torch.softmax(-scale * (queries[:, None] - means[None]).square().sum(dim=2), dim=1)


@dataclass(frozen=True)
class HeadStart:
    """Where learning by head begins, and how it goes on.

    rows, second: weights and bias `[rows + 1, F + 1]` and Adam's second moment, the last row for all further classes.
    """

    rows: Tensor
    second: Tensor
    steps_before: int
    rate: float
    decay: float
    beta2: float
    eps: float
    steps: int
    adam: bool

    @classmethod
    def of(cls, model: Model, graph: Graph) -> HeadStart:
        """From what the model learned; where nothing was learned for a last layer it begins at 0."""
        config, inner = model.config, model.config.inner
        layout = model.network.layout
        optimiser = inner.optimiser(config.learner)
        adam = isinstance(optimiser, Adam)
        carried = adam and inner.adam_state == "carry" and config.learner.inner_loop
        values, second = (layout.unpack(row.cpu()) for row in (model.learned.theta, model.learned.second))
        rows, moments = (_rows(found, graph) for found in (values, second))
        useful = config.learner.inner_loop and config.learner.linear
        return cls(
            rows if useful else torch.zeros_like(rows),
            moments if carried else torch.zeros_like(moments),
            int(model.learned.steps[0]) if carried else 0,
            inner.lr,
            inner.weight_decay,
            inner.beta2,
            optimiser.eps if adam else 0.0,
            config.test.steps,
            adam,
        )

    def begin(self, ways: int) -> tuple[Tensor, Tensor]:
        """Rows and second moments of so many classes."""
        place = torch.arange(ways).clamp(max=len(self.rows) - 1)
        return self.rows[place], self.second[place]

    def __call__(self, features: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        ways = int(labels.max()) + 1
        rows, second = self.begin(ways)
        truth = torch.nn.functional.one_hot(labels, ways).float()
        share = (1 / (ways * truth.sum(dim=0)))[labels][:, None]
        x = torch.cat([features, torch.ones(len(features), 1)], dim=1)
        for t in range(1, self.steps + 1):
            wrong = ((x @ rows.T).softmax(dim=1) - truth) * share
            slope = wrong.T @ x + self.decay * rows
            if not self.adam:
                rows = rows - self.rate * slope
                continue
            second = second * self.beta2 + slope * slope * (1 - self.beta2)
            correction = 1 / (1 - self.beta2 ** (self.steps_before + t))
            rows = rows - self.rate * slope / ((second * correction).sqrt() + self.eps)
        return (torch.cat([queries, torch.ones(len(queries), 1)], dim=1) @ rows.T).softmax(dim=1)


def _rows(values: dict[str, Tensor], graph: Graph) -> Tensor:
    """Weights and bias of each class, and the mean of all."""
    rows = torch.cat([graph.head(values["head.weight"]), values["head.bias"][:, None]], dim=1)
    return torch.cat([rows, rows.mean(dim=0, keepdim=True)])


def start_second(model: Model) -> Tensor:
    """Adam's second moment that a task begins with, a row."""
    second = model.learned.second.cpu()
    return second if model.config.inner.adam_state == "carry" else torch.zeros_like(second)
