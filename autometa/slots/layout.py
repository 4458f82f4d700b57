"""Layouts: where each parameter of a network stands in a row of the arena.

Offsets are multiples of 16 elements, in the order in which a forward pass reads them.  A row is
``[body | head | architecture]``, the first two together its weights; gaps between entries are 0 and stay 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from autometa.brief import brief
from autometa.errors import InputError
from autometa.ops.primitives import aligned
from autometa.ops.split_columns import split_columns

MOST_COLUMNS = 1 << 31
"""8 GiB of float32."""
BODY, HEAD, ARCHITECTURE = 0, 1, 2
KINDS = ("body", "head", "architecture")
"""Of columns, in their order in a row: the head is the last layer of a network."""
NORMS = ("bn_gamma", "bn_beta")
"""What names of weights and biases of batch normalisations end with."""


@dataclass(frozen=True)
class Init:
    """How an entry starts: `constant`, `normal` (std = value), or `uniform` in +-value."""

    rule: str
    value: float = 0.0


@dataclass(frozen=True)
class Entry:
    """One parameter: its name, first column, shape (without the slot axis), kind and initialisation."""

    name: str
    offset: int
    shape: tuple[int, ...]
    kind: int
    init: Init

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Block:
    """Columns that one op reads: `[start, stop)`."""

    name: str
    start: int
    stop: int


@brief
@dataclass(frozen=True)
class Layout:
    """Immutable table of entries and blocks; `bounds` are the column boundaries of the kinds."""

    entries: tuple[Entry, ...]
    blocks: tuple[Block, ...]
    bounds: tuple[int, ...]

    @property
    def row(self) -> int:
        """Columns of a row."""
        return self.bounds[-1]

    @cached_property
    def by_name(self) -> dict[str, Entry]:
        return {e.name: e for e in self.entries}

    @property
    def weights(self) -> int:
        """Columns before the architecture's."""
        return self.bounds[ARCHITECTURE]

    def count(self, *kinds: int) -> int:
        """Number of scalar parameters of some kinds, of weights where none is named; gaps not counted."""
        return sum(e.size for e in self.entries if e.kind in (kinds or (BODY, HEAD)))

    def columns(self, *names: str) -> Tensor:
        """bool `[row]`: the columns of entries with one of these names, or that begin with one of them and a dot.

        Raises `ValueError` where a name fits no entry.
        """
        chosen = torch.zeros(self.row, dtype=torch.bool, device="cpu")
        for name in names:
            fitting = [e for e in self.entries if e.name == name or e.name.startswith(f"{name}.")]
            if not fitting:
                raise ValueError(f"no parameter is called {name!r} or begins with '{name}.'")
            for e in fitting:
                chosen[e.offset : e.offset + e.size] = True
        return chosen

    def split(self, phi: Tensor) -> dict[str, Tensor]:
        """`[S, row]` -> block name -> `[S, columns]`, whose gradients are joined in one pass."""
        widths = [b.stop - b.start for b in self.blocks]
        rest = phi.shape[1] - sum(widths)
        parts = split_columns(phi, [*widths, rest] if rest else widths)
        return {b.name: part for b, part in zip(self.blocks, parts, strict=False)}

    def spread(self, widths: Mapping[str, int]) -> Layout:
        """The same entries with these blocks in this order, each as wide as said and empty where this layout has none:
        so that one split serves several layouts.  For layouts of weights alone."""
        starts, column = {}, 0
        for name, width in widths.items():
            starts[name] = column
            column += aligned(width)
        moved = []
        for block in self.blocks:
            own = (e for e in self.entries if block.start <= e.offset < block.stop)
            moved += [replace(e, offset=starts[block.name] + e.offset - block.start) for e in own]
        blocks = tuple(Block(name, start, start + aligned(widths[name])) for name, start in starts.items())
        head = next((e.offset for e in moved if e.kind == HEAD), column)
        return Layout(tuple(moved), blocks, (0, head, column, column))

    def within(self, part: Tensor, block: str, name: str) -> Tensor:
        """One entry of a block that `split` gave, `[S, columns]` -> `[S, *shape]`."""
        e, (start,) = self.by_name[name], (b.start for b in self.blocks if b.name == block)
        return part[:, e.offset - start : e.offset - start + e.size].reshape(-1, *e.shape)

    def view(self, phi: Tensor, name: str) -> Tensor:
        """One entry of all rows: `[S, *shape]`, sharing memory where `phi` is contiguous."""
        e = self.by_name[name]
        return phi[:, e.offset : e.offset + e.size].view(-1, *e.shape)

    def unpack(self, row: Tensor) -> dict[str, Tensor]:
        """`[row]` -> name -> tensor of the entry's shape (views)."""
        return {e.name: row[e.offset : e.offset + e.size].view(e.shape) for e in self.entries}

    def pack(self, values: Mapping[str, Tensor], dtype: torch.dtype = torch.float32) -> Tensor:
        """name -> tensor for every entry; returns `[row]`.  Raises `ValueError` on a missing name or a wrong shape."""
        row = torch.zeros(self.row, dtype=dtype, device="cpu")
        for e in self.entries:
            if e.name not in values:
                raise ValueError(f"parameter {e.name!r} is missing")
            if tuple(values[e.name].shape) != e.shape:
                raise ValueError(f"parameter {e.name!r} must be {e.shape}, not {tuple(values[e.name].shape)}")
            row[e.offset : e.offset + e.size] = values[e.name].reshape(-1).to(dtype)
        return row


