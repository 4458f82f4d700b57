"""What a table of cells holds: which cells, in which order, trained how, scored when."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from autometa.errors import InputError
from autometa.nas.spaces.blocks import BlockCell, expansions, level_one
from autometa.train.candidates import CandidateConfig
from autometa.train.config import DataConfig, EvalConfig, InnerConfig, MetaConfig, at_least, require

POINTS = (8, 4, 2, 1)
"""Points of the learning curve that are recorded: an eighth, a quarter, a half and the whole of the training."""
PARTS = ("cells", "seeds", "random", "best")

Job = tuple[str, int, int]
"""Key of a cell, seed, and length of the training as a multiple of the config's."""


@dataclass(frozen=True)
class TableSpec:
    """A table. Of one training, and of one seed, all cells see the same tasks.

    Args:
        name: of the table and its file.
        config: training (its seed is the first one's) and scoring, on validation classes.
        tasks: validation tasks at each of `POINTS`; 0 leaves a point out.
        test: on test classes, at the end of the training; nothing is chosen by it. None: not tested.
        cells: how many cells are trained, the first of `order()`.
        seeded: how many of these are trained again with every seed of `seeds`.
        seeds: the further seeds, of initialisation, tasks and batches; the tasks that score stay the same.
        longer: multiple of the iterations in the long trainings.
        random: how many cells are trained that long, the first of `order()`.
        best: how many more, those of the highest validation accuracy at the first seed, once all cells are there.
    """

    name: str
    config: CandidateConfig
    tasks: tuple[int, int, int, int]
    test: EvalConfig | None
    cells: int
    seeded: int
    seeds: tuple[int, ...]
    longer: int = 10
    random: int = 0
    best: int = 0

    def check(self) -> None:
        """Raise `InputError` where fields do not fit together."""
        self.config.check()
        at_least(0, {f"tasks[{n}]": count for n, count in enumerate(self.tasks)})
        least, iterations = POINTS[0], self.config.meta.iterations
        require(iterations % least == 0, f"meta.iterations must be a multiple of {least}, not {iterations}")
        require(self.tasks[-1] > 0, "tasks must be above 0 at the end of the training")
        require(self.test is None or self.test.part == "test", "a table is tested on test classes")
        require(self.config.seed not in self.seeds, f"seed {self.config.seed} is the first one already")

    @property
    def fingerprint(self) -> str:
        """Of everything that decides an entry's numbers beside its cell, seed and length.

        Settings are named one by one: one that the program gains later, and that leaves results as they are, does not
        make rows of another kind.
        """
        told = {
            "network": _named(self.config, "filters", "repeats", "scale_rate"),
            "data": _named(self.config.data, "name", "image_size", "variant", "seed", "rotations"),
            "inner": _named(self.config.inner, "ways", "shots", "batch", "batch_mode", "steps", "lr", "adam_state")
            + _named(self.config.inner, "beta2", "weight_decay"),
            "meta": _named(self.config.meta, "iterations", "batch", "step_size", "step_size_end", "schedule"),
            "mode": self.config.mode,
            "points": [list(pair) for pair in zip(POINTS, self.tasks, strict=True)],
            "validation": _named(self.config.validation, *_SCORING),
            "test": None if self.test is None else _named(self.test, "tasks", *_SCORING),
        }
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    @property
    def keys(self) -> tuple[str, ...]:
        """The cells of the table, in the order in which they are trained."""
        return order()[: self.cells]

    def config_of(self, seed: int, length: int) -> CandidateConfig:
        """How a cell is trained with this seed, `length` times as long."""
        meta = replace(self.config.meta, iterations=length * self.config.meta.iterations)
        return replace(self.config, seed=seed, meta=meta)

    def jobs(self, part: str, accuracy: Mapping[str, float] | None = None) -> list[Job]:
        """All trainings of a part, in order. accuracy: of the cells that are there, by key, which `best` needs; that
        part has no job before all cells are there. Raises `InputError` for an unknown part."""
        first, keys = self.config.seed, self.keys
        if part == "cells":
            return [(key, first, 1) for key in keys]
        if part == "seeds":
            return [(key, seed, 1) for key in keys[: self.seeded] for seed in self.seeds]
        if part == "random":
            return [(key, first, self.longer) for key in keys[: self.random]]
        if part == "best":
            if accuracy is None or not accuracy.keys() >= set(keys):
                return []
            ranked = sorted(keys, key=lambda key: (-accuracy[key], keys.index(key)))
            return [(key, first, self.longer) for key in ranked[: self.best]]
        raise InputError(f"a table has no part {part!r}; choose from {', '.join(PARTS)}")


_SCORING = ("part", "shots", "queries", "batch", "batch_mode", "steps", "seed")


def _named(config: object, *names: str) -> list:
    return [[name, getattr(config, name)] for name in names]


@cache
def all_cells() -> Mapping[str, BlockCell]:
    """The 55 cells of one block and the 5,115 of two, by key."""
    one = {cell.key: cell for cell in level_one()}
    return one | {made.key: made for cell in one.values() for made in expansions(cell)}


@cache
def order() -> tuple[str, ...]:
    """Their keys in one fixed random order (by SHA-256), so that the first n are a random sample of all."""
    return tuple(sorted(all_cells(), key=lambda key: hashlib.sha256(key.encode()).digest()))


def order_hash(keys: Sequence[str]) -> str:
    """Of keys in their order: numbers of rows mean something for these alone."""
    return hashlib.sha256("\n".join(keys).encode()).hexdigest()


_INNER = InnerConfig(ways=5, shots=10, batch=10, batch_mode="passes", steps=5, lr=5e-3, adam_state="carry")
_META = MetaConfig(iterations=200, batch=5, step_size=1.0, step_size_end=0.0, schedule="linear")

OMNIGLOT = TableSpec(
    name="omniglot-two-blocks",
    config=CandidateConfig(
        filters=10,
        repeats=0,
        scale_rate=1,
        data=DataConfig("omniglot:vinyals", 28, "ink"),
        inner=_INNER,
        meta=replace(_META, iterations=48),
        validation=EvalConfig(tasks=100, shots=1, queries=5, batch=5, steps=5, part="val", seed=1, max_slots=50),
    ),
    tasks=(8, 8, 16, 100),
    test=EvalConfig(tasks=40, shots=1, queries=5, batch=5, steps=5, part="test", seed=1, max_slots=50),
    cells=5170,
    seeded=300,
    seeds=(1, 2),
    random=100,
    best=50,
)
"""All cells of one and two blocks. Written out, not taken from a preset, which may change."""

OMNIGLOT_PRESET = TableSpec(
    name="omniglot-small-preset",
    config=CandidateConfig(
        filters=10,
        repeats=0,
        scale_rate=1,
        data=DataConfig("omniglot:vinyals", 28, "ink"),
        inner=_INNER,
        meta=_META,
        validation=EvalConfig(tasks=150, shots=1, queries=5, batch=5, steps=20, part="val", seed=1, max_slots=20),
    ),
    tasks=(0, 0, 0, 150),
    test=None,
    cells=100,
    seeded=100,
    seeds=(1,),
)
"""100 of them as the preset `omniglot-small` trains its candidates: do the small trainings rank as these do?"""

SPECS = {spec.name: spec for spec in (OMNIGLOT, OMNIGLOT_PRESET)}
DEFAULT = OMNIGLOT.name


def spec_named(name: str) -> TableSpec:
    """Raises `InputError` naming those that exist."""
    if name not in SPECS:
        raise InputError(f"there is no table {name!r}; choose from {', '.join(SPECS)}")
    return SPECS[name]
