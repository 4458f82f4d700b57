"""A search space of your own in one file: convolutional nets whose layers differ in kernel, width and how they halve.

    autometa search auto-meta --preset quick --plugin examples/new_space.py --space layers --blocks 4

or, here, a short search from Python:

    python examples/new_space.py

`ChoiceSpace` draws, mutates, expands and encodes rows of choices; a space says what may be chosen for part number
`place`, and which network that makes. `--blocks` is the number of parts.
"""

from __future__ import annotations

import tempfile

import autometa
from autometa.nas.networks.conv_network import ConvNetwork
from autometa.nas.spaces.choices import ChoiceSpace
from autometa.nas.spaces.space import SPACES
from autometa.ops.conv_block import ConvBlock

KERNELS, WIDTHS = (3, 5), (0.5, 1.0, 2.0)
HALVES = ({"stride": 2, "padding": "same"}, {"pool": True, "pool_ceil": True})


class LayerSpace(ChoiceSpace):
    """Nets of `levels` convolutions, as MAML's four-layer net: of each its kernel, its width, and stride or pooling."""

    unit = "layer"

    def options(self, place):
        return len(KERNELS), len(WIDTHS), len(HALVES)

    def network(self, architecture, macro):
        blocks, channels = [], macro.image_shape[0]
        for kernel, width, halves in architecture.parts:
            out = max(2, round(WIDTHS[width] * macro.filters))
            blocks.append(ConvBlock(channels, out, KERNELS[kernel], relu=True, **HALVES[halves]))
            channels = out
        return ConvNetwork(tuple(blocks), macro.ways, macro.image_shape, flatten=False)


SPACES.register("layers", LayerSpace)


def main() -> None:
    """A short progressive search: all 12 nets of one layer, then six of two and of three."""
    settings = {"space": "layers", "blocks": 3, "beam": 6, "batch": 12, "macro.filters": 16, "final.filters": 16}
    settings |= {"surrogate.members": 2, "meta.iterations": 8, "final_meta.iterations": 40, "test.tasks": 20}
    settings |= {"validation.tasks": 5}
    with tempfile.TemporaryDirectory() as folder:
        found = autometa.search("auto-meta", preset="quick", settings=settings, out=f"{folder}/run", quiet=True)
    print(f"{found['candidates']['trained']} nets trained; the best, {found['cell']['key']}: {found['accuracy']:.0f}%")


if __name__ == "__main__":
    main()
