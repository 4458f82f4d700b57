"""Searches of a table: any strategy against what the cells' trainings gave, without training any."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from autometa.algorithms.auto_meta import AutoMetaConfig, MacroConfig
from autometa.algorithms.table.costs import features
from autometa.algorithms.table.spec import POINTS, all_cells
from autometa.algorithms.table.tables import Table, TabledCell
from autometa.errors import InputError
from autometa.nas.one_shot.size_limits import Limits
from autometa.nas.spaces.block_space import BlockSpace
from autometa.nas.spaces.blocks import BlockCell
from autometa.nas.spaces.finite import FiniteSpace
from autometa.nas.spaces.space import Architecture
from autometa.nas.strategies.strategy import SearchSpec, Strategy, Trial
from autometa.search.simulated import Curve, simulate, steps

BLOCKS = 2
CANDIDATES = 175
"""The 55 cells of one block and 120 others, of 5,170."""


@dataclass(frozen=True)
class TabledSpace:
    """Cells of a table as a space to search: all that are there, or some of them by key."""

    table: Table
    some: Collection[str] | None = None

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """In the table's random order."""
        return self.table.keys if self.some is None else tuple(key for key in self.table.keys if key in self.some)

    @cached_property
    def space(self) -> FiniteSpace:
        return FiniteSpace(BlockSpace(BLOCKS), all_cells(), self.keys)

    @cached_property
    def cells(self) -> Mapping[str, TabledCell]:
        return {key: self.table.query(key) for key in self.keys}

    @cached_property
    def best(self) -> TabledCell:
        """Of the highest validation accuracy, which strategies look for."""
        return max(self.scored, key=lambda cell: (cell.accuracy, -cell.parameters))

    @cached_property
    def best_test(self) -> float:
        """The highest test accuracy."""
        return max(cell.test for cell in self.scored)

    @cached_property
    def scored(self) -> tuple[TabledCell, ...]:
        """The cells that came through. Raises `InputError` where there are none."""
        found = tuple(cell for cell in self.cells.values() if not math.isnan(cell.accuracy))
        if not found:
            raise InputError(f"{self.table.spec.name} holds no cell to search yet; autometa table build trains them")
        return found

    def __contains__(self, cell: BlockCell) -> bool:
        return cell.key in self.cells

    @cached_property
    def _curves(self) -> dict[str, Curve]:
        return {}

    def curve(self, key: str) -> Curve:
        """A cell's training; seconds are NaN before the table has a cost model."""
        if key not in self._curves:
            self._curves[key] = self._curve(self.cells[key])
        return self._curves[key]

    def _curve(self, cell: TabledCell) -> Curve:
        spec = self.table.spec
        at = tuple(spec.config.meta.iterations // p for p in POINTS)
        training = scoring = (math.nan,) * len(at)
        if (model := self.table.costs) is not None:
            size = spec.config.data.image_size
            found = features(cell.key, spec.config.macro((1, size, size)))
            training = tuple(model.seconds(found, iterations, 0) for iterations in at)
            scoring = tuple(model.seconds(found, 0, tasks) for tasks in spec.tasks)
        return Curve(at, cell.validation, training, scoring, cell.parameters, cell.macs, cell.first.failure)

    def config(self) -> AutoMetaConfig:
        """The search that this table answers, with the settings of its trainings and `CANDIDATES` candidates."""
        own = self.table.spec.config
        return AutoMetaConfig(
            blocks=BLOCKS,
            beam=CANDIDATES - BlockSpace(BLOCKS).count(1),
            macro=MacroConfig(own.filters, own.repeats, own.scale_rate),
            data=own.data,
            inner=own.inner,
            meta=own.meta,
            validation=own.validation,
            final_inner=own.inner,
            final_meta=own.meta,
        )

    def spec(self, config: AutoMetaConfig) -> SearchSpec:
        """Raises `InputError` where another space is to be searched."""
        if config.space != type(config).space:
            raise InputError(f"a table holds cells of blocks, none of the space {config.space}; leave --space out")
        limits = Limits(config.max_params, config.max_macs)

        def fits(cell: Architecture) -> bool:
            known = self.cells.get(cell.key)
            return known is not None and (not limits or limits.hold((known.parameters, known.macs)))

        return config.spec(fits, space=self.space, measure=self.measure)

    def measure(self, what: str, cells: Sequence[BlockCell]) -> np.ndarray:
        """What predictors may need of cells (`Measure`)."""
        return self._measured[what][[self._place[cell.key] for cell in cells]].reshape(len(cells), -1)

    @cached_property
    def _place(self) -> dict[str, int]:
        return {key: n for n, key in enumerate(self.keys)}

    @cached_property
    def _measured(self) -> dict[str, np.ndarray]:
        own = [self.cells[key] for key in self.keys]
        sizes, early = [(c.parameters, c.macs) for c in own], [(c.losses[0], c.validation[0]) for c in own]
        return {"sizes": np.array(sizes, dtype=np.float64), "early": np.array(early, dtype=np.float64)}

    def run(self, strategy: Strategy, spec: SearchSpec) -> list[Trial]:
        """The history of a search."""
        return simulate(strategy, spec, self.curve)


def search_table(tabled: TabledSpace, config: AutoMetaConfig) -> dict[str, Any]:
    """A search of the cells that are there: what it hands out, and how far from the best of them that is.

    Raises `InputError` where the strategy found nothing to begin with among them.
    """
    spec = tabled.spec(config)
    history = tabled.run(config.strategy, spec)
    way = steps(history, spec.iterations)
    if not way:
        raise InputError(
            f"{config.strategy.name} finds nothing to begin with among the {len(tabled.keys):,} cells that "
            f"{tabled.table.spec.name} holds yet; autometa table build trains the rest"
        )
    chosen = tabled.cells[way[-1].key]
    return {
        "table": tabled.table.spec.name,
        "cells": len(tabled.keys),
        "of": tabled.table.spec.cells,
        "strategy": config.strategy.name,
        "seed": config.seed,
        "trials": len(history),
        "failed": sum(not trial.scored for trial in history),
        "trainings": way[-1].trainings,
        "seconds": way[-1].seconds,
        "cell": told(chosen),
        "rank": 1 + sum(cell.accuracy > chosen.accuracy for cell in tabled.scored),
        "regret": tabled.best.accuracy - chosen.accuracy,
        "test_regret": tabled.best_test - chosen.test,
        "best": told(tabled.best),
        "history": [_row(trial) for trial in history],
    }


def told(cell: TabledCell) -> dict[str, Any]:
    """What is told of a cell; `seeds`: mean validation accuracy over all its seeds, None where it has one alone."""
    return {
        "key": cell.key,
        "validation": cell.accuracy,
        "test": cell.test,
        "seeds": mean_of_seeds(cell),
        "parameters": cell.parameters,
        "macs": cell.macs,
    }


def mean_of_seeds(cell: TabledCell) -> float | None:
    """Mean validation accuracy over a cell's seeds, None where it has one alone."""
    values = [training.validation[-1] for training in cell.seeds.values()]
    return sum(values) / len(values) if len(values) > 1 else None


def _row(trial: Trial) -> dict[str, Any]:
    names = ("round", "key", "state", "accuracy", "mean", "seconds")
    return {name: getattr(trial, name) for name in names} | {"reports": {str(k): v for k, v in trial.reports.items()}}


CHOICES = ("strategy", "beam", "batch", "surrogate", "uncertainty_weight", "seed", "max_params", "max_macs")
"""Settings of a search that a table leaves open; the others say how its cells were trained."""


def check_choices(changed: Sequence[str]) -> None:
    """Raise `InputError` where a setting was changed that the table has decided."""
    for name in changed:
        if name.partition(".")[0] not in CHOICES:
            raise InputError(f"the cells of a table are trained already: --{name} cannot be chosen with --table")
