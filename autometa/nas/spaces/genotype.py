"""Genotypes: discrete cells as versioned JSON."""

from __future__ import annotations

import json
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autometa.brief import brief
from autometa.nas.spaces.cells import INPUT_STATES, Cell, discrete_cell
from autometa.ops.primitives import PRIMITIVES

LARGEST, MOST_OPS = 1 << 20, 1000
"""Bytes of a file, operations of a cell."""
FORMAT, VERSION = "autometa-genotype", 1


@brief
@dataclass(frozen=True)
class CellGenotype:
    """Per node its (primitive, state) pairs; `concat` are the states that make up the output."""

    nodes: tuple[tuple[tuple[str, int], ...], ...]
    concat: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.nodes:
            raise ValueError("a cell needs at least one node")
        for i, node in enumerate(self.nodes):
            if not node:
                raise ValueError(f"node {i} has no input; give it at least one [primitive, state]")
            for name, state in node:
                if name not in PRIMITIVES:
                    known = ", ".join(PRIMITIVES)
                    hint = f"known: {known}; --plugin loads a file that registers others"
                    raise ValueError(f"node {i} names the unknown primitive {name!r}; {hint}")
                if not 0 <= state < i + INPUT_STATES:
                    raise ValueError(f"node {i} reads state {state}, but only 0 to {i + 1} come before it")
        states = range(INPUT_STATES, INPUT_STATES + len(self.nodes))
        if not self.concat or any(k not in states for k in self.concat) or len(set(self.concat)) != len(self.concat):
            raise ValueError(f"concat {list(self.concat)} must name different states of {list(states)}")

    @property
    def ops(self) -> int:
        """Operations in the cell."""
        return sum(map(len, self.nodes))

    def cell(self) -> Cell:
        return discrete_cell(self.nodes, self.concat)

    def __str__(self) -> str:
        return "; ".join(" + ".join(f"{name}({state})" for name, state in node) for node in self.nodes)


@brief
@dataclass(frozen=True)
class Genotype:
    """A normal and a reduction cell."""

    normal: CellGenotype
    reduction: CellGenotype

    def to_json(self) -> dict:
        """What a genotype file holds."""
        cells = {k: _cell_to_json(getattr(self, k)) for k in ("normal", "reduction")}
        return {"format": FORMAT, "version": VERSION, **cells}

    @classmethod
    def from_json(cls, value: object) -> Genotype:
        """Raises `ValueError` with one sentence that says what is wrong."""
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise ValueError(f"this is no genotype file: 'format' must be {FORMAT!r}")
        if value.get("version") != VERSION:
            raise ValueError(f"genotype version {value.get('version')!r} is not known; this release reads {VERSION}")
        return cls(_cell_from_json(value, "normal"), _cell_from_json(value, "reduction"))

    @classmethod
    def load(cls, path: str | Path) -> Genotype:
        """Read a file. Raises `ValueError` naming the file and what is wrong with it."""
        try:
            found = Path(path).stat()
            if found.st_size > LARGEST or stat.S_ISFIFO(found.st_mode):
                raise ValueError(f"it is no file, or one of more than {LARGEST:,} bytes")
            return cls.from_json(json.loads(Path(path).read_text(encoding="utf-8")))
        except OSError as error:
            raise ValueError(f"genotype file {path} cannot be read: {error.strerror}") from error
        except RecursionError:
            raise ValueError(f"genotype file {path}: it is nested too deep") from None
        except ValueError as error:
            raise ValueError(f"genotype file {path}: {error}") from error


def most_frequent(found: Sequence[Genotype]) -> tuple[Genotype, int, int]:
    """The commonest normal and the commonest reduction cell, and how often each occurs; ties go to the one that
    sorts first. (Task-dependent genotypes are seldom equal in both cells, so each kind is counted by itself.)"""
    if not found:
        raise ValueError("there are no genotypes to count")
    best = []
    for kind in ("normal", "reduction"):
        counts = Counter(getattr(genotype, kind) for genotype in found)
        best.append(min(counts.items(), key=lambda item: (-item[1], str(item[0]))))
    (normal, often), (reduction, reduction_often) = best
    return Genotype(normal, reduction), often, reduction_often


def _cell_to_json(cell: CellGenotype) -> dict:
    return {"nodes": [[[name, state] for name, state in node] for node in cell.nodes], "concat": list(cell.concat)}


def _cell_from_json(value: dict, kind: str) -> CellGenotype:
    part = value.get(kind)
    if not isinstance(part, dict) or set(part) != {"nodes", "concat"}:
        raise ValueError(f"{kind!r} must hold exactly 'nodes' and 'concat'")
    if not isinstance(part["nodes"], list) or not isinstance(part["concat"], list):
        raise ValueError(f"{kind!r}: nodes are lists of [primitive, state], concat a list of states")
    if sum(len(node) if isinstance(node, list) else 1 for node in part["nodes"]) > MOST_OPS:
        raise ValueError(f"{kind!r} has more than {MOST_OPS} operations")
    try:
        nodes = tuple(tuple((_text(name), _index(state)) for name, state in node) for node in part["nodes"])
        concat = tuple(_index(k) for k in part["concat"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{kind!r}: nodes are lists of [primitive, state], concat a list of states") from error
    try:
        return CellGenotype(nodes, concat)
    except ValueError as error:
        raise ValueError(f"{kind} cell: {error}") from error


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a name")
    return value


def _index(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("not a state number")
    return value
