"""Multiply-accumulates of a network of cells."""

from __future__ import annotations

from autometa.nas.cell_network import CellNetwork
from autometa.ops.primitives import PRIMITIVES


def network_macs(network: CellNetwork, live=None) -> int:
    """MACs of convolutions and linear layer for one image; `live(kind, node, instance)` tells which ops count."""
    channels = network.channels
    size = tuple(network.stem.output(n) for n in network.image_shape[1:])
    total = size[0] * size[1] * 9 * network.stem.c_in * network.stem.c_out
    for c in range(network.cells):
        cell, reduction = network.cell(c), c in network.reductions
        for p in (0, 1):
            total += size[0] * size[1] * network.output_channels(c - 2 + p) * channels
        out = tuple(-(-n // 2) for n in size) if reduction else size
        for i, node in enumerate(cell.nodes):
            for k, instance in enumerate(node):
                if live is None or live(network.kind(c), i, k):
                    stride = cell.stride(instance, reduction)
                    total += PRIMITIVES[instance.primitive].macs(channels, *out, stride)
        size = out
    return total + network.features * network.ways
