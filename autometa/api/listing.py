"""What can be chosen by name: learners, strategies, spaces, predictors, relaxations, primitives, data sets, presets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from autometa.algorithms.presets import PRESETS
from autometa.data import listed_datasets
from autometa.data.catalogue import about_dataset
from autometa.errors import InputError
from autometa.meta.learner import LEARNERS
from autometa.nas.predictors.predictor import PREDICTORS
from autometa.nas.relax.relaxation import RELAXATIONS
from autometa.nas.spaces.space import SPACES
from autometa.nas.strategies.strategy import STRATEGIES
from autometa.ops.primitives import PRIMITIVES
from autometa.registry import Registry
from autometa.train.run_config import ALGORITHMS


@dataclass(frozen=True)
class Choice:
    """A name of some kind, and a line about it."""

    kind: str
    name: str
    about: str


def _of(kind: str, registry: Registry) -> list[Choice]:
    return [Choice(kind, name, registry.about(name)) for name in registry]


def _primitives() -> list[Choice]:
    found = []
    for name, primitive in PRIMITIVES.items():
        weights = sum(shape.size for shape in primitive.parameters(28, 1, False))
        about = f"{weights:,} weights with 28 channels" if weights else "no weights"
        found.append(Choice("primitives", name, f"operation on an edge, {about}"))
    return found


def _presets() -> list[Choice]:
    found = []
    for algorithm, presets in PRESETS.items():
        word = ALGORITHMS[algorithm].command
        for name, config in presets.items():
            about = f"{word}: {config.data.name}, {config.inner.ways} ways, {config.meta.iterations:,} meta-iterations"
            found.append(Choice("presets", name, about))
    return found


KINDS: dict[str, Callable[[], list[Choice]]] = {
    "learners": lambda: _of("learners", LEARNERS),
    "strategies": lambda: _of("strategies", STRATEGIES),
    "spaces": lambda: _of("spaces", SPACES),
    "predictors": lambda: _of("predictors", PREDICTORS),
    "relaxations": lambda: _of("relaxations", RELAXATIONS),
    "primitives": _primitives,
    "datasets": lambda: [Choice("datasets", name, about_dataset(name)) for name in listed_datasets()],
    "presets": _presets,
}


def choices(kind: str | None = None) -> list[Choice]:
    """All that can be chosen by name, or those of a kind: `learners`, `strategies`, `spaces`, `predictors`,
    `relaxations`, `primitives`, `datasets` or `presets`. Raises `InputError` for another kind."""
    if kind is not None and kind not in KINDS:
        raise InputError(f"{kind!r} cannot be listed; choose from {', '.join(KINDS)}")
    return [choice for name in (KINDS if kind is None else (kind,)) for choice in KINDS[name]()]
