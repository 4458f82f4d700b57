"""Plain convolutional networks: the four-layer nets of MAML and Reptile, and anything of that shape."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

from torch import Tensor

from autometa.brief import brief
from autometa.ops.conv_block import ConvBlock, conv_block
from autometa.ops.conv_stack import conv_stack
from autometa.ops.linear_head import head_features, head_parameters, linear_head
from autometa.slots.init import ONES, ZEROS, convolution_init, initial_row
from autometa.slots.layout import Layout, LayoutBuilder
from autometa.slots.statistics import BatchStatistics


@brief
@dataclass(frozen=True)
class ConvNetwork:
    """Conv blocks one after another, then a linear layer on all values (`flatten`) or on spatial means.

    image_shape is (channels, height, width), ways the number of classes, init `glorot` or `fan_in`.
    """

    blocks: tuple[ConvBlock, ...]
    ways: int
    image_shape: tuple[int, int, int]
    flatten: bool = True
    init: str = "glorot"

    @cached_property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Height and width of the input and of each block's output."""
        sizes = [self.image_shape[1:]]
        for block in self.blocks:
            height, width = sizes[-1]
            sizes.append((block.output(height), block.output(width)))
        return tuple(sizes)

    @property
    def features(self) -> int:
        height, width = self.sizes[-1]
        return self.blocks[-1].c_out * (height * width if self.flatten else 1)

    @cached_property
    def layout(self) -> Layout:
        builder = LayoutBuilder()
        fixed = {"conv_bias": ZEROS, "bn_gamma": ONES, "bn_beta": ZEROS}
        for i, block in enumerate(self.blocks):
            builder.block(f"conv{i}")
            for p in block.parameters():
                builder.add(f"conv{i}.{p.role}", p.shape, fixed.get(p.role) or convolution_init(p.shape, self.init))
        builder.block("head")
        builder.head()
        weight, bias = head_parameters(self.features, self.ways)
        builder.add("head.weight", weight.shape, convolution_init(weight.shape, self.init))
        builder.add("head.bias", bias.shape, ZEROS)
        return builder.build()

    def initial(self, seed: int) -> Tensor:
        """A freshly initialised row `[row]`."""
        return initial_row(self.layout, seed)

    def logits(
        self, phi: Tensor, images: Tensor, statistics: BatchStatistics | None = None, *, features: bool = False
    ) -> Tensor:
        """phi `[S, row]`, images `[S, N, C, H, W]` -> logits `[S, N, ways]`, or the last layer's `features`."""
        statistics = statistics or BatchStatistics()
        if type(statistics) is BatchStatistics and not features:
            return conv_stack(images, phi, self.blocks, self.ways, flatten=self.flatten)
        blocks = self.layout.split(phi)
        x = images
        for i, block in enumerate(self.blocks):
            given = statistics.take()
            x, kept = conv_block(x, blocks[f"conv{i}"], block, given=given, want_statistics=statistics.record)
            statistics.keep(kept)
        if features:
            return head_features([x], flatten=self.flatten)
        return linear_head([x], blocks["head"], self.ways, flatten=self.flatten)

    @property
    def smallest_map(self) -> tuple[int, int]:
        """Height and width of the smallest feature map that a BN normalises."""
        return min((_convolved(block, size) for block, size in zip(self.blocks, self.sizes, strict=False)), key=prod)

    def macs(self) -> int:
        """Multiply-accumulates of convolutions and linear layer for one image."""
        total = self.features * self.ways
        for block, (height, width) in zip(self.blocks, self.sizes[:-1], strict=True):
            total += prod(_convolved(block, (height, width))) * block.c_in * block.c_out * block.kernel**2
        return total


def _convolved(block: ConvBlock, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of what a block's convolution puts out, before any pooling."""
    height, width = ((n + sum(block.pads(n)) - block.kernel) // block.stride + 1 for n in size)
    return height, width


_STRIDED: dict[str, Any] = dict(stride=2, padding="same", bias=True, relu=True, eps=1e-3)
_POOLED: dict[str, Any] = dict(padding="same", bias=True, relu=True, pool=True, eps=1e-3)
FOUR_LAYER = {
    "reptile-omniglot": (64, _STRIDED, True),
    "reptile-miniimagenet": (32, _POOLED | dict(pool_ceil=True), True),
    "maml-omniglot": (64, _STRIDED, False),
    "maml-miniimagenet": (32, _POOLED, True),
}


def four_layer(name: str, ways: int, image_shape: tuple[int, int, int], filters: int | None = None) -> ConvNetwork:
    """The four-layer nets: `reptile-omniglot`, `reptile-miniimagenet` (Nichol et al. 2018, as released: TensorFlow's
    SAME padding, convolution bias, BN eps 1e-3), `maml-omniglot`, `maml-miniimagenet` (Finn et al. 2017, appendix A).

    Raises `ValueError` for another name.
    """
    if name not in FOUR_LAYER:
        raise ValueError(f"unknown four-layer network {name!r}; choose from {', '.join(FOUR_LAYER)}")
    width, settings, flatten = FOUR_LAYER[name]
    width = filters or width
    channels = (image_shape[0], width, width, width, width)
    blocks = tuple(ConvBlock(a, b, **settings) for a, b in zip(channels[:-1], channels[1:], strict=True))
    return ConvNetwork(blocks, ways, image_shape, flatten)
