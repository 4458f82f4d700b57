"""Cells as SVG: inputs, operations with colours, sizes and weights, nodes that add them up, the output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autometa.nas.spaces.cells import INPUT_STATES
from autometa.nas.spaces.genotype import CellGenotype
from autometa.report.cell_layout import Box, CellLayout, Sizes, Way, lay_out
from autometa.report.markup import Markup, el, label, number, svg
from autometa.report.placing import text_width
from autometa.report.words import op_class, op_meaning, op_name

INPUTS = ("cell before last", "last cell")
SMALL = Sizes(op=(76.0, 17.0), node=(16.0, 16.0), input=(34.0, 15.0), output=(52.0, 15.0), between=13.0, within=8.0)
TINY_WIDEST = 260.0


@dataclass(frozen=True)
class OpFacts:
    """What is known of one operation of a cell; None where it is not.

    input, op: weights of its input and of itself on that input, 0 to 1. size: channels and parameters in words.
    """

    input: float | None = None
    op: float | None = None
    size: str | None = None


Facts = Mapping[tuple[int, int], OpFacts]
"""By (node, place of the operation in it), nodes from 0."""


def draw_cell(cell: CellGenotype, title: str, facts: Facts | None = None) -> Markup:
    """The cell in full."""
    facts = facts or {}
    weighted = any(fact.input is not None or fact.op is not None for fact in facts.values())
    height = 22.0 + 12.0 * any(fact.size for fact in facts.values()) + 12.0 * weighted
    layout = lay_out(cell, Sizes(op=(97.0, height)))
    parts = [_way(way, _fact(way.target, facts).input) for way in layout.ways]
    for box in layout.boxes.values():
        parts.append(_full(box, cell, facts))
    return svg(layout.width, layout.height, title, describe(cell), *parts, class_="cell")


def draw_small(cell: CellGenotype, title: str) -> Markup:
    """The cell as one of many: names and colours alone."""
    layout: CellLayout = lay_out(cell, SMALL, TINY_WIDEST)
    parts = [_way(way, None) for way in layout.ways]
    parts += [_small(box, cell) for box in layout.boxes.values()]
    return svg(layout.width, layout.height, title, describe(cell), *parts, class_="cell small")


def describe(cell: CellGenotype) -> str:
    """The cell in a sentence, for who cannot see it."""
    nodes = [
        f"node {n} adds " + " and ".join(f"{op_name(name)} of {state}" for name, state in node)
        for n, node in enumerate(cell.nodes, INPUT_STATES)
    ]
    return f"Inputs 0 and 1; {'; '.join(nodes)}; the output joins {', '.join(map(str, cell.concat))}."


def legend(cells: Sequence[CellGenotype]) -> Markup:
    """Colour, name and meaning of the operations in these cells."""
    used = dict.fromkeys(name for cell in cells for node in cell.nodes for name, _ in node)
    items = [
        el(
            "li",
            el("span", class_=f"swatch {op_class(name)}", aria_hidden="true"),
            el("b", op_name(name)),
            f" {op_meaning(name)}" if op_meaning(name) else None,
        )
        for name in sorted(used)
    ]
    return el("ul", items, class_="legend")


def _fact(key: tuple, facts: Facts) -> OpFacts:
    return facts.get(key[1:], OpFacts()) if key[0] == "op" else OpFacts()


def _full(box: Box, cell: CellGenotype, facts: Facts) -> Markup:
    kind = box.key[0]
    if kind == "op":
        name = cell.nodes[box.key[1]][box.key[2]][0]
        fact = _fact(box.key, facts)
        lines = [op_name(name), fact.size, _weights(fact)]
        return _operation(box, name, [line for line in lines if line])
    if kind == "output":
        return _plain(box, f"output: {', '.join(map(str, cell.concat))}", "output")
    state = box.key[1]
    if state < INPUT_STATES:
        return _plain(box, f"{state}  {INPUTS[state]}", _read(state, cell))
    return _node(box)


def _small(box: Box, cell: CellGenotype) -> Markup:
    kind = box.key[0]
    if kind == "op":
        name = cell.nodes[box.key[1]][box.key[2]][0]
        return _operation(box, name, [op_name(name)])
    if kind == "output":
        return _plain(box, "output", "output")
    return _plain(box, str(box.key[1]), _read(box.key[1], cell)) if box.key[1] < INPUT_STATES else _node(box)


def _read(state: int, cell: CellGenotype) -> str:
    used = any(state == s for node in cell.nodes for _, s in node)
    return "input" if used else "input unused"


def _weights(fact: OpFacts) -> str | None:
    if fact.op is None:
        return None
    return f"{fact.input:.2f} × {fact.op:.2f}" if fact.input is not None else f"{fact.op:.2f}"


def _operation(box: Box, name: str, lines: Sequence[str]) -> Markup:
    left, middle = box.x - box.width / 2, box.x + 1.5
    step = 12.0
    first = box.y + box.height / 2 - step * (len(lines) - 1) / 2 + 3.8
    fits = box.width - 8
    words = []
    for k, line in enumerate(lines):
        squeezed = fits if text_width(line, 11.0 if box.height > 20 else 9.0) > fits else None
        how = {"textLength": squeezed, "lengthAdjust": "spacingAndGlyphs"} if squeezed else {}
        words.append(label(middle, first + step * k, line, "middle", "name" if k == 0 else "fact", **how))
    return el(
        "g",
        el("rect", x=left, y=box.y, width=box.width, height=box.height, rx=3.0, class_="body"),
        el("rect", x=left, y=box.y, width=4.0, height=box.height, rx=1.5, class_="edge"),
        words,
        class_=op_class(name),
    )


def _plain(box: Box, words: str, class_: str) -> Markup:
    rect = el(
        "rect",
        x=box.x - box.width / 2,
        y=box.y,
        width=box.width,
        height=box.height,
        rx=box.height / 2 if class_.startswith("input") else 3.0,
    )
    return el("g", rect, label(box.x, box.y + box.height / 2 + 3.8, words, "middle"), class_=class_)


def _node(box: Box) -> Markup:
    middle = box.y + box.height / 2
    circle = el("circle", cx=box.x, cy=middle, r=box.width / 2)
    return el("g", circle, label(box.x, middle + 3.8, box.key[1], "middle"), class_="node")


def _way(way: Way, weight: float | None) -> Markup:
    """A curve with upright ends; the heavier its input, the broader."""
    (x, y), *rest = way.points
    path = [f"M{number(x)} {number(y)}"]
    for along, (to_x, to_y) in enumerate(rest):
        if along % 2 == 1:
            path.append(f"L{number(to_x)} {number(to_y)}")
        else:
            bend = (to_y - y) / 2
            path.append(
                f"C{number(x)} {number(y + bend)} {number(to_x)} {number(to_y - bend)} {number(to_x)} {number(to_y)}"
            )
        x, y = to_x, to_y
    broad = None if weight is None else 0.6 + 2.4 * max(0.0, min(weight, 1.0))
    return el("path", d="".join(path), class_="way", stroke_width=broad)
