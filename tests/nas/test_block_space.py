"""Auto-Meta's space: equal cells and equal keys are the same thing, and there are as many as the formulas say."""

from __future__ import annotations

import itertools
import random
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autometa.nas.spaces import blocks as space
from autometa.nas.spaces.blocks import PUBLISHED, Block, BlockCell, Operand
from autometa.ops import PRIMITIVES


@st.composite
def cells(draw, most: int = 5) -> BlockCell:
    blocks = []
    for b in range(draw(st.integers(1, most))):
        operand = st.builds(Operand, st.integers(0, 4), st.integers(0, b + 1))
        blocks.append(Block(draw(operand), draw(operand)))
    return BlockCell(tuple(blocks))


def orders(cell: BlockCell) -> Iterator[BlockCell]:
    """The cell with its blocks in every order that dependencies allow."""
    for order in itertools.permutations(range(cell.level)):
        names = {old + 2: new + 2 for new, old in enumerate(order)}
        blocks = [cell.blocks[old] for old in order]
        moved = [
            Block(*(Operand(o.op, names.get(o.state, o.state)) for o in (block.first, block.second)))
            for block in blocks
        ]
        if all(max(block.states) < b + 2 for b, block in enumerate(moved)):
            yield BlockCell(tuple(moved))


def swaps(cell: BlockCell) -> Iterator[BlockCell]:
    """The cell with the operands of every choice of blocks exchanged."""
    for which in itertools.product((False, True), repeat=cell.level):
        pairs = zip(cell.blocks, which, strict=True)
        yield BlockCell(tuple(Block(b.second, b.first) if swapped else b for b, swapped in pairs))


def as_graph(cell: BlockCell) -> list[frozenset]:
    """For every numbering of the blocks the set of (block, its two operands): equal cells share one of them."""
    graphs = []
    for numbers in itertools.permutations(range(cell.level)):
        names = {0: "a", 1: "b", **{b + 2: numbers[b] for b in range(cell.level)}}
        graphs.append(
            frozenset(
                (numbers[b], tuple(sorted((str(names[o.state]), o.op) for o in (block.first, block.second))))
                for b, block in enumerate(cell.blocks)
            )
        )
    return graphs


def ordered(level: int, ops: int) -> Iterator[BlockCell]:
    """Every cell of `level` blocks in every order, of the first `ops` ops."""
    choices = [
        [block for block in space.blocks_after(b) if max(block.first.op, block.second.op) < ops] for b in range(level)
    ]
    return (BlockCell(blocks) for blocks in itertools.product(*choices))


@given(cells())
@settings(max_examples=60, deadline=None)
def test_the_canonical_form_knows_no_order(cell):
    for moved in orders(cell):
        assert moved.key == cell.key
    for swapped in swaps(cell):
        assert swapped.canonical() == cell.canonical()


@given(cells())
@settings(max_examples=100, deadline=None)
def test_the_canonical_form_is_one_of_the_orders_and_stays(cell):
    canonical = cell.canonical()
    assert canonical in {BlockCell(tuple(b.renamed({}) for b in moved.blocks)) for moved in orders(cell)}
    assert canonical.canonical() == canonical and canonical.key == str(canonical)
    assert BlockCell.parse(cell.key) == canonical and BlockCell.parse(str(cell)) == cell
    assert len(canonical.unused) == len(cell.unused) and canonical.depth == cell.depth


