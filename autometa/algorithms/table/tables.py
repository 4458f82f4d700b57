"""Tables of cells by name: what a cell's training gave, without training it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from autometa.algorithms.table import packed
from autometa.algorithms.table.costs import features
from autometa.algorithms.table.packed import Packed
from autometa.algorithms.table.spec import DEFAULT, POINTS, Job, TableSpec, all_cells, spec_named
from autometa.algorithms.table.training import NOT_SCORED, Measured
from autometa.errors import InputError
from autometa.nas.spaces.blocks import BlockCell
from autometa.train.cost import CostModel


class NotTabled(InputError, KeyError):
    """A cell of the table's space that has not been trained yet."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class Training:
    """One training of a cell. Accuracies in percent, by support statistics; NaN where it failed, or was not scored.

    validation: at an eighth, a quarter, a half and the whole of the training, the early ones on fewer tasks; losses:
    training loss (nats) summed over meta-iterations and inner steps up to there, mean over the tasks of a meta-batch;
    interval, test_interval: half widths of the 95% intervals over tasks at the end; test: on test classes at the end,
    for judging what was chosen, never for choosing; length: a multiple of the table's training.
    """

    seed: int
    length: int
    validation: tuple[float, ...]
    losses: tuple[float, ...]
    interval: float
    test: float
    test_interval: float
    failure: str | None = None


@dataclass(frozen=True)
class TabledCell:
    """What a table knows of a cell.

    The first seed's training (`first`) is the one that all cells have. seeds: every training of ordinary length by
    seed; longer: one of several times that length, None where the cell has none. seconds: of one processor for the
    training up to each of the four points and the scoring there, by the cost model; NaN before it is fitted.
    """

    key: str
    first: Training
    seeds: Mapping[int, Training]
    longer: Training | None
    parameters: int
    macs: int
    seconds: tuple[float, ...]

    @property
    def validation(self) -> tuple[float, ...]:
        return self.first.validation

    @property
    def losses(self) -> tuple[float, ...]:
        return self.first.losses

    @property
    def accuracy(self) -> float:
        """On validation classes at the end, in percent: what a strategy may see."""
        return self.first.validation[-1]

    @property
    def test(self) -> float:
        return self.first.test


@dataclass(frozen=True)
class Table:
    """A table, complete or not: `len` says how many cells it has, `complete` whether that is all."""

    spec: TableSpec
    kept: Packed
    _rows: Mapping[Job, Measured] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_rows", {(row.key, row.seed, row.length): row for row in self.kept.rows})

    @classmethod
    def open(cls, name: str = DEFAULT, path: Path | None = None) -> Table:
        """By name, from the package or from another packed file. Raises `InputError`: unknown, missing, damaged."""
        spec = spec_named(name)
        return cls(spec, packed.read(path or packed.path_of(name), spec))

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The cells that are there, in the table's random order: the first n of them are a random sample."""
        return tuple(key for key in self.spec.keys if (key, self.spec.config.seed, 1) in self._rows)

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys)

    def __contains__(self, cell: object) -> bool:
        key = cell.key if isinstance(cell, BlockCell) else cell
        return (key, self.spec.config.seed, 1) in self._rows

    @property
    def complete(self) -> bool:
        return len(self) == self.spec.cells

    @cached_property
    def costs(self) -> CostModel | None:
        return None if self.kept.costs is None else CostModel(**self.kept.costs)

    def query(self, cell: BlockCell | str) -> TabledCell:
        """What is known of a cell, or of its key however its blocks are ordered.

        Raises `NotTabled` where it is not trained yet, `InputError` where the table never will have it.
        """
        key = (BlockCell.parse(cell) if isinstance(cell, str) else cell).key
        if key not in all_cells():
            raise InputError(f"{self.spec.name} holds cells of one and two blocks; {key} is none")
        if key not in self:
            there = f"{len(self):,} of {self.spec.cells:,} cells are"
            raise NotTabled(f"{key} is not in {self.spec.name} yet, {there}; autometa table build goes on with it")
        own = self._own(key)
        first = own[self.spec.config.seed, 1]
        longer = own.get((self.spec.config.seed, self.spec.longer))
        return TabledCell(
            key,
            self._training(first),
            {seed: self._training(row) for (seed, length), row in sorted(own.items()) if length == 1},
            None if longer is None else self._training(longer),
            first.parameters,
            first.macs,
            self._seconds(key),
        )

    def _own(self, key: str) -> dict[tuple[int, int], Measured]:
        """A cell's trainings by seed and length."""
        seeds = (self.spec.config.seed, *self.spec.seeds)
        asked = [*((seed, 1) for seed in seeds), (seeds[0], self.spec.longer)]
        found = {how: self._rows.get((key, *how)) for how in asked}
        return {how: row for how, row in found.items() if row is not None}

    def _training(self, row: Measured) -> Training:
        config, test = self.spec.config, self.spec.test
        each = config.inner.ways * config.validation.queries
        validation = tuple(_percent(r, each * tasks) for r, tasks in zip(row.right, self.spec.tasks, strict=True))
        tested = math.nan if test is None else _percent(row.test_right, config.inner.ways * test.queries * test.tasks)
        how = (row.seed, row.length)
        return Training(*how, validation, row.losses, row.interval, tested, row.test_interval, row.failure)

    def _seconds(self, key: str) -> tuple[float, ...]:
        if self.costs is None:
            return (math.nan,) * len(POINTS)
        size, data = self.spec.config.data.image_size, self.spec.config
        found = features(key, data.macro((1, size, size)))
        pairs = zip(POINTS, self.spec.tasks, strict=True)
        return tuple(self.costs.seconds(found, data.meta.iterations // p, tasks) for p, tasks in pairs)

    def csv_lines(self) -> Iterator[str]:
        """A line of comma-separated values for each training, in the table's order, below one of names; `machine` is
        a place in `kept.machines`."""
        points = [f"1/{p}" if p > 1 else "end" for p in POINTS]
        names = [f"{what} at {p}" for what in ("validation", "summed loss") for p in points]
        ends = ["validation interval", "test", "test interval", "parameters", "macs", "seconds", "machine", "failure"]
        yield ",".join(["cell", "seed", "length", *names, *ends])
        for row, machine in zip(self.kept.rows, self.kept.machine, strict=True):
            t = self._training(row)
            numbers = (*t.validation, *t.losses, t.interval, t.test, t.test_interval)
            told = ["" if math.isnan(x) else f"{x:.7g}" for x in numbers]
            failure = (row.failure or "").replace(",", ";")
            sizes = [row.parameters, row.macs, f"{row.seconds:.3f}", machine, failure]
            yield ",".join(map(str, [row.key, row.seed, row.length, *told, *sizes]))


def _percent(right: int, answers: int) -> float:
    return math.nan if right == NOT_SCORED or not answers else 100 * right / answers
