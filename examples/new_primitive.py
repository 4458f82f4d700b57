"""A primitive of your own in one file: a depthwise 1x7 then 7x1 convolution, which no search knew before.

    autometa search metanas --preset quick --plugin examples/new_primitive.py \
        --primitives max_pool_3x3,skip_connect,conv_3x3,strip_conv_7 --out runs/strips

or, here, a short search from Python:

    python examples/new_primitive.py
"""

from __future__ import annotations

import tempfile

import autometa
from autometa.ops.primitives import Shape, conv, register


def convolutions(channels: int, stride: int):
    """The weights of each normalised stage; here one stage with three."""
    row, column = (channels, 1, 1, 7), (channels, 1, 7, 1)
    mix = (channels, channels, 1, 1)
    return ((Shape("row", row), Shape("column", column), Shape("mix", mix)),)


def run(x, relu_x, weights, slots, stride):
    """One stage of all slots, before its batch normalisation."""
    y = conv(relu_x, weights[0], slots, stride, padding=(0, 3))
    y = conv(y, weights[1], slots, padding=(3, 0))
    return conv(y, weights[2], slots)


def macs(channels: int, height: int, width: int, stride: int) -> int:
    """Multiply-accumulates; the output is height x width."""
    return height * width * (14 * channels + channels * channels)


register("strip_conv_7", convolutions, run, macs)


def main() -> None:
    """A short search among four primitives; says how often the new one was chosen."""
    settings = {
        "primitives": ["max_pool_3x3", "skip_connect", "conv_3x3", "strip_conv_7"],
        "meta.iterations": 12,
        "warmup": 6,
        "test.tasks": 10,
        "compare": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        found = autometa.search("metanas", preset="quick", settings=settings, out=f"{folder}/run", quiet=True)
    cells = f"{found['genotype']['normal']}; {found['genotype']['reduction']}"
    chosen = cells.count("strip_conv_7")
    print(f"the commonest cells: {cells}")
    print(f"strip_conv_7 stands on {chosen} of {cells.count('(')} edges; accuracy {found['accuracy']:.0f}%")


if __name__ == "__main__":
    main()
