"""Where the parts of a cell are drawn: a layered drawing from inputs at the top to the output at the bottom.

The steps of Sugiyama, Tagawa and Toda (1981): layers (here of at most so many nodes, as Coffman and Graham), bends
where an edge passes a layer, orders with few crossings by barycentres, positions near the neighbours'.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from autometa.nas.spaces.cells import INPUT_STATES
from autometa.nas.spaces.genotype import CellGenotype
from autometa.report.placing import spread

Key = tuple
"""("state", k), ("op", node, place), ("bend", state, layer) or ("output",); state k >= 2 is node k - 2."""
MARGIN, PASSAGE, SWEEPS = 10.0, 8.0, 40
WIDEST = 424.0
"""Units that a drawing may take; a phone shows about as many at full size."""
STIFF = 12.0
"""How much more a bend keeps to its place than a box does, so that long edges run straight."""
OUTPUT: Key = ("output",)


@dataclass(frozen=True)
class Sizes:
    """Widths and heights of what is drawn, in units."""

    op: tuple[float, float] = (97.0, 34.0)
    node: tuple[float, float] = (24.0, 24.0)
    input: tuple[float, float] = (104.0, 24.0)
    output: tuple[float, float] = (132.0, 24.0)
    bend: float = 2.0
    between: float = 24.0
    """Height between a node and the operations below it."""
    within: float = 13.0
    """Height between operations and their node."""

    def of(self, key: Key) -> tuple[float, float]:
        if key[0] == "state":
            return self.input if key[1] < INPUT_STATES else self.node
        return {"op": self.op, "output": self.output, "bend": (self.bend, 0.0)}[key[0]]


@dataclass(frozen=True)
class Box:
    """A part of the drawing: its middle `x`, its upper edge `y`."""

    key: Key
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Way:
    """An edge from the lower edge of one box to the upper edge of another; `points` are its straight passages."""

    source: Key
    target: Key
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class CellLayout:
    """Boxes by key, without bends, and ways; `width` and `height` hold them all."""

    width: float
    height: float
    boxes: Mapping[Key, Box]
    ways: tuple[Way, ...]


@dataclass
class _Graph:
    """layers: keys from left to right. edges: between neighbouring layers. wanted: (source, target) that each way
    stands for, and the keys that it passes."""

    layers: list[list[Key]]
    edges: set[tuple[Key, Key]] = field(default_factory=set)
    ways: dict[tuple[Key, Key], list[Key]] = field(default_factory=dict)


def lay_out(cell: CellGenotype, sizes: Sizes | None = None, widest: float = WIDEST) -> CellLayout:
    """Nodes side by side, two at most, where that stays within `widest`; one below the other where it does not, drawn
    together towards the middle as much as it takes."""
    sizes, found = sizes or Sizes(), []
    for most in (2, 1) if max(len(node) for node in cell.nodes) <= 2 else (1,):
        graph = _ordered(_layered(cell, most))
        for inwards in (0.0, 0.5, 2.0, 8.0, 32.0):
            found.append(_placed(graph, sizes, inwards))
            if found[-1].width <= widest:
                return found[-1]
    return min(found, key=lambda layout: layout.width)


def _rows(cell: CellGenotype, most: int) -> list[int]:
    """Row of each node, from 1: below all that it reads, at most so many in one."""
    rows: list[int] = []
    for node in cell.nodes:
        row = 1 + max([0, *(rows[s - INPUT_STATES] for _, s in node if s >= INPUT_STATES)])
        while rows.count(row) >= most:
            row += 1
        rows.append(row)
    return rows


def _layered(cell: CellGenotype, most: int) -> _Graph:
    """Layer 0 holds the inputs, 2 r - 1 the operations of row r, 2 r its nodes, the last the output."""
    rows = _rows(cell, most)
    bottom = 2 * max(rows) + 1
    layer_of: dict[Key, int] = {("state", s): 0 for s in range(INPUT_STATES)}
    reads: list[tuple[int, Key, int]] = []
    for n, node in enumerate(cell.nodes):
        layer_of["state", n + INPUT_STATES] = 2 * rows[n]
        for place, (_, state) in enumerate(node):
            layer_of["op", n, place] = 2 * rows[n] - 1
            reads.append((state, ("op", n, place), 2 * rows[n] - 1))
    layer_of[OUTPUT] = bottom
    reads += [(state, OUTPUT, bottom) for state in cell.concat]
    graph = _Graph([[] for _ in range(bottom + 1)])
    for key, layer in layer_of.items():
        graph.layers[layer].append(key)
        if key[0] == "op":
            node = ("state", key[1] + INPUT_STATES)
            graph.edges.add((key, node))
            graph.ways[key, node] = [key, node]
    for state, target, layer in reads:
        source = ("state", state)
        chain = [source, *(("bend", state, k) for k in range(layer_of[source] + 1, layer)), target]
        for k, key in enumerate(chain[1:-1], layer_of[source] + 1):
            if key not in graph.layers[k]:
                graph.layers[k].append(key)
        graph.edges.update(zip(chain, chain[1:], strict=False))
        graph.ways[source, target] = chain
    return graph


def _neighbours(graph: _Graph) -> tuple[dict[Key, list[Key]], dict[Key, list[Key]]]:
    above: dict[Key, list[Key]] = defaultdict(list)
    below: dict[Key, list[Key]] = defaultdict(list)
    for a, b in sorted(graph.edges, key=str):
        above[b].append(a)
        below[a].append(b)
    return above, below


def crossings(layers: Sequence[Sequence[Key]], edges: set[tuple[Key, Key]]) -> int:
    """Pairs of edges that cross between neighbouring layers."""
    place = {key: k for layer in layers for k, key in enumerate(layer)}
    level = {key: n for n, layer in enumerate(layers) for key in layer}
    by_level: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for a, b in edges:
        by_level[level[a]].append((place[a], place[b]))
    found = 0
    for pairs in by_level.values():
        for i, (a, b) in enumerate(pairs):
            found += sum((a - c) * (b - d) < 0 for c, d in pairs[i + 1 :])
    return found


def _ordered(graph: _Graph) -> _Graph:
    """The order with fewest crossings that sweeps of barycentres and swaps of neighbours find."""
    above, below = _neighbours(graph)
    layers = [list(layer) for layer in graph.layers]
    best, fewest = [list(layer) for layer in layers], crossings(layers, graph.edges)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        near, ties = (above if down else below), (1 if sweep % 4 < 2 else -1)
        for n in range(1, len(layers)) if down else range(len(layers) - 2, -1, -1):
            place = {key: k for k, key in enumerate(layers[n - 1 if down else n + 1])}
            own = {key: k for k, key in enumerate(layers[n])}

            def barycentre(key: Key, place=place, own=own, near=near, ties=ties) -> tuple[float, float]:
                found = [place[other] for other in near[key] if other in place]
                return (sum(found) / len(found) if found else own[key], ties * own[key])

            layers[n].sort(key=barycentre)
        found = crossings(layers, graph.edges)
        if found < fewest:
            best, fewest = [list(layer) for layer in layers], found
    _swap(best, graph.edges)
    return replace(graph, layers=best)


def _swap(layers: list[list[Key]], edges: set[tuple[Key, Key]]) -> None:
    """Swap neighbours for as long as that saves crossings."""
    fewest, better = crossings(layers, edges), True
    while better:
        better = False
        for layer in layers:
            for k in range(len(layer) - 1):
                layer[k], layer[k + 1] = layer[k + 1], layer[k]
                found = crossings(layers, edges)
                if found < fewest:
                    fewest, better = found, True
                else:
                    layer[k], layer[k + 1] = layer[k + 1], layer[k]


def _gaps(layer: Sequence[Key], sizes: Sizes) -> list[float]:
    """Least distances of the middles of neighbours of a layer."""
    found = []
    for a, b in zip(layer, layer[1:], strict=False):
        margin = PASSAGE if "bend" in (a[0], b[0]) else MARGIN
        found.append((sizes.of(a)[0] + sizes.of(b)[0]) / 2 + margin)
    return found


def _placed(graph: _Graph, sizes: Sizes, inwards: float) -> CellLayout:
    """Positions; `inwards`: how much the middle pulls boxes, compared with a neighbour."""
    above, below = _neighbours(graph)
    x: dict[Key, float] = {}
    for layer in graph.layers:
        x.update(zip(layer, spread([0.0] * len(layer), _gaps(layer, sizes)), strict=True))
    for sweep in range(SWEEPS):
        for layer in graph.layers if sweep % 2 == 0 else graph.layers[::-1]:
            wanted = [_pull(key, [*above[key], *below[key]], x, inwards) for key in layer]
            stiff = [STIFF if key[0] == "bend" else 1.0 for key in layer]
            x.update(zip(layer, spread(wanted, _gaps(layer, sizes), stiff), strict=True))
    left = min(x[key] - sizes.of(key)[0] / 2 for key in x)
    right = max(x[key] + sizes.of(key)[0] / 2 for key in x)
    boxes, y = {}, 1.0
    tops: list[tuple[float, float]] = []
    for n, layer in enumerate(graph.layers):
        height = max(sizes.of(key)[1] for key in layer)
        for key in layer:
            width, own = sizes.of(key)
            boxes[key] = Box(key, x[key] - left + 1, y + (height - own) / 2, width, own)
        tops.append((y, y + height))
        y += height + (sizes.within if n % 2 else sizes.between)
    ways = tuple(_way(source, target, chain, boxes, tops, graph) for (source, target), chain in graph.ways.items())
    kept = {key: box for key, box in boxes.items() if key[0] != "bend"}
    return CellLayout(right - left + 2, tops[-1][1] + 1, kept, ways)


def _pull(key: Key, near: Sequence[Key], x: Mapping[Key, float], inwards: float) -> float:
    """Where the neighbours want a part, those on the same long edge most, and the middle at 0."""
    weights = [1.0 + 20.0 * (key[0] == other[0] == "bend") for other in near]
    total = sum(weights) + inwards
    return sum(w * x[other] for w, other in zip(weights, near, strict=True)) / total if total else x[key]


def _way(source: Key, target: Key, chain: Sequence[Key], boxes, tops, graph: _Graph) -> Way:
    """Straight down through every layer passed; into the output at the nearest place of its upper edge."""
    level = {key: n for n, layer in enumerate(graph.layers) for key in layer}
    start, end = boxes[source], boxes[target]
    points = [(start.x, start.y + start.height)]
    for key in chain[1:-1]:
        points += [(boxes[key].x, y) for y in tops[level[key]]]
    last, reach = points[-1][0], end.width / 2 - 8 if target == OUTPUT else 0.0
    points.append((min(max(last, end.x - reach), end.x + reach), end.y))
    return Way(source, target, tuple(points))
