"""What a table of cells holds: which cells, in which order, trained how, scored when."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from autometa.algorithms.candidates import CandidateConfig
from autometa.algorithms.config import EvalConfig, at_least, require
from autometa.algorithms.presets import AUTO_META
from autometa.errors import InputError
from autometa.nas.block_space import BlockCell, expansions, level_one
from autometa.runs.files import plain

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
        """Of everything that decides an entry's numbers beside its cell, seed and length."""
        config = replace(
            self.config,
            seed=0,
            meta=replace(self.config.meta, max_slots=None),
            validation=replace(self.config.validation, tasks=0, max_slots=1),
        )
        test = None if self.test is None else replace(self.test, max_slots=1)
        told = {"config": plain(config), "tasks": self.tasks, "test": plain(test), "points": POINTS}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

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


_PRESET = AUTO_META["omniglot-small"].candidate()

OMNIGLOT = TableSpec(
    name="omniglot-two-blocks",
    config=replace(
        _PRESET,
        filters=8,
        data=replace(_PRESET.data, image_size=20),
        validation=replace(_PRESET.validation, steps=10),
    ),
    tasks=(50, 50, 50, 150),
    test=EvalConfig(tasks=150, shots=1, queries=5, batch=5, steps=10, max_slots=40),
    cells=5170,
    seeded=300,
    seeds=(1, 2),
    random=100,
    best=50,
)
"""All cells of one and two blocks."""

OMNIGLOT_PRESET = TableSpec(
    name="omniglot-small-preset",
    config=_PRESET,
    tasks=(0, 0, 0, _PRESET.validation.tasks),
    test=None,
    cells=100,
    seeded=100,
    seeds=(1,),
)
"""100 of them as the preset trains its candidates: do the small trainings rank as these do?"""

SPECS = {spec.name: spec for spec in (OMNIGLOT, OMNIGLOT_PRESET)}
DEFAULT = OMNIGLOT.name


def spec_named(name: str) -> TableSpec:
    """Raises `InputError` naming those that exist."""
    if name not in SPECS:
        raise InputError(f"there is no table {name!r}; choose from {', '.join(SPECS)}")
    return SPECS[name]
