"""What was found: the cells, drawn, with sizes and weights; the network around them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

from autometa.errors import InputError
from autometa.nas.spaces.cells import INPUT_STATES
from autometa.nas.spaces.genotype import CellGenotype
from autometa.report.cell_drawing import OpFacts, draw_cell, legend
from autometa.report.markup import Markup, Missing, aside, el, figure, note, table
from autometa.report.recorded import Recorded
from autometa.report.sizes import Network, OpSize, network_of
from autometa.report.words import large, op_name, short

Weights = dict[tuple[str, int, int], tuple[float | None, float]]
"""(kind, node, place of an operation in it) -> (weight of its input, its own weight on that input)."""


def found(run: Recorded) -> list[Markup]:
    """The section."""
    network, why = None, None
    try:
        network = network_of(run)
    except (InputError, ValueError, KeyError, TypeError) as error:
        why = f"Sizes are left out: this version cannot rebuild the network ({error})."
    parts = [el("p", run.algorithm.introduction(run.chosen)), *_sentences(run)]
    if run.cells:
        weights = op_weights(run)
        ops = {} if network is None else network.ops
        parts += [_drawings(run, ops, weights), _operations(run, ops, weights)]
        if "op_weights" in run.algorithm.sections and not weights:
            parts.append(Missing("the weights of inputs and operations"))
    if network is not None:
        parts.append(_layers(network, run))
    parts += [note(why)] if why else []
    return parts


def _sentences(run: Recorded) -> list[Markup]:
    """What the drawings do not show."""
    result = run.result or {}
    told = []
    if "genotype" in result:
        told.append(_commonest(run, result))
        kept = _kept(result)
        if kept is not None:
            told.append(
                f"The tested networks hold more than is drawn: pruning removed only what weighed less than "
                f"{run.config.get('prune_testing')}, which left {short(result['parameters'])} of the search network's "
                f"{short(result['search_network']['parameters'])} parameters ({100 * kept:.0f} %, median over tasks)."
            )
    if run.loop:
        done = 1 + max(line["step"] for line in run.loop)
        if done <= run.config.get("warmup", -1):
            told.append(
                f"These cells were not searched for: training ended within its warm-up of {run.config['warmup']} "
                "meta-iterations, in which the architecture stands still."
            )
    return [aside(sentence) for sentence in told]


def _commonest(run: Recorded, result) -> str:
    genotype, tasks = result["genotype"], result["protocol"]["tasks"]
    if genotype["different_cells"] == 1:
        return f"All {tasks} test tasks settled on these cells."
    return (
        f"Of {tasks} test tasks, {genotype['normal_found_in']} settled on this normal cell and "
        f"{genotype['reduction_found_in']} on this reduction cell; there were {genotype['different_cells']} different "
        "pairs."
    )


def _kept(result) -> float | None:
    whole = result.get("search_network", {}).get("parameters")
    return result["parameters"] / whole if whole and result.get("parameters") else None


def op_weights(run: Recorded) -> Weights:
    """Mean weights at the end of meta-testing of the operations drawn; empty where they were not recorded."""
    seen = run.observations or {}
    if "weights" not in seen:
        return {}
    made: Weights = {}
    place = {name: k for k, name in enumerate(seen["primitives"])}
    for kind, cell in run.cells.items():
        told = "normal" if kind == "cell" else kind
        shares = {tuple(edge): row for edge, row in zip(seen["edges"][told], seen["weights"][told], strict=True)}
        by_node = seen["weights"].get("pairs", {}).get(told, [])
        for n, k, name, state in _ops(cell):
            inputs = None
            if by_node:
                both = combinations(range(n + INPUT_STATES), 2)
                inputs = sum(w for w, ab in zip(by_node[n], both, strict=True) if state in ab)
            made[kind, n, k] = (inputs, shares[n, state][place[name]])
    return made


def _ops(cell: CellGenotype) -> Iterator[tuple[int, int, str, int]]:
    """Node, place in it, primitive and input state of every operation."""
    for n, node in enumerate(cell.nodes):
        for k, (name, state) in enumerate(node):
            yield n, k, name, state


def _drawings(run: Recorded, ops: Mapping[tuple[str, int, int], OpSize], weights: Weights) -> Markup:
    titles = {"cell": "Cell", "normal": "Normal cell", "reduction": "Reduction cell"}
    drawn = []
    for kind, cell in run.cells.items():
        facts = {}
        for n, k, *_ in _ops(cell):
            size = ops.get((kind, n, k))
            told = None if size is None else f"{size.channels[0]} ch, {short(size.parameters[0])} p"
            facts[n, k] = OpFacts(*weights.get((kind, n, k), (None, None)), told)
        drawn.append(el("div", el("p", el("b", titles[kind])), draw_cell(cell, titles[kind], facts)))
    words: list = [el("b", "The cells" if len(run.cells) > 1 else "The cell"), ", from the inputs at the top. "]
    if ops:
        words.append("In each operation its channels (ch) and parameters (p) in one cell of its kind. ")
    if weights:
        words.append(
            "Below that, weight of its input × weight of the operation on it, means over the test tasks at the end of "
            "meta-testing; the heavier the input, the broader the line."
        )
    return el("div", figure(words, *drawn), legend(list(run.cells.values())))


def _operations(run: Recorded, ops: Mapping[tuple[str, int, int], OpSize], weights: Weights) -> Markup:
    """The drawings as a table."""
    head, rows = ["cell", "node", "operation", "on"], []
    head += ["input weight", "op weight"] if weights else []
    head += ["parameters", "MACs"] if ops else []
    for kind, cell in run.cells.items():
        for n, k, name, state in _ops(cell):
            first, node = kind if (n, k) == (0, 0) else "", n + INPUT_STATES if k == 0 else ""
            own = [f"{w:.3f}" if w is not None else "" for w in weights.get((kind, n, k), (None, None)) if weights]
            size = ops.get((kind, n, k))
            counts = [f"{sum(size.parameters):,}", f"{sum(size.macs):,}"] if size else [""] * 2
            rows.append([first, node, op_name(name), state, *own, *(counts if ops else ())])
    about = "Operations; parameters and MACs (multiplications with addition, one image) over all cells of a kind"
    return table(head, rows, range(4, len(head)), about if ops else "Operations")


def _layers(network: Network, run: Recorded) -> Markup:
    """The network from input to output."""
    shape = run.data["image_shape"]
    rows = [["images", "", f"{shape[0]} × {shape[1]} × {shape[2]}", ""]]
    for layer in network.layers:
        out = f"{layer.channels}" if layer.size is None else f"{layer.channels} × {layer.size[0]} × {layer.size[1]}"
        rows.append([layer.name, layer.kind, out, f"{layer.parameters:,}"])
    total = sum(layer.parameters for layer in network.layers)
    rows.append([el("b", "together"), "", "", el("b", f"{total:,}")])
    about = f"The network as drawn, layer by layer: {large(total)} parameters"
    return table(["layer", "kind", "puts out", "parameters"], rows, right=(3,), about=about)
