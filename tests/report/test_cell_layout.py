"""Laws of drawn cells: nothing overlaps, every edge is there and ends where it should."""

import random
import xml.etree.ElementTree as ET

import pytest

from autometa.nas.spaces.blocks import LETTERS, PUBLISHED, Block, BlockCell, Operand
from autometa.nas.spaces.cells import METANAS_PRIMITIVES
from autometa.nas.spaces.genotype import CellGenotype
from autometa.report.cell_drawing import OpFacts, draw_cell, draw_small
from autometa.report.cell_layout import OUTPUT, WIDEST, crossings, lay_out
from autometa.report.placing import text_width

SLACK = 1e-6


def metanas_cell(rng, nodes):
    made = [tuple((rng.choice(METANAS_PRIMITIVES), s) for s in rng.sample(range(n + 2), 2)) for n in range(nodes)]
    return CellGenotype(tuple(made), tuple(range(2, 2 + nodes)))


def block_cell(rng, blocks):
    def operand(b):
        return Operand(rng.randrange(len(LETTERS)), rng.randrange(b + 2))

    return BlockCell(tuple(Block(operand(b), operand(b)) for b in range(blocks))).genotype()


def cells():
    rng = random.Random(0)
    made = [metanas_cell(rng, nodes) for nodes in (1, 2, 3, 4, 5) for _ in range(6)]
    made += [block_cell(rng, blocks) for blocks in (1, 2, 3, 4, 5) for _ in range(6)]
    chain = tuple((("skip_connect", n + 1), ("conv_3x3", n)) for n in range(5))
    return [*made, PUBLISHED.genotype(), CellGenotype(chain, (6,))]


def touches(box, x, low, high):
    """Whether an upright line at x from low to high runs through a box."""
    return abs(x - box.x) < box.width / 2 - SLACK and low < box.y + box.height - SLACK and high > box.y + SLACK


@pytest.mark.parametrize("cell", cells(), ids=str)
def test_layout(cell):
    layout = lay_out(cell)
    boxes = list(layout.boxes.values())
    assert {key for key in layout.boxes if key[0] == "op"} == {
        ("op", n, k) for n, node in enumerate(cell.nodes) for k in range(len(node))
    }
    for k, a in enumerate(boxes):
        assert a.x - a.width / 2 >= 0 and a.x + a.width / 2 <= layout.width
        assert a.y >= 0 and a.y + a.height <= layout.height
        for b in boxes[k + 1 :]:
            beside = abs(a.x - b.x) >= (a.width + b.width) / 2
            assert beside or a.y + a.height <= b.y or b.y + b.height <= a.y, (a, b)

    wanted = {(("op", n, k), ("state", n + 2)) for n, node in enumerate(cell.nodes) for k in range(len(node))}
    wanted |= {(("state", s), ("op", n, k)) for n, node in enumerate(cell.nodes) for k, (_, s) in enumerate(node)}
    wanted |= {(("state", s), OUTPUT) for s in cell.concat}
    assert sorted((way.source, way.target) for way in layout.ways) == sorted(wanted)
    for way in layout.ways:
        source, target = layout.boxes[way.source], layout.boxes[way.target]
        (x, y), (to_x, to_y) = way.points[0], way.points[-1]
        assert (x, y) == (source.x, source.y + source.height), "begins at the lower edge of its source"
        assert to_y == target.y and abs(to_x - target.x) < target.width / 2, "ends on the upper edge of its target"
        heights = [height for _, height in way.points]
        assert heights == sorted(heights), "always downwards"
        for (at, low), (below, high) in zip(way.points[1:-1:2], way.points[2:-1:2], strict=True):
            assert at == below, "straight past a layer"
            assert not any(touches(box, at, low, high) for box in boxes), (way, "runs through a box")


def test_nodes_stand_side_by_side_where_there_is_room():
    rng = random.Random(1)
    beside = CellGenotype(tuple((("skip_connect", 0), ("conv_3x3", 1)) for _ in range(2)), (2, 3))
    layout = lay_out(beside)
    assert layout.boxes["state", 2].y == layout.boxes["state", 3].y
    assert lay_out(beside, widest=300.0).boxes["state", 2].y < lay_out(beside, widest=300.0).boxes["state", 3].y
    assert max(lay_out(metanas_cell(rng, nodes)).width for nodes in (3, 4) for _ in range(20)) <= 1.05 * WIDEST


def test_crossings_are_counted_and_avoided():
    layers = [[("state", 0), ("state", 1)], [("op", 0, 0), ("op", 0, 1)]]
    straight = {(layers[0][k], layers[1][k]) for k in (0, 1)}
    assert crossings(layers, straight) == 0
    assert crossings([layers[0], layers[1][::-1]], straight) == 1
    twisted = lay_out(CellGenotype(((("conv_3x3", 1), ("skip_connect", 0)),), (2,)))
    ways = {way.target: way.points[0][0] for way in twisted.ways if way.target[0] == "op"}
    ops = sorted(ways, key=lambda key: twisted.boxes[key].x)
    assert ways[ops[0]] < ways[ops[1]], "drawn in the order of their inputs, not crossing"


@pytest.mark.parametrize("draw", [draw_cell, draw_small])
@pytest.mark.parametrize("cell", cells()[::7], ids=str)
def test_drawing(draw, cell):
    root = ET.fromstring(draw(cell, "A <cell> & more"))
    assert root.find("title").text == "A <cell> & more"
    _, _, width, height = map(float, root.get("viewBox").split())
    for text in root.iter("text"):
        size = 11.0 if draw is draw_cell else 9.0
        half = min(text_width(text.text, size), float(text.get("textLength", "inf"))) / 2
        assert half <= float(text.get("x")) <= width - half, text.text
        assert size * 0.7 <= float(text.get("y")) <= height
    names = [text.text for text in root.iter("text")]
    assert all(str(n + 2) in names for n in range(len(cell.nodes)))


def test_weights_and_sizes_are_told_and_drawn():
    cell = CellGenotype(((("conv_3x3", 0), ("skip_connect", 1)),), (2,))
    facts = {(0, 0): OpFacts(0.25, 0.75, "16 ch, 400 p"), (0, 1): OpFacts(1.0, 0.5, "16 ch, 0 p")}
    root = ET.fromstring(draw_cell(cell, "cell", facts))
    texts = [text.text for text in root.iter("text")]
    assert "0.25 × 0.75" in texts and "1.00 × 0.50" in texts and "16 ch, 400 p" in texts
    broad = sorted({float(p.get("stroke-width")) for p in root.iter("path") if p.get("stroke-width")})
    assert broad == pytest.approx([0.6 + 2.4 * 0.25, 3.0])
