"""Config pieces that several algorithms share: frozen, typed, each field with its source."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

from autometa.errors import InputError
from autometa.meta.inner_loop import Adam, PerKind
from autometa.meta.reptile import Schedule


@dataclass(frozen=True)
class DataConfig:
    """Which images.

    Args:
        name: data set and split, e.g. `omniglot:background`, `omniglot:vinyals`, `omniglot:reptile`, `strokes`.
        image_size: height and width in pixels.
        variant: conversion of Omniglot, `ink` (box filter, ink = 255) or `reptile` (nearest, background = 255).
        root: folder of the original files; AUTOMETA_DATA where None.
        seed: of splits that are shuffled and of drawn data sets.
    """

    name: str = "omniglot:background"
    image_size: int = 28
    variant: str = "ink"
    root: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class InnerConfig:
    """The inner loop while meta-training.

    Args:
        ways: classes of a task.
        shots: images per class in the support set.
        batch: images of one inner step.
        batch_mode: `passes` (Reptile: shuffled passes) or `replacement` (MetaNAS's released code).
        steps: inner steps k.
        lr: inner learning rate of the weights.
        adam_state: `carry` from task to task or `reset`; Reptile's released code carries.
        beta2: of Adam; beta1 is 0 (Reptile, section 6; MetaNAS, appendix).
        weight_decay: L2 decay of the weights.
    """

    ways: int = 5
    shots: int = 10
    batch: int = 10
    batch_mode: str = "passes"
    steps: int = 5
    lr: float = 1e-3
    adam_state: str = "carry"
    beta2: float = 0.999
    weight_decay: float = 0.0

    def adam(self, arch_lr: float = 0.0, arch_decay: float = 0.0) -> Adam:
        decay = PerKind(self.weight_decay, arch_decay)
        return Adam(PerKind(self.lr, arch_lr), decay, beta2=self.beta2, state=self.adam_state)


@dataclass(frozen=True)
class MetaConfig:
    """The outer loop.

    Args:
        iterations: meta-iterations.
        batch: tasks per meta-iteration, each in a slot of its own.
        step_size: meta step size of the weights at the start.
        step_size_end: the same at the end, where it falls.
        schedule: `constant`, `linear` or `cosine`.
        max_slots: slots evaluated at once; fewer need less memory, with the same result. All where None.
    """

    iterations: int = 100_000
    batch: int = 5
    step_size: float = 1.0
    step_size_end: float = 0.0
    schedule: str = "linear"
    max_slots: int | None = None

    def steps(self) -> Schedule:
        return Schedule(self.step_size, self.step_size_end, self.schedule)


@dataclass(frozen=True)
class EvalConfig:
    """Evaluation on unseen classes.

    Args:
        tasks: number of tasks.
        shots: support images per class.
        queries: query images per class.
        batch: images of one inner step (Reptile: 5; MetaNAS, Omniglot: 10).
        batch_mode: `passes` or `replacement`; None takes that of training.
        steps: inner steps on the support set.
        part: `test` or `val` classes.
        seed: of the evaluation tasks.
        max_slots: tasks adapted at once.
    """

    tasks: int = 1000
    shots: int = 1
    queries: int = 1
    batch: int = 5
    batch_mode: str | None = None
    steps: int = 50
    part: str = "test"
    seed: int = 1
    max_slots: int = 20


Config = TypeVar("Config")


def from_json(kind: type[Config], value: dict[str, Any]) -> Config:
    """A config from what config.json holds: lists become tuples, nested configs are built.

    Raises `InputError` where a field is unknown.
    """
    hints = get_type_hints(kind)
    unknown = sorted(set(value) - {f.name for f in fields(kind)})
    if unknown:
        raise InputError(f"unknown setting {', '.join(unknown)}; this run was made by another version")

    def built(name: str, item: Any) -> Any:
        if is_dataclass(hints[name]):
            return from_json(hints[name], item)
        return tuple(item) if isinstance(item, list) else item

    return kind(**{name: built(name, item) for name, item in value.items()})


def require(condition: bool, sentence: str) -> None:
    """Raise `InputError(sentence)` unless the condition holds."""
    if not condition:
        raise InputError(sentence)


def check_common(inner: InnerConfig, meta: MetaConfig, test: EvalConfig) -> None:
    """What every algorithm refuses before any work starts."""
    require(inner.ways >= 2, f"ways must be at least 2, not {inner.ways}")
    require(inner.batch_mode in ("passes", "replacement"), "batch_mode must be passes or replacement")
    require(test.part in ("test", "val"), f"part must be test or val, not {test.part!r}")
    for name, value in (
        ("shots", inner.shots),
        ("batch", inner.batch),
        ("inner steps", inner.steps),
        ("meta batch", meta.batch),
        ("tasks", test.tasks),
        ("evaluation shots", test.shots),
        ("queries", test.queries),
        ("evaluation batch", test.batch),
        ("max_slots", test.max_slots),
    ):
        require(value >= 1, f"{name} must be at least 1, not {value}")
    require(meta.iterations >= 0, f"iterations must not be negative, not {meta.iterations}")
    require(inner.lr > 0, f"the inner learning rate must be positive, not {inner.lr}")
