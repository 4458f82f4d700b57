"""Multiply-accumulates of a network of cells, and the sizes of its feature maps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from autometa.nas.networks.cell_network import CellNetwork
from autometa.ops.primitives import primitive_named


def map_sizes(network: CellNetwork) -> list[tuple[int, int]]:
    """Height and width of what the stem and then each cell puts out."""
    height, width = network.image_shape[1:]
    sizes = [(network.stem.output(height), network.stem.output(width))]
    for c in range(network.cells):
        height, width = sizes[-1]
        sizes.append((-(-height // 2), -(-width // 2)) if c in network.reductions else (height, width))
    return sizes


def network_macs(
    network: CellNetwork,
    live: Callable[[str, int, int], bool] | None = None,
    parts: Mapping[int, Collection[int]] | None = None,
) -> int:
    """MACs of convolutions and linear layer for one image; `live(kind, node, instance)` tells which ops count; parts:
    the cells that count, and of each the preprocessings (0, 1), all where None."""
    sizes = map_sizes(network)
    size = sizes[0]
    total = size[0] * size[1] * 9 * network.stem.c_in * network.stem.c_out
    for c in range(network.cells):
        cell, channels, reduction = network.cell(c), network.width(c), c in network.reductions
        out = sizes[c + 1]
        for p in (0, 1) if parts is None else parts.get(c, ()):
            total += size[0] * size[1] * network.output_channels(c - 2 + p) * channels
        for i, node in enumerate(cell.nodes):
            for k, instance in enumerate(node):
                counts = (parts is None or c in parts) and (live is None or live(network.kind(c), i, k))
                if counts:
                    stride = cell.stride(instance, reduction)
                    total += primitive_named(instance.primitive).macs(channels, *out, stride)
        size = out
    return total + network.features * network.ways
