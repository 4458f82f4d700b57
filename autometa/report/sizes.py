"""What the layers and operations of a run's network cost: parameters, multiplications with addition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autometa.nas.networks.cell_network import CellNetwork
from autometa.nas.networks.conv_network import ConvNetwork
from autometa.nas.networks.one_cell import TrimmedNetwork
from autometa.ops.primitives import PRIMITIVES
from autometa.report.recorded import Recorded
from autometa.slots.layout import ARCHITECTURE, Layout
from autometa.train.config import from_json


@dataclass(frozen=True)
class Layer:
    """A stem, cell, convolution or head: what it puts out (channels, height, width) and its parameters."""

    name: str
    kind: str
    channels: int
    size: tuple[int, int] | None
    parameters: int


@dataclass(frozen=True)
class OpSize:
    """An operation in each cell of its kind: channels, parameters and MACs there."""

    channels: tuple[int, ...]
    parameters: tuple[int, ...]
    macs: tuple[int, ...]


@dataclass(frozen=True)
class Network:
    """layers from input to output; ops: (kind of cell, node, place) -> size; kind `cell` where one serves as both."""

    layers: Sequence[Layer]
    ops: Mapping[tuple[str, int, int], OpSize]


def network_of(run: Recorded) -> Network | None:
    """The network of the cells that were found (MetaNAS: without the operations that hard pruning also kept) or
    trained; None where the run does not say, or it is another kind of network.

    Raises `InputError`, `ValueError` or `KeyError` where its config is not one that this version knows.
    """
    shape = tuple(run.data.get("image_shape", ()))
    if len(shape) != 3 or (not run.cells and run.winner is None and run.algorithm.searches):
        return None
    config = from_json(run.algorithm.config, run.config)
    made = run.algorithm.drawn(config, shape, run.chosen)
    if isinstance(made, ConvNetwork):
        return _of_convolutions(made)
    if isinstance(made, TrimmedNetwork):
        return _of_block(made)
    return _of_cells(made, made.affine) if isinstance(made, CellNetwork) else None


def _of_block(made: TrimmedNetwork) -> Network:
    return _of_cells(made.whole, made.whole.affine, made.layout, set(made.network.parts[0]))


def _of_cells(
    network: CellNetwork, affine: bool, layout: Layout | None = None, used: set[int] | None = None
) -> Network:
    """Layers and ops; `used`: the cells that lead to the classifier, all where None."""
    counts = _by_layer(layout or network.layout)
    size = tuple(network.stem.output(n) for n in network.image_shape[1:])
    layers = [Layer("stem", "convolution 3×3", network.stem.c_out, size, counts["stem"])]
    same = network.normal == network.reduction
    ops: dict[tuple[str, int, int], list[tuple[int, int, int]]] = {}
    for c in range(network.cells):
        reduction, kind, width = c in network.reductions, network.kind(c), network.width(c)
        size = tuple(-(-n // 2) for n in size) if reduction else size
        if used is not None and c not in used:
            continue
        layers.append(Layer(f"cell {c}", kind, network.output_channels(c), size, counts[f"cell{c}"]))
        for n, node in enumerate(network.cell(c).nodes):
            for place, instance in enumerate(node):
                primitive, stride = PRIMITIVES[instance.primitive], network.cell(c).stride(instance, reduction)
                parameters = sum(p.size for p in primitive.parameters(width, stride, affine))
                found = (width, parameters, primitive.macs(width, *size, stride))
                ops.setdefault(("cell" if same else kind, n, place), []).append(found)
    layers.append(Layer("head", "mean, linear", network.ways, None, counts["head"]))
    return Network(layers, {key: OpSize(*(tuple(column) for column in zip(*f, strict=True))) for key, f in ops.items()})


def _of_convolutions(network: ConvNetwork) -> Network:
    counts = _by_layer(network.layout)
    layers = [
        Layer(f"block {k + 1}", "convolution 3×3", block.c_out, network.sizes[k + 1], counts[f"conv{k}"])
        for k, block in enumerate(network.blocks)
    ]
    kind = "linear" if network.flatten else "mean, linear"
    return Network([*layers, Layer("head", kind, network.ways, None, counts["head"])], {})


def _by_layer(layout: Layout) -> dict[str, int]:
    """Parameters by the first word of their names."""
    found: dict[str, int] = {}
    for entry in layout.entries:
        if entry.kind != ARCHITECTURE:
            layer = entry.name.partition(".")[0]
            found[layer] = found.get(layer, 0) + entry.size
    return found
