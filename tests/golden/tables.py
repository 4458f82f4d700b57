"""The JSON tables of items 4 and 5: parameter names taken apart, and parameter counts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from autometa.nas.networks.discrete import DiscreteNetwork
from autometa.nas.one_shot.network import OneShotNetwork
from autometa.nas.spaces.cells import METANAS_PRIMITIVES
from autometa.nas.spaces.genotype import CellGenotype, Genotype
from tests.golden.discrete import genotype_in
from tests.golden.fixture import NO_OPS, Fixture, Group, Unit, UsageError, load_table
from tests.golden.genotypes import CONCAT, GENOTYPES, IMAGE_SIZE, NODES
from tests.golden.names import logit_names, network_parameters


def name_map_units(path: Path) -> list[Unit]:
    """One unit per file of items 4 and 5 that the table describes."""
    found = []
    for name, entries in load_table(path).items():
        try:
            describe = _discrete_entries if name.startswith("discrete_") else _search_entries
            if not name.startswith(("discrete_", "supernet_")):
                raise UsageError(f"{path}: {name!r} is no file of items 4 or 5")
            ours = describe(name, entries)
        except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
            raise UsageError(f"{path}: the rows of {name!r} are not of the known form ({error!r})") from None
        found.append(_rows_unit(name, entries, ours))
    return found


def _rows_unit(name: str, stored: list[dict], ours: list[dict]) -> Unit:
    def rows(entries: list[dict]) -> np.ndarray:
        return np.array([json.dumps(entry, sort_keys=True) for entry in entries], dtype=str)

    group = Group(f"{len(stored)} rows", {"rows": rows(stored)}, "exact")
    return Unit(name, lambda: {"rows": rows(ours)}, (group,), NO_OPS)


def _dimensions(entries: list[dict]) -> dict:
    shapes = {entry["name"].removeprefix("net."): entry["shape"] for entry in entries}
    cells = 1 + max(entry["cell"] for entry in entries if "cell" in entry)
    reductions = sorted({entry["cell"] for entry in entries if entry.get("stride") == 2})
    return {
        "channels": shapes["stem.0.weight"][0] // 3,
        "ways": shapes["linear.bias"][0],
        "image_shape": (shapes["stem.0.weight"][1], *IMAGE_SIZE),
        "cells": cells,
        "reductions": tuple(reductions),
    }


def _search_entries(name: str, entries: list[dict]) -> list[dict]:
    network = OneShotNetwork(**_dimensions(entries), pairwise=not name.endswith("_plain"))
    parameters = [*logit_names(network), *network_parameters(network.network, search=True)]
    return [p.entry() for p in parameters]


def _discrete_entries(name: str, entries: list[dict]) -> list[dict]:
    dimensions = _dimensions(entries)
    genotype = GENOTYPES.get(name.removeprefix("discrete_").rsplit("_L", 1)[0])
    if genotype is None:
        genotype = _genotype_of(entries, dimensions["reductions"])
    network = DiscreteNetwork(genotype, **dimensions)
    return [p.entry() for p in network_parameters(network.network, search=False)]


def _genotype_of(entries: list[dict], reductions: tuple[int, ...]) -> Genotype:
    """From the rows alone: an edge without parameters is an identity, and its input does not show in the names."""
    cells = {}
    for kind in (False, True):
        nodes = [[("skip_connect", 2 if kind and i else 0)] * 2 for i in range(NODES)]
        for entry in entries:
            if "edge" in entry and (entry["cell"] in reductions) == kind:
                nodes[entry["node"]][entry["edge"]] = (entry["primitive"], entry["input"])
        cells[kind] = CellGenotype(tuple(map(tuple, nodes)), CONCAT)
    return Genotype(cells[False], cells[True])


def param_count_units(path: Path) -> list[Unit]:
    """One unit for the search networks and one for the discrete ones."""
    table = load_table(path)
    unknown = set(table) - {"note", "search", "discrete"}
    if unknown:
        raise UsageError(f"{path}: {sorted(unknown)[0]!r} is not known; it holds 'search', 'discrete' and a note")
    try:
        return [
            _counts_unit("search", table["search"], _search_counts),
            _counts_unit("discrete", table["discrete"], lambda entry: _discrete_counts(path, entry)),
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path}: a setting is not of the known form ({error!r})") from None


def _counts_unit(name: str, entries: list[dict], count: Callable[[dict], dict]) -> Unit:
    ours = [count(entry) for entry in entries]
    expected = {
        f"{i}": np.array([entry[key] for key in found])
        for i, (entry, found) in enumerate(zip(entries, ours, strict=True))
    }
    values = {f"{i}": np.array(list(found.values())) for i, found in enumerate(ours)}
    return Unit(name, lambda: values, (Group(f"{len(entries)} settings", expected, "exact"),), NO_OPS)


def _setting(entry: dict) -> dict:
    return {
        "channels": entry["init_channels"],
        "ways": entry["n_classes"],
        "image_shape": tuple(entry["input"]),
        "cells": entry["n_layers"],
        "reductions": tuple(entry["reduction_layers"]),
    }


def _search_counts(entry: dict) -> dict[str, int]:
    network = OneShotNetwork(**_setting(entry), primitives=METANAS_PRIMITIVES)
    by_name = {e.name: e.size for e in network.layout.entries}
    sums = {s: sum(n for name, n in by_name.items() if name.startswith(f"{s}.")) for s in ("alpha", "pair")}
    return {"weights": network.layout.count(), "op_logits": sums["alpha"], "pair_logits": sums["pair"]}


def _discrete_counts(path: Path, entry: dict) -> dict[str, int]:
    genotype = GENOTYPES.get(entry["genotype"]) or _beside(path, entry["genotype"])
    return {"weights": DiscreteNetwork(genotype, **_setting(entry)).layout.count()}


def _beside(path: Path, name: str) -> Genotype:
    """A genotype that only a file of item 5 in the same folder tells."""
    for file in sorted(path.parent.glob(f"discrete_{name}_L*.npz")):
        return genotype_in(Fixture(file))
    raise UsageError(
        f"{path}: the genotype {name!r} is not known, and no discrete_{name}_L*.npz stands beside the table"
    )