def head_columns(layouts: Sequence[Layout], row: int) -> Tensor:
    """Columns of the last layers: int64 `[layouts, ways, F + 1]`, of each class its weights, then its bias; F is that
    of the layout with the most features, `row`, the column behind a row's end, stands where a layout has fewer.

    Empty `[layouts, 0, 1]` where a layout has no last layer.
    """
    pairs = [[layout.by_name.get(f"head.{role}") for role in ("weight", "bias")] for layout in layouts]
    heads = [(weight, bias) for weight, bias in pairs if weight is not None and bias is not None]
    if len(heads) < len(layouts):
        return torch.zeros(len(layouts), 0, 1, dtype=torch.int64, device="cpu")
    ways, most = heads[0][0].shape[0], max(weight.shape[1] for weight, _ in heads)
    found = torch.full((len(heads), ways, most + 1), row, dtype=torch.int64, device="cpu")
    for own, (weight, bias) in zip(found, heads, strict=True):
        own[:, : weight.shape[1]] = weight.offset + torch.arange(weight.size, device="cpu").view(weight.shape)
        own[:, -1] = bias.offset + torch.arange(ways, device="cpu")
    return found


def entry_starts(layouts: Sequence[Layout], row: int) -> Tensor:
    """First columns of all entries, int64 `[layouts, E]`, `row` where a layout has fewer."""
    return _padded([[e.offset for e in layout.entries] for layout in layouts], row)


def norm_columns(layouts: Sequence[Layout], row: int) -> Tensor:
    """Columns of BN's weights and biases, int64 `[layouts, N]`, `row` where a layout has fewer."""
    norms = [[e for e in layout.entries if e.name.endswith(NORMS)] for layout in layouts]
    return _padded([[e.offset + i for e in own for i in range(e.size)] for own in norms], row)


def _padded(rows: Sequence[Sequence[int]], filler: int) -> Tensor:
    """int64 `[rows, the longest]`."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows], dtype=torch.int64, device="cpu")


class LayoutBuilder:
    """Collects entries block by block, those of one kind after those of the kind before; `build` freezes them."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._blocks: list[tuple[str, int]] = []
        self._bounds: list[int] = [0]
        self._column = 0

    def block(self, name: str) -> None:
        """The following entries belong to block `name`."""
        self._blocks.append((name, self._column))

    def add(self, name: str, shape: tuple[int, ...], init: Init) -> int:
        """Append an entry; returns its offset inside the current block."""
        entry = Entry(name, self._column, tuple(shape), len(self._bounds) - 1, init)
        self._entries.append(entry)
        self._column += aligned(entry.size)
        return entry.offset - self._blocks[-1][1]

    def head(self) -> None:
        """The body ends here; the following entries are those of the last layer."""
        self._end_kinds(HEAD)

    def architecture(self) -> None:
        """Weights end here; the following entries are architecture parameters."""
        self._end_kinds(ARCHITECTURE)

    def _end_kinds(self, kind: int) -> None:
        """Let the next entry be of `kind`; kinds between are empty."""
        while len(self._bounds) <= kind:
            self._bounds.append(self._column)

    def build(self) -> Layout:
        self._end_kinds(len(KINDS))
        if self._column > MOST_COLUMNS:
            raise InputError(
                f"a network of {self._column:,} weights is beyond the {MOST_COLUMNS:,} that fit into one slot; "
                "lower its channels (filters), cells or ways"
            )
        names = [e.name for e in self._entries]
        if len(set(names)) != len(names):
            raise ValueError(f"duplicate parameter names: {sorted({n for n in names if names.count(n) > 1})}")
        ends = [start for _, start in self._blocks[1:]] + [self._column]
        blocks = [Block(name, start, end) for (name, start), end in zip(self._blocks, ends, strict=True)]
        return Layout(tuple(self._entries), tuple(blocks), tuple(self._bounds))