@pytest.mark.parametrize(("level", "sampled"), [(2, 500), (3, 250)])
def test_equal_keys_mean_equal_cells(level, sampled):
    """Against brute-force isomorphism; near cells are compared too: half of the sample is of one op."""
    draw = random.Random(level)
    found = draw.sample(list(ordered(level, 1)), min(sampled // 5, space.count_ordered(level, 1)))
    found += draw.sample(list(ordered(level, 2)), min(sampled // 2, space.count_ordered(level, 2)))
    found += draw.sample(list(ordered(2, 5)), sampled // 2) if level == 2 else []
    graphs = [as_graph(cell) for cell in found]
    equal = 0
    for (one, first), (other, second) in itertools.combinations(zip(found, graphs, strict=True), 2):
        same = first[0] in second
        equal += same
        assert same == (one.key == other.key), (str(one), str(other))
    assert equal > 10


def test_counts_by_hand():
    assert len(list(space.level_one())) == space.count(1) == space.count_ordered(1) == 55
    assert len({cell.key for cell in space.level_one()}) == 55
    assert space.count_ordered(2) == 55 * 120 and space.count_ordered(3) == 55 * 120 * 210
    # Two blocks that read inputs only, in either order: 55 * 56 / 2; or the second reads the first.
    assert space.count(2) == 55 * 56 // 2 + 55 * (120 - 55) == 5115
    assert space.count(3) == 703_560


@pytest.mark.parametrize(("level", "ops"), [(1, 1), (1, 5), (2, 1), (2, 2), (2, 5), (3, 1), (3, 2), (4, 1)])
def test_counts_against_enumeration(level, ops):
    found = list(ordered(level, ops))
    assert len(found) == space.count_ordered(level, ops)
    assert len({cell.key for cell in found}) == space.count(level, ops)


def test_expanding_level_one_gives_level_two():
    made = list(space.expand(list(space.level_one())))
    assert len(made) == len({cell.key for cell in made}) == space.count(2)
    assert all(cell == cell.canonical() for cell in made)
    assert made == list(space.expand(list(reversed(list(space.level_one())))))


def test_expansions_are_every_block_more():
    cell = BlockCell.parse("0c1m|2i2a")
    every = {BlockCell((*cell.blocks, block)).key for block in space.blocks_after(2)}
    made = list(space.expansions(cell))
    assert {m.key for m in made} == every and len(made) == len(every) <= 210
    assert all(cell.key in {parent.key for parent in m.parents()} for m in made)


def test_a_beam_expands_to_the_union_of_its_cells_expansions():
    beam = random.Random(0).sample(list(space.expand(list(space.level_one())[:6])), 12)
    union = {made.key for cell in beam for made in space.expansions(cell)}
    made = [cell.key for cell in space.expand(beam)]
    assert len(made) == len(set(made)) < sum(len(list(space.expansions(cell))) for cell in beam)
    assert set(made) == union


@given(cells())
@settings(max_examples=40, deadline=None)
def test_parents_expand_to_their_child(cell):
    parents = cell.parents()
    assert len(parents) <= len(cell.unused) and (cell.level == 1) == (parents == [])
    for parent in parents:
        assert parent == parent.canonical()
        assert cell.key in {made.key for made in space.expansions(parent)}


def test_expansion_is_streamed():
    """Level 5 from 100 cells of level 4 has some 45,000 cells; none of them is kept."""
    draw, beam = random.Random(1), []
    while len(beam) < 100:
        cell = next(space.level_one())
        for b in range(1, 4):
            cell = BlockCell((*cell.blocks, draw.choice(list(space.blocks_after(b)))))
        beam.append(cell.canonical())
    stream = space.expand(beam)
    list(itertools.islice(stream, 500))
    tracemalloc.start()
    try:
        made = sum(cell.level == 5 for cell in itertools.islice(stream, 1000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert made == 1000 and peak < 1e6


def test_a_cell_becomes_a_network_cell():
    cell = BlockCell.parse("0c1m|2i0a|2f3m")
    assert cell.unused == (4,) and cell.depth == 3
    made = cell.cell()
    assert made.concat == (4,)
    assert [(i.primitive, i.state) for i in made.nodes[2]] == [("conv_1x5_5x1", 2), ("max_pool_3x3", 3)]
    assert set(space.OPS) <= set(PRIMITIVES) and len(space.LETTERS) == len(space.OPS)


def test_the_published_cell():
    assert PUBLISHED.level == 5 and PUBLISHED.unused == (4, 5, 6)
    assert PUBLISHED.cell(space.PUBLISHED_CONCAT).concat == (2, 3, 4, 5, 6)
    nodes = PUBLISHED.genotype().nodes
    assert nodes[0] == (("full_conv_3x3", 1), ("max_pool_3x3", 1))
    assert nodes[4] == (("conv_1x5_5x1", 3), ("full_conv_3x3", 2))


@pytest.mark.parametrize("text", ["", "0c", "0x1c", "0c1c|", "0c1c|3c1c", "0c2m", "0c1m|2c2c,"])
def test_wrong_keys(text):
    with pytest.raises(ValueError, match="block 0|block 1"):
        BlockCell.parse(text)


def test_wrong_cells():
    with pytest.raises(ValueError, match="at least one block"):
        BlockCell(())
    with pytest.raises(ValueError, match="there are 5"):
        BlockCell((Block(Operand(5, 0), Operand(0, 0)),))
