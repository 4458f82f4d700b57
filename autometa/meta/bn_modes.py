"""The ways to normalise queries, side by side (Nichol et al. 2018, section 6.1, and Bronskill et al. 2020).

* transductive: all queries of a task in one batch;
* support + one: the whole support set and one query, for every query;
* support statistics: mean and variance of one forward of the support set;
* frozen statistics: mean and variance of images of training tasks, in every forward pass, while a task is learned too.
  For devices that see one image at a time; a mode beside the three, where it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from autometa.slots.statistics import BatchStatistics, Given, Recorder

MODES = ("transductive", "support_plus_one", "support_statistics")
"""Those of the batches that a task brings along, which are always told."""
FROZEN = "frozen_statistics"
EVERY = (*MODES, FROZEN)
Statistics = tuple[Tensor | None, ...]
"""As a `Recorder` keeps them, of one slot."""


class Classifier(Protocol):
    """logits(phi `[S, row]`, images `[S, N, C, H, W]`, statistics) -> `[S, N, ways]`, or with `features` what the last
    layer reads, `[S, N, F]`."""

    @property
    def ways(self) -> int: ...

    def logits(
        self, phi: Tensor, images: Tensor, statistics: BatchStatistics | None = None, *, features: bool = False
    ) -> Tensor: ...


class Frozen:
    """A network whose normalisations all have the same statistics in whatever batch: those `[1, ...]` of one slot, for
    every slot. Else it is the network."""

    def __init__(self, network: Any, statistics: Statistics) -> None:
        self.network, self.statistics = network, statistics

    def logits(self, phi: Tensor, images: Tensor, statistics: BatchStatistics | None = None, **how: Any) -> Tensor:
        """As of the network; `statistics` are not asked, and record nothing."""
        slots = len(phi)
        own = [None if s is None else s.to(phi.device).expand(slots, *s.shape[1:]) for s in self.statistics]
        return self.network.logits(phi, images, Given([None if s is None else s.contiguous() for s in own]), **how)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)


@torch.no_grad()
def query_logits(model: Classifier, phi: Tensor, support: Tensor, queries: Tensor, mode: str) -> Tensor:
    """Logits of the queries `[S, Q, ways]` in one of `MODES`; support `[S, M, C, H, W]`, queries `[S, Q, C, H, W]`."""
    if mode == "transductive":
        return model.logits(phi, queries)
    if mode == "support_plus_one":
        rows = []
        for q in range(queries.shape[1]):
            batch = torch.cat([support, queries[:, q : q + 1]], dim=1)
            rows.append(model.logits(phi, batch)[:, -1:])
        return torch.cat(rows, dim=1)
    if mode == "support_statistics":
        recorder = Recorder()
        model.logits(phi, support, recorder)
        return model.logits(phi, queries, Given(recorder.kept))
    raise ValueError(f"unknown BN mode {mode!r}; choose from {', '.join(MODES)}")


def accuracies(
    model: Classifier, phi: Tensor, support: Tensor, queries: Tensor, labels: Tensor, modes: Sequence[str] = MODES
) -> dict[str, Tensor]:
    """Share of right answers of each slot by mode: dict of float64 `[S]`; labels int64 `[S, Q]`."""
    found = logits_by_mode(model, phi, support, queries, modes)
    return {mode: accuracy(logits, labels) for mode, logits in found.items()}


def logits_by_mode(
    model: Classifier, phi: Tensor, support: Tensor, queries: Tensor, modes: Sequence[str] = MODES
) -> dict[str, Tensor]:
    """`query_logits` in each mode."""
    return {mode: query_logits(model, phi, support, queries, mode) for mode in modes}


def answers(logits: Mapping[str, Tensor], mode: str = "support_statistics") -> dict[str, Tensor]:
    """The answers: `predicted` int16 `[S, Q]`, -1 where logits are not finite, and `probability` float32 `[S, Q]` in
    one of the modes, `predicted.MODE` in each other one; nothing where the mode is not among them."""
    if mode not in logits:
        return {}
    made = {answers_name(other, mode): predicted(found) for other, found in logits.items()}
    return {**made, "probability": logits[mode].to(torch.float32).softmax(dim=-1).amax(dim=-1)}


def answers_name(mode: str, first: str = "support_statistics") -> str:
    """What `answers` calls the predictions of a mode."""
    return "predicted" if mode == first else f"predicted.{mode}"


def predicted(logits: Tensor) -> Tensor:
    """The answer to each query, int16 `[S, Q]`, -1 where logits are not finite."""
    said = logits.argmax(dim=-1)
    return torch.where(torch.isfinite(logits).all(dim=-1), said, -torch.ones_like(said)).to(torch.int16)


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of right answers of each slot, float64 `[S]`: logits `[S, Q, ways]`, labels int64 `[S, Q]`.

    An answer that is not finite is wrong.
    """
    right = (logits.argmax(dim=-1) == labels) & torch.isfinite(logits).all(dim=-1)
    return right.to(torch.float64).mean(dim=1)
