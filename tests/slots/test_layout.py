"""Layouts: offsets, gaps, packing, splitting."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autometa.ops.primitives import ALIGNMENT, aligned
from autometa.slots.init import ONES, ZEROS
from autometa.slots.layout import ARCHITECTURE, BODY, Init, LayoutBuilder

SHAPES = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple), min_size=1, max_size=5)


def build(weights, architecture=()):
    """Two entries a block, then the architecture."""
    builder = LayoutBuilder()
    for k, shape in enumerate(weights):
        if k % 2 == 0:
            builder.block(f"block{k // 2}")
        builder.add(f"w{k}", shape, ONES)
    if architecture:
        builder.architecture()
        builder.block("architecture")
        for k, shape in enumerate(architecture):
            builder.add(f"a{k}", shape, ZEROS)
    return builder.build()


@given(SHAPES, st.one_of(st.just([]), SHAPES))
@settings(max_examples=40, deadline=None)
def test_offsets_rise_by_multiples_of_16_and_pack_is_undone_by_unpack(weights, architecture):
    layout = build(weights, architecture)
    column = 0
    for entry in layout.entries:
        assert entry.offset % ALIGNMENT == 0 and entry.offset == column
        column = aligned(entry.offset + entry.size)
    assert layout.row == column == layout.bounds[3] and layout.bounds[0] == 0
    assert all(e.offset < layout.weights for e in layout.entries if e.kind == BODY)
    assert all(e.offset >= layout.weights for e in layout.entries if e.kind == ARCHITECTURE)
    values = {e.name: torch.randn(e.shape, dtype=torch.float64) for e in layout.entries}
    row = layout.pack(values, torch.float64)
    found = layout.unpack(row)
    assert all(torch.equal(found[name], value) for name, value in values.items())
    assert layout.count(BODY) + layout.count(ARCHITECTURE) == int((row != 0).sum())


@given(SHAPES, st.integers(1, 4), st.sampled_from([0, 16, 33]))
@settings(max_examples=30, deadline=None)
def test_blocks_tile_the_row(weights, slots, tail):
    layout = build(weights)
    phi = torch.randn(slots, layout.row + tail)
    blocks = layout.split(phi)
    assert torch.equal(torch.cat(list(blocks.values()), dim=1), phi[:, : layout.row])
    for entry in layout.entries:
        assert torch.equal(layout.view(phi, entry.name).flatten(1), phi[:, entry.offset : entry.offset + entry.size])


def test_offset_inside_a_block():
    builder = LayoutBuilder()
    builder.block("a")
    assert builder.add("x", (17,), ZEROS) == 0
    assert builder.add("y", (1,), ZEROS) == 32
    builder.block("b")
    assert builder.add("z", (3, 2), ZEROS) == 0
    layout = builder.build()
    assert [(b.name, b.start, b.stop) for b in layout.blocks] == [("a", 0, 48), ("b", 48, 64)]
    assert layout.bounds == (0, 64, 64, 64) and layout.count() == 24


def test_a_view_shares_memory():
    layout = build([(2, 3), (4,)])
    phi = torch.zeros(2, layout.row)
    layout.view(phi, "w1")[1] = 7.0
    assert float(phi.sum()) == 28.0


def test_wrong_values_are_named():
    layout = build([(2, 3)])
    with pytest.raises(ValueError, match="'w0' is missing"):
        layout.pack({})
    with pytest.raises(ValueError, match=r"'w0' must be \(2, 3\)"):
        layout.pack({"w0": torch.zeros(3, 2)})
    builder = LayoutBuilder()
    builder.block("a")
    builder.add("twice", (1,), ZEROS)
    builder.add("twice", (1,), Init("normal", 1.0))
    with pytest.raises(ValueError, match="twice"):
        builder.build()


@settings(max_examples=30, deadline=None, derandomize=True)
@given(SHAPES, st.integers(0, 40), st.data())
def test_spread_moves_blocks_and_keeps_what_stands_in_them(shapes, extra, data):
    layout = build(shapes)
    order = data.draw(st.permutations(["absent", *(b.name for b in layout.blocks)]))
    widths = {b.name: b.stop - b.start + extra for b in layout.blocks} | {"absent": 17}
    spread = layout.spread({name: widths[name] for name in order})
    values = {e.name: torch.randn(e.shape) for e in layout.entries}
    row = spread.pack(values)
    assert spread.row == sum(aligned(w) for w in widths.values()) and spread.count() == layout.count()
    assert [b.name for b in spread.blocks] == order and all(b.start % ALIGNMENT == 0 for b in spread.blocks)
    assert all(torch.equal(value, values[name]) for name, value in spread.unpack(row).items())
    parts, due = spread.split(row[None]), layout.split(layout.pack(values)[None])
    for name, part in due.items():
        assert torch.equal(parts[name][:, : part.shape[1]], part) and not parts[name][:, part.shape[1] :].any()
    assert not parts["absent"].any()
