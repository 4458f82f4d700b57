"""Networks by what a person writes: a four-layer net, the path of a genotype file, or `cell:KEY`."""

from __future__ import annotations

from pathlib import Path

from autometa.errors import InputError
from autometa.nas.networks.conv_network import FOUR_LAYER
from autometa.nas.spaces.blocks import PUBLISHED, BlockCell
from autometa.nas.spaces.genotype import Genotype

CELL = "cell:"
"""What the name of a network of one of Auto-Meta's cells begins with; its key follows, or `published`."""


def read_genotype(path: str) -> Genotype:
    """Raises `InputError` where there is no genotype file of that name."""
    if not Path(path).suffix and not Path(path).exists():
        raise InputError(f"unknown network {path!r}; choose {', '.join(FOUR_LAYER)} or a genotype file")
    try:
        return Genotype.load(path)
    except ValueError as error:
        raise InputError(str(error)) from error


def read_cell(network: str) -> BlockCell:
    """The cell that `cell:KEY` names. Raises `InputError` where the key is wrong."""
    key = network.removeprefix(CELL)
    try:
        return PUBLISHED if key == "published" else BlockCell.parse(key)
    except ValueError as error:
        raise InputError(f"network {network!r} names no cell: {error}") from error
