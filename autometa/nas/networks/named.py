"""Networks by what a person writes: a four-layer net, the path of a genotype file, or `SPACE:KEY`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autometa.errors import InputError
from autometa.nas.networks.conv_network import FOUR_LAYER
from autometa.nas.networks.many_cells import in_stages
from autometa.nas.networks.network import Network
from autometa.nas.networks.one_cell import TrimmedNetwork
from autometa.nas.networks.side_by_side import Macro
from autometa.nas.spaces.blocks import PUBLISHED, PUBLISHED_CONCAT
from autometa.nas.spaces.genotype import Genotype
from autometa.nas.spaces.space import MOST_LEVELS, SPACES, Space

SHORT = {"blocks": "cell"}
"""What stands for a space's name before a key."""
PUBLISHED_CELL = "cell:published"


def read_genotype(path: str) -> Genotype:
    """Raises `InputError` where there is no genotype file of that name."""
    if not Path(path).suffix and not Path(path).exists():
        raise InputError(f"unknown network {path!r}; choose {', '.join(FOUR_LAYER)} or a genotype file")
    try:
        return Genotype.load(path)
    except ValueError as error:
        raise InputError(str(error)) from error


def name_of(space: str, key: str) -> str:
    """The network of an architecture of a space, by both their names: `cell:KEY` for cells of blocks."""
    return f"{SHORT.get(space, space)}:{key}"


def space_of(network: str) -> str | None:
    """The space that `SPACE:KEY` names; None of other networks."""
    head, colon, _ = network.partition(":")
    if not colon:
        return None
    name = next((name for name, short in SHORT.items() if short == head), head)
    return name if name in SPACES else None


def architecture_of(network: str) -> tuple[Space, Any]:
    """The space and architecture that `SPACE:KEY` names. Raises `InputError` where the key is wrong."""
    space = SPACES[space_of(network) or network](MOST_LEVELS)
    try:
        return space, PUBLISHED if network == PUBLISHED_CELL else space.parse(network.partition(":")[2])
    except ValueError as error:
        raise InputError(f"network {network!r} names no cell: {error}") from error


def build_named(network: str, macro: Macro) -> Network:
    """The network that `SPACE:KEY` names. Raises `InputError` where the key is wrong."""
    space, made = architecture_of(network)
    if network == PUBLISHED_CELL:
        return TrimmedNetwork(in_stages(made.cell(PUBLISHED_CONCAT), macro), macro.ways)
    return space.network(made, macro)


def genotype_named(network: str) -> Genotype | None:
    """Its cells; None where it has none."""
    space, made = architecture_of(network)
    if network == PUBLISHED_CELL:
        cell = made.genotype(PUBLISHED_CONCAT)
        return Genotype(cell, cell)
    return space.genotype(made)
