"""A complete table of all 5,170 cells, made up: a smooth function of ops and paths, and noise."""

from __future__ import annotations

from functools import cache

import numpy as np

from autometa.algorithms.table.costs import FEATURES
from autometa.algorithms.table.packed import Packed
from autometa.algorithms.table.spec import OMNIGLOT, POINTS, TableSpec, all_cells
from autometa.algorithms.table.tables import Table
from autometa.algorithms.table.training import Measured
from autometa.nas.spaces.blocks import LETTERS

NOISE = 0.6
"""Standard deviation of an accuracy over seeds, in points."""
GAIN = np.array([3.0, 2.0, 0.6, -0.8, 0.4])
"""Points that an op brings, in the order of `OPS`; it brings the less the more of it there is."""


@cache
def truth() -> dict[str, float]:
    """Accuracies without noise, in percent, by cell."""
    found = {}
    for key, cell in all_cells().items():
        ops = np.array([key.count(letter) for letter in LETTERS])
        found[key] = float(78 + np.sqrt(ops) @ GAIN + 0.8 * cell.depth + 0.5 * len(cell.unused))
    return found


@cache
def made_table(spec: TableSpec = OMNIGLOT, cells: int | None = None) -> Table:
    """The table of the first cells of the order, all where None."""
    rng, rows = np.random.default_rng(0), []
    keys = spec.keys[:cells]
    jobs = [(key, 0) for key in keys] + [(key, seed) for key in keys[: spec.seeded] for seed in spec.seeds]
    for key, seed in jobs:
        value, counts = truth()[key], [key.count(letter) for letter in LETTERS]
        curve = [value - 4 * np.log2(p) + rng.normal(0, NOISE * (1 if p == 1 else 2)) for p in POINTS]
        answers = [round(25 * tasks * min(y, 99.9) / 100) for tasks, y in zip(spec.tasks, curve, strict=True)]
        losses = [(110 - value) * 10 / p + rng.normal(0, 1) for p in POINTS]
        tested = round(3750 * (value - 2 + rng.normal(0, NOISE)) / 100)
        sizes = (3000 + 1800 * counts[0] + 900 * counts[1], 90_000 + 50_000 * counts[0] + 30_000 * counts[1])
        how = (key, seed, 1, tuple(answers), tuple(losses), 0.5, tested, 0.5)
        rows.append(Measured(*how, *sizes, 1.0))
    each = [0.01, 1e-4, *[1e-3] * 5, *[1e-3] * 5]
    costs = {"iteration": each, "task": each, "error": 0.05, "timed": len(FEATURES), "machine": {}}
    return Table(spec, Packed(tuple(rows), (0,) * len(rows), ({},), costs, ""))
