"""Initialisation of a row from Philox, so that it is the same on every machine and version."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from autometa.ops.philox import INIT, philox_uint32
from autometa.slots.layout import Entry, Init, Layout


def initial_row(layout: Layout, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """A row `[row]` by each entry's rule; entry number i draws from item i of stream `init`."""
    row = torch.zeros(layout.row, dtype=dtype, device="cpu")
    for i, entry in enumerate(layout.entries):
        row[entry.offset : entry.offset + entry.size] = torch.from_numpy(_values(entry, i, seed)).to(dtype)
    return row


def _values(entry: Entry, item: int, seed: int) -> np.ndarray:
    if entry.init.rule == "constant":
        return np.full(entry.size, entry.init.value)
    if entry.init.rule == "uniform":
        return (2.0 * _uniform(seed, item, np.arange(entry.size)) - 1.0) * entry.init.value
    if entry.init.rule == "normal":
        draws = np.arange(entry.size) * 2
        radius = np.sqrt(-2.0 * np.log(_uniform(seed, item, draws)))
        return entry.init.value * radius * np.cos(2.0 * math.pi * _uniform(seed, item, draws + 1))
    raise ValueError(f"unknown initialisation {entry.init.rule!r}")


def _uniform(seed: int, item: int, draws: np.ndarray) -> np.ndarray:
    """Uniform in (0, 1), never 0."""
    return (philox_uint32(seed, INIT, item, draws).astype(np.float64) + 0.5) / 2.0**32


def glorot(fan_in: int, fan_out: int) -> Init:
    """Glorot uniform (Glorot and Bengio 2010)."""
    return Init("uniform", math.sqrt(6.0 / (fan_in + fan_out)))


def fan_in_uniform(fan_in: int) -> Init:
    """Uniform in +-1/sqrt(fan_in), PyTorch's default for convolutions and linear layers."""
    return Init("uniform", 1.0 / math.sqrt(fan_in))


def convolution_init(shape: tuple[int, ...], rule: str) -> Init:
    """`glorot` or `fan_in` for a weight `[C_out, C_in, kh, kw]` or `[C_out, C_in]`."""
    receptive = math.prod(shape[2:])
    if rule == "glorot":
        return glorot(shape[1] * receptive, shape[0] * receptive)
    if rule == "fan_in":
        return fan_in_uniform(shape[1] * receptive)
    raise ValueError(f"unknown initialisation rule {rule!r}; choose glorot or fan_in")


ZEROS = Init("constant", 0.0)
ONES = Init("constant", 1.0)
