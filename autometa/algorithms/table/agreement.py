"""How well one training of a cell ranks cells as another does: the noise, and what a smaller setting costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autometa.algorithms.table import packed
from autometa.algorithms.table.spec import OMNIGLOT_PRESET, TableSpec
from autometa.algorithms.table.training import NOT_SCORED, Measured
from autometa.search.summary import correlations

LEAST = 10
"""Cells below which a rank correlation says nothing."""

Accuracies = Mapping[str, int]


def at_the_end(rows: Sequence[Measured], seed: int, length: int = 1) -> dict[str, int]:
    """Right validation answers by cell, of those that came through."""
    return {
        row.key: row.right[-1]
        for row in rows
        if (row.seed, row.length) == (seed, length) and row.right[-1] != NOT_SCORED
    }


def agreement(spec: TableSpec, rows: Sequence[Measured]) -> dict[str, dict]:
    """Rank correlations by what they are of: the first seed with every further one, an ordinary training with a longer
    one of the randomly chosen cells, and both tables' trainings where the package has those of the preset."""
    first = at_the_end(rows, spec.config.seed)
    pairs = {f"seed {spec.config.seed} with seed {seed}": (first, at_the_end(rows, seed)) for seed in spec.seeds}
    if spec.random:
        longer = at_the_end(rows, spec.config.seed, spec.longer)
        some = {key: longer[key] for key in spec.keys[: spec.random] if key in longer}
        pairs[f"this training with {spec.longer} times as long a one"] = (first, some)
    path = packed.path_of(OMNIGLOT_PRESET.name)
    if spec is not OMNIGLOT_PRESET and spec.config.data.name == OMNIGLOT_PRESET.config.data.name and path.is_file():
        preset = packed.read(path, OMNIGLOT_PRESET).rows
        for seed in (OMNIGLOT_PRESET.config.seed, *OMNIGLOT_PRESET.seeds):
            pairs[f"this training with the preset's, seed {seed}"] = (first, at_the_end(preset, seed))
    found = {name: compared(*pair) for name, pair in pairs.items()}
    return {name: value for name, value in found.items() if value is not None}


def compared(a: Accuracies, b: Accuracies) -> dict | None:
    """On the cells that both have; None where these are too few."""
    both = [key for key in a if key in b]
    if len(both) < LEAST:
        return None
    return correlations([a[key] for key in both], [b[key] for key in both])
