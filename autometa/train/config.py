"""Config pieces that several algorithms share: frozen, typed, each field with its source."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Protocol, TypeVar, get_type_hints

from autometa.data.images import FITS
from autometa.data.names import READINGS
from autometa.errors import InputError
from autometa.meta.learner import MetaLearner
from autometa.meta.optimisers import SGD, Adam, PerKind
from autometa.meta.schedule import SHAPES, Schedule
from autometa.ops.backend import PRECISIONS
from autometa.registry import Named
from autometa.runs.files import plain
from autometa.runs.forms import WHOLE, Form, FormError, flag, many, maybe, number, text, told, whole
from autometa.train.data_config import TASKS, DataConfig

MOST = 10_000_000
"""Of anything that is counted: tasks, images, slots."""
MOST_STEPS = 100_000
"""Inner steps: batches are drawn for all of them beforehand."""
MOST_CELLS, MOST_CHANNELS = 1000, 1 << 16
MOST_INSTANCES = 100_000
"""Op instances of a network: about a second to lay out; the papers' largest has a few thousand."""
BATCH_MODES = ("passes", "replacement")


@dataclass(frozen=True)
class InnerConfig:
    """The inner loop while meta-training.

    Args:
        ways: classes of a task.
        shots: images per class in the support set.
        queries: query images per class, for meta-learners that learn from queries too.
        batch: images of one inner step.
        batch_mode: `passes` (Reptile: shuffled passes) or `replacement` (MetaNAS's released code).
        steps: inner steps k.
        lr: inner learning rate of the weights.
        adam_state: `carry` from task to task or `reset`; Reptile's released code carries.
        beta2: of Adam; beta1 is 0 (Reptile, section 6; MetaNAS, appendix).
        weight_decay: L2 decay of the weights.
        least_ways, least_shots: where given, the tasks of every meta-iteration have a number of classes, and of images
            per class, that is drawn for it from there to `ways` and `shots`, each as likely.
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
    queries: int = 5
    least_ways: int | None = None
    least_shots: int | None = None

    @property
    def drawn(self) -> bool:
        """Whether tasks of one meta-iteration are of another shape than those of the next."""
        return self.least_ways is not None or self.least_shots is not None

    def optimiser(self, learner: MetaLearner, arch_lr: float = 0.0, arch_decay: float = 0.0) -> Adam | SGD:
        """Of the inner loop, as the meta-learner takes it."""
        lr, decay = PerKind(self.lr, arch_lr), PerKind(self.weight_decay, arch_decay)
        return learner.optimiser(lr, decay, self.beta2, self.adam_state)


@dataclass(frozen=True)
class MetaConfig:
    """The outer loop.

    Args:
        iterations: meta-iterations.
        batch: tasks per meta-iteration, each in a slot of its own.
        step_size: meta step size of the weights at the start.
        step_size_end: the same at the end, where it falls.
        schedule: `constant`, `linear` or `cosine`.
        max_slots: slots evaluated at once; fewer need less memory, with the same result. Where None all, on a GPU as
            many as its free memory holds.
        planned: where their number was changed on the way, as a search that keeps to a time budget does: pairs of a
            meta-iteration and the number that had been planned until then, in order. What the schedule had left is
            spread over what the next plan had left, so a run with the same values repeats one that was changed.
    """

    iterations: int = 100_000
    batch: int = 5
    step_size: float = 1.0
    step_size_end: float = 0.0
    schedule: str = "linear"
    max_slots: int | None = None
    planned: tuple[int, ...] = ()

    def steps(self) -> Schedule:
        return Schedule(self.step_size, self.step_size_end, self.schedule)

    def position(self, i: int) -> float:
        """The share of its schedule that is over before meta-iteration i."""
        over, begun = 0.0, 0
        for until, total in zip(self.planned[::2], self.planned[1::2], strict=True):
            if i <= until:
                return over + (1.0 - over) * ((i - begun) / (total - begun))
            over, begun = over + (1.0 - over) * ((until - begun) / (total - begun)), until
        return over + (1.0 - over) * ((i - begun) / max(self.iterations - begun, 1))

    def changed(self, i: int, iterations: int) -> MetaConfig:
        """With another number of meta-iterations from number i on."""
        return replace(self, iterations=iterations, planned=(*self.planned, i, self.iterations))

    @property
    def first_planned(self) -> int:
        """Meta-iterations planned at the start."""
        return self.planned[1] if self.planned else self.iterations

    def check_planned(self) -> None:
        """Raise `InputError` unless `planned` is what `changed` makes."""
        ends, totals = self.planned[::2], self.planned[1::2]
        fits = len(ends) == len(totals) and all(until <= total for until, total in zip(ends, totals, strict=False))
        rising = all(a < b for a, b in zip((0, *ends), ends, strict=False))
        require(
            fits and rising and (not ends or ends[-1] <= self.iterations),
            f"planned must be pairs of a meta-iteration and the number planned until then, rising, not "
            f"{list(self.planned)} of {self.iterations}",
        )


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
        frozen: learn the tasks once more with every normalisation by frozen statistics, of training tasks, as a device
            does that sees one image at a time; a fourth accuracy beside those of the three BN modes.
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
    frozen: bool = False


class ArchitectureConfig(Protocol):
    """What training and its records need of the config of a search that trains the architecture: `warmup`
    meta-iterations in which it stands still, `test_weight_steps` of meta-testing in which it does."""

    @property
    def primitives(self) -> tuple[str, ...]: ...

    @property
    def meta(self) -> MetaConfig: ...

    @property
    def warmup(self) -> int: ...

    @property
    def test_weight_steps(self) -> int: ...

    def temperatures(self) -> list[float]:
        """Of the soft pruning at meta-testing, before each step on the architecture and after the last one."""


Config = TypeVar("Config")


LATER = frozenset(
    {
        "rotations",
        "reading",
        "learner",
        "relaxation",
        "queries",
        "planned",
        "most_batches",
        "init",
        "max_params",
        "max_macs",
        "space",
        "data.tasks",
        "augment",
        "data.fit",
        "least_ways",
        "least_shots",
        "hard_pruning",
        "frozen",
    }
)
"""Fields that runs of earlier versions lack; their defaults are what these versions did."""


def from_json(kind: type[Config], value: Mapping[str, Any], where: str = "") -> Config:
    """A config from what config.json holds: lists become tuples, nested configs are built; what a registry knows is
    built by its `name`, which may stand alone, and what is not said of it is as by default.

    where: what stands before the names of its fields. Raises `InputError` where a field is unknown, missing or of
    another type; limits are what `check` looks at.
    """
    if not isinstance(value, Mapping):
        raise InputError(f"{where.rstrip('.') or 'the config'} must be a group of settings, not {told(value)}")
    algorithm = getattr(kind, "algorithm", None)
    if algorithm is not None:
        given = value.get("algorithm", algorithm)
        require(given == algorithm, f"these are settings of {given}, not of {algorithm}")
        value = {name: item for name, item in value.items() if name != "algorithm"}
    hints, own = get_type_hints(kind), fields(kind)  # type: ignore[arg-type]  # no type says "any dataclass"
    unknown = sorted(set(value) - {f.name for f in own})
    if unknown:
        named = ", ".join(f"{where}{name}"[:60] for name in unknown[:5])
        raise InputError(f"unknown setting {named}; this run was made by another version")
    missing = [f"{where}{f.name}" for f in own if f.name not in value and not {f.name, f"{where}{f.name}"} & LATER]
    if missing and not is_named(kind):
        raise InputError(f"setting {missing[0]} is missing; put a copy of the config back")

    def built(name: str, item: Any) -> Any:
        if is_named(hints[name]):
            own = {"name": item} if isinstance(item, str) else item
            if not isinstance(own, Mapping) or not isinstance(own.get("name"), str):
                raise InputError(f"{where}{name} must be a name, or a group of settings with one, not {told(item)}")
            rest = {key: setting for key, setting in own.items() if key != "name"}
            return from_json(hints[name].registry[own["name"]], rest, f"{where}{name}.")
        if is_dataclass(hints[name]):
            return from_json(hints[name], item, f"{where}{name}.")
        try:
            TYPES[hints[name]](item, f"{where}{name}")
        except FormError as error:
            raise InputError(str(error)) from error
        return tuple(item) if isinstance(item, list) else item

    return kind(**{name: built(name, item) for name, item in value.items()})


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name: `{"inner": {"lr": 1}}` -> `{"inner.lr": 1}`."""
    found: dict[str, Any] = {}
    for name, item in value.items():
        if isinstance(item, Mapping) and item:
            found |= flat(item, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = item
    return found


def differences(old: Any, new: Any) -> dict[str, tuple]:
    """Settings that differ, by dotted name, as (old, new)."""
    before, after = flat(plain(old)), flat(plain(new))
    return {name: (before.get(name), after.get(name)) for name in before | after if before.get(name) != after.get(name)}


_WHOLE = whole(-WHOLE)
TYPES: dict[Any, Form] = {
    bool: flag,
    int: _WHOLE,
    float: number(),
    str: text,
    int | None: maybe(_WHOLE),
    str | None: maybe(text),
    tuple[int, ...]: many(_WHOLE, most=10_000),
    tuple[float, ...]: many(number(), most=10_000),
    tuple[str, ...]: many(text, most=10_000),
}
"""The form of a field's value in JSON, by the field's type."""


def is_named(hint: Any) -> bool:
    """Whether a field of this type is chosen by name from a registry."""
    return isinstance(hint, type) and issubclass(hint, Named)


def require(condition: bool, sentence: str) -> None:
    """Raise `InputError(sentence)` unless the condition holds."""
    if not condition:
        raise InputError(sentence)


def check_common(
    data: DataConfig, inner: InnerConfig, meta: MetaConfig, test: EvalConfig, seed: int, precision: str
) -> None:
    """What every algorithm refuses before any work starts. Raises `InputError` naming the setting."""
    require(data.name != "", "the path is empty; name a data set, or a folder, an archive or a table of images")
    bounded(2, 10_000, {"inner.ways": inner.ways})
    positive = {
        "data.image_size": data.image_size,
        "inner.shots": inner.shots,
        "inner.queries": inner.queries,
        "inner.batch": inner.batch,
        "inner.steps": inner.steps,
        "meta.batch": meta.batch,
        "test.tasks": test.tasks,
        "test.shots": test.shots,
        "test.queries": test.queries,
        "test.batch": test.batch,
        "test.max_slots": test.max_slots,
    }
    bounded(1, MOST, positive if meta.max_slots is None else {**positive, "meta.max_slots": meta.max_slots})
    seeds = {"data.seed": data.seed, "seed": seed, "test.seed": test.seed}
    decays = {"inner.weight_decay": inner.weight_decay}
    sizes = {"meta.step_size": meta.step_size, "meta.step_size_end": meta.step_size_end}
    bounded(0, MOST_STEPS, {"inner.steps": inner.steps, "test.steps": test.steps})
    at_least(0, {"meta.iterations": meta.iterations, **seeds, **decays, **sizes})
    require(0 < inner.lr < math.inf, f"inner.lr must be above 0, not {inner.lr:g}")
    require(0 < inner.beta2 < 1, f"inner.beta2 must lie between 0 and 1, not {inner.beta2:g}")
    one_of(BATCH_MODES, {"inner.batch_mode": inner.batch_mode})
    one_of((*BATCH_MODES, None), {"test.batch_mode": test.batch_mode})
    one_of(("carry", "reset"), {"inner.adam_state": inner.adam_state})
    one_of(SHAPES, {"meta.schedule": meta.schedule})
    meta.check_planned()
    one_of(("test", "val"), {"test.part": test.part})
    one_of(PRECISIONS, {"precision": precision})
    require(data.reading in READINGS, f"data.reading must be 1 or 2, not {data.reading}")
    one_of(TASKS, {"data.tasks": data.tasks})
    one_of(FITS, {"data.fit": data.fit})
    require(data.augment.outside() is None, f"data.augment.{data.augment.outside()}")
    require(data.rotations in (None, 1, 4), f"data.rotations must be 1, 4 or null, not {data.rotations}")


def check_reductions(reductions: Sequence[int], cells: int) -> None:
    """Raise `InputError` unless they are different positions in a network of `cells` cells."""
    inside = all(0 <= r < cells for r in reductions) and len(set(reductions)) == len(reductions)
    require(inside, f"reductions {list(reductions)} must be different positions in a network of {cells} cells, from 0")


def at_least(least: int, values: Mapping[str, float]) -> None:
    """Raise `InputError` naming the first setting that is smaller, or no finite number."""
    for name, value in values.items():
        require(least <= value < math.inf, f"{name} must be at least {least}, not {value:g}")


def bounded(least: int, most: int, values: Mapping[str, float]) -> None:
    """Raise `InputError` naming the first setting that lies outside."""
    at_least(least, values)
    for name, value in values.items():
        require(value <= most, f"{name} must be at most {most:,}, not {value:,}")


def check_macro(group: str, filters: int | None, repeats: int, scale_rate: int) -> None:
    """Raise `InputError` unless a network around one cell can have these; group: before the settings' names."""
    if filters is not None:
        bounded(2, MOST_CHANNELS, {f"{group}filters": filters})
    bounded(0, MOST_CELLS // 4, {f"{group}repeats": repeats})
    bounded(1, 64, {f"{group}scale_rate": scale_rate})


def check_instances(instances: int, what: str) -> None:
    """Raise `InputError` where a network has more operations than any machine builds; what: the settings to lower."""
    require(
        instances <= MOST_INSTANCES,
        f"a network of {instances:,} operations is beyond the {MOST_INSTANCES:,} that can be built; lower {what}",
    )


def one_of(known: Sequence[str | None], values: Mapping[str, str | None]) -> None:
    """Raise `InputError` naming the first setting that has another value."""
    for name, value in values.items():
        words = " or ".join(str(word) for word in known)
        require(value in known, f"{name} must be {words}, not {value}")
