"""Who takes part in a tournament, and the settings that each may choose among."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autometa.algorithms.table.searching import TabledSpace
from autometa.nas.strategies.strategy import STRATEGIES, Proposal, SearchSpec, Strategy, Trial

BATCH = 10
"""Candidates trained side by side, of all strategies."""
RIVALS = {"most weights": "parameters", "most multiply-accumulates": "macs"}


@dataclass(frozen=True)
class Variant:
    """Settings of a strategy. options: its own; surrogate: the predictor by name; beam: trials of a round, where a
    strategy has such, None for all that the budget leaves; weight: of the predicted standard deviation in choices."""

    options: Mapping[str, Any] = field(default_factory=dict)
    surrogate: str = "lstm"
    beam: int | None = None
    weight: float = 0.0

    def __str__(self) -> str:
        parts = [f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in self._told()]
        return ", ".join(parts) or "as it comes"

    def _told(self) -> list[tuple[str, Any]]:
        found = list(self.options.items())
        found += [("surrogate", self.surrogate)] if self.surrogate != "lstm" else []
        found += [("beam", self.beam)] if self.beam is not None else []
        return found + ([("uncertainty_weight", self.weight)] if self.weight else [])


VARIANTS: Mapping[str, Sequence[Variant]] = {
    "progressive": [Variant(), Variant(surrogate="ridge"), Variant(surrogate="gp"), Variant(surrogate="trees")],
    "surrogate": [
        Variant({"pool": 1000}, kind, 20, weight) for kind, weight in (("ridge", 0.0), ("gp", 0.0), ("gp", 0.5))
    ],
    "evolution": [Variant({"population": p, "sample": s}) for p, s in ((70, 25), (50, 10), (20, 5), (20, 10))],
    "local": [Variant({"first": first}) for first in (10, 30, 55)],
    "q-learning": [Variant({"explore": e, "rate": r}) for e, r in ((0.55, 0.01), (0.3, 0.05), (0.2, 0.1))],
    "reinforce": [Variant({"lr": lr}) for lr in (0.003, 0.01)],
    "large-scale-evolution": [Variant({"inherit": False, "population": p}) for p in (10, 20, 40)],
    **{
        name: [Variant({"eta": eta, "rungs": rungs}) for eta, rungs in ((2, 4), (2, 3), (4, 2))]
        for name in ("halving", "hyperband", "transfer")
    },
    "gaussian-process": [Variant({"first": first}) for first in (10, 20, 40)],
}
"""Tried on one half of the cells; a strategy that is not here is taken as it comes. Weights can be inherited only where
something is trained."""


@dataclass(frozen=True)
class Listed(Strategy):
    """A rival that learns nothing: candidates in an order that was known before."""

    order: tuple[str, ...] = ()

    def round(self, history: Sequence[Trial], spec: SearchSpec) -> list[Proposal]:
        return [] if history else [Proposal(key) for key in self.order[: spec.budget]]


@dataclass(frozen=True)
class Entry:
    """A strategy by name, or a rival, with its variants."""

    name: str
    variants: tuple[Variant, ...]

    @property
    def learns(self) -> bool:
        """Whether a seed changes anything."""
        return self.name not in RIVALS

    def strategy(self, variant: Variant, tabled: TabledSpace) -> Strategy:
        if self.name not in RIVALS:
            return STRATEGIES[self.name](**variant.options)
        size = RIVALS[self.name]
        return Listed(tuple(sorted(tabled.keys, key=lambda key: (-getattr(tabled.cells[key], size), key))))


def entries(names: Sequence[str] | None = None) -> list[Entry]:
    """All registered strategies and the rivals, or some by name. Raises `InputError` for one that does not exist."""
    asked = [*STRATEGIES.names(), *RIVALS] if names is None else list(names)
    for name in asked:
        if name not in RIVALS:
            STRATEGIES[name]
    return [Entry(name, tuple(VARIANTS.get(name, [Variant()]))) for name in asked]
