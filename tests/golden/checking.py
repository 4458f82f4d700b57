"""From a file to a verdict: which item it is, what was compared, and how far off it was."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autometa.ops.backend import BackendError, requested
from tests.golden import cell, discrete, meta_gradients, primitive, pruning, supernet, tables, vectors
from tests.golden.fixture import Engine, Fixture, Group, Unit, UsageError
from tests.tolerances import ABSOLUTE, ZERO, array, distance, tolerance

ARCHIVES: tuple[tuple[str, Callable[[Fixture, Engine], list[Unit]]], ...] = (
    (r"primitive_\w+", primitive.primitive_units),
    (r"mixed_op", primitive.mixed_units),
    (r"cell_(normal|reduction)(_after_reduction)?", cell.units),
    (r"supernet_\d+(_plain)?", supernet.units),
    (r"discrete_.+_L\d+", discrete.units),
    (r"soft_pruning", pruning.units),
    (r"reptile", vectors.reptile_units),
    (r"adam", vectors.adam_units),
    (r"meta_gradients_(bn|plain)", meta_gradients.units),
)
TABLES = {"name_map.json": tables.name_map_units, "param_counts.json": tables.param_count_units}


@dataclass(frozen=True)
class Result:
    """What became of one group: `status` is ok, FAILED, not provided or unknown."""

    group: str
    status: str
    text: str
    error: float = 0.0

    @property
    def checked(self) -> bool:
        return self.status in ("ok", "FAILED")


def check_file(path: Path, engine: Engine) -> list[Result]:
    """Recompute and compare everything in a file. Raises `UsageError` where it cannot be checked."""
    units, unknown = units_of(path, engine)
    results = []
    for unit in units:
        results += _check_unit(unit, engine)
    return results + [
        Result(key, "unknown", "the README of the fixtures does not describe this array") for key in unknown
    ]


def units_of(path: Path, engine: Engine) -> tuple[list[Unit], list[str]]:
    """What a file, recognised by its name, consists of, and arrays in it that no unit reads."""
    if path.name in TABLES:
        return TABLES[path.name](path), []
    if _builder(path.name) is None:
        raise UsageError(f"{path}: no fixture has this name; see the README of the fixtures for the names that exist")
    return units_of_fixture(Fixture(path), engine)


def _builder(name: str) -> Callable[[Fixture, Engine], list[Unit]] | None:
    return next((build for pattern, build in ARCHIVES if re.fullmatch(pattern + r"\.npz", name)), None)


def units_of_fixture(fixture: Fixture, engine: Engine) -> tuple[list[Unit], list[str]]:
    """The same for an archive in memory."""
    try:
        units = _builder(fixture.path.name)(fixture, engine)
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise UsageError(f"{fixture.path}: its arrays do not fit together ({error!r})") from None
    return units, fixture.unread()


def _check_unit(unit: Unit, engine: Engine) -> list[Result]:
    def everywhere(status: str, text: str, error: float = 0.0) -> list[Result]:
        return [Result(f"{unit.name}: {group.name}", status, text, error) for group in unit.groups]

    if unit.only_reference and engine.backend not in (None, "reference"):
        return everywhere("not provided", f"not provided by {engine.backend}: {unit.only_reference}")
    try:
        with engine.forced():
            found = unit.compute()
    except BackendError as error:
        return everywhere("not provided", f"not provided by {requested(engine.backend)}: {error}")
    except (RuntimeError, ValueError, LookupError) as error:
        return everywhere("FAILED", f"cannot be computed: {str(error).partition(chr(10))[0]}", float("inf"))
    return [judge(unit.name, group, group.expected, found, engine) for group in unit.groups]


def judge(unit: str, group: Group, expected: Mapping, found: Mapping, engine: Engine) -> Result:
    bound, absolute = tolerance(engine.dtype, group.depth), ABSOLUTE[engine.dtype]
    largest, vanishing, first_bad = 0.0, None, None
    for key, value in expected.items():
        gap, scale = distance(array(found[key]), np.asarray(value))
        if key in group.zero or scale < ZERO:
            vanishing = max(vanishing or 0.0, gap)
            good = gap <= absolute
        else:
            largest = max(largest, gap / scale)
            good = gap / scale <= bound
        if not good and first_bad is None:
            first_bad = key
    status = "ok" if first_bad is None else "FAILED"
    text = f"{len(expected)} arrays, largest relative error {largest:.1e} (bound {bound:.1e})"
    if vanishing is not None:
        text += f", zeros up to {vanishing:.1e} (bound {absolute:.0e})"
    if first_bad is not None:
        text += f", first at {first_bad}"
    return Result(f"{unit}: {group.name}", status, text, largest)


def report(path: Path, results: Sequence[Result]) -> list[str]:
    """Printed lines of one file."""
    checked = [r for r in results if r.checked]
    failed = [r for r in checked if r.status == "FAILED"]
    largest = max((r.error for r in checked), default=0.0)
    lines = [f"  {r.status:<13}{r.group:<42} {r.text}" for r in results]
    verdict = (
        f"{path.name}: {len(checked)} groups checked, {len(failed)} failed, {len(results) - len(checked)} not checked"
    )
    return [f"{verdict}, largest relative error {largest:.1e}", *lines]
