"""Convolutions as sums over taps: depthwise in registers, all others on the matrix units; and their gradients.

The input of a stage is either a state (`mean` 0, `scale` 1, `shift` 0) or a map that is normalised on the way in;
both pass through a ReLU.
"""

from __future__ import annotations

import triton
import triton.language as tl

from autometa.kernels.common import load_pixels, product, relu


@triton.jit
def activated(base, image, row, column, height, width, pitch, mean, scale, shift, c, channels, live):
    """A tile of a stage's input: normalised, ReLU, 0 outside."""
    x, inside = load_pixels(base, image, row, column, height, width, pitch, c, channels, live)
    x = relu((x - mean[None, :]) * scale[None, :] + shift[None, :])
    return tl.where(inside[:, None], x, 0.0)


@triton.jit
def within(place, count):
    """Whether rows or columns lie inside a map."""
    return (place >= 0) & (place < count)


@triton.jit
def pixels_at(base, image, row, column, height, width, pitch, c):
    """Addresses of a tile: those of a tap are at a distance that is one number for all."""
    return base + (((image * height + row) * width + column) * pitch)[:, None] + c[None, :]


@triton.jit
def activated_at(at, inside, real, mean, scale, shift):
    """`activated`, of a tile by its addresses."""
    x = tl.load(at, mask=inside[:, None] & real[None, :], other=0.0).to(tl.float32)
    x = relu((x - mean[None, :]) * scale[None, :] + shift[None, :])
    return tl.where(inside[:, None], x, 0.0)


@triton.jit
def identity_norm(c):
    """The normalisation that does nothing."""
    zero = tl.zeros_like(c).to(tl.float32)
    return zero, zero + 1.0, zero


@triton.jit
def depthwise(
    base, image, row, column, height, width, pitch, mean, scale, shift, weights, size, dilation, stride, c, channels,
    live,
):  # fmt: skip
    """Depthwise convolution of a tile; weights `[C, size, size]`."""
    total = tl.zeros([row.shape[0], c.shape[0]], tl.float32)
    centre, real = pixels_at(base, image, row * stride, column * stride, height, width, pitch, c), c < channels
    filters = weights + c * size * size
    for i in range(size):
        dy = (i - size // 2) * dilation
        in_rows = live & within(row * stride + dy, height)
        for j in range(size):
            dx = (j - size // 2) * dilation
            inside = in_rows & within(column * stride + dx, width)
            x = activated_at(centre + (dy * width + dx) * pitch, inside, real, mean, scale, shift)
            total += x * tl.load(filters + i * size + j, mask=real, other=0.0)[None, :]
    return total


@triton.jit
def weight_tile(weights, k, taps, c, o, channels):
    """Tap k of a convolution `[C_out, C_in, taps]`, as `[C_in, C_out]`."""
    at = weights + (o[None, :] * channels + c[:, None]) * taps + k
    return tl.load(at, mask=(o < channels)[None, :] & (c < channels)[:, None], other=0.0)


@triton.jit
def half_tile(weights, k, c, o, channels):
    """The outputs of half k of a factorised reduction, `[C_in, C_out]`, 0 for those of the other."""
    half = channels // 2
    first = tl.where(k == 0, 0, half)
    until = tl.where(k == 0, half, channels)
    skip = tl.where(k == 0, 0, (half * channels + 15) // 16 * 16)
    at = weights + skip + (o - first)[None, :] * channels + c[:, None]
    return tl.load(at, mask=((o >= first) & (o < until))[None, :] & (c < channels)[:, None], other=0.0)


@triton.jit
def convolution(
    base, image, row, column, height, width, pitch, weights, tall, wide, stride, o, channels, live,
    RELU: tl.constexpr, PRECISION: tl.constexpr, CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Full convolution of a tile with a window of tall x wide; ReLU first where asked."""
    total = tl.zeros([row.shape[0], o.shape[0]], tl.float32)
    for k in range(tall * wide):
        dy = k // wide - tall // 2
        dx = k % wide - wide // 2
        for first in range(0, CHANNELS, BLOCK):
            c = first + tl.arange(0, BLOCK)
            x, inside = load_pixels(
                base, image, row * stride + dy, column * stride + dx, height, width, pitch, c, channels, live
            )
            if RELU:
                x = relu(x)
            total += product(x, weight_tile(weights, k, tall * wide, c, o, channels), PRECISION)
    return total


@triton.jit
def reduction(
    base, image, row, column, height, width, pitch, weights, o, channels, live, PRECISION: tl.constexpr,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Factorised reduction of a tile: two 1x1 convolutions of stride 2, the second shifted along even axes."""
    total = tl.zeros([row.shape[0], o.shape[0]], tl.float32)
    for k in range(2):
        down = row * 2 + k * (1 - height % 2)
        right = column * 2 + k * (1 - width % 2)
        for first in range(0, CHANNELS, BLOCK):
            c = first + tl.arange(0, BLOCK)
            x, inside = load_pixels(base, image, down, right, height, width, pitch, c, channels, live)
            total += product(relu(x), half_tile(weights, k, c, o, channels), PRECISION)
    return total


@triton.jit
def maximum(base, image, row, column, height, width, pitch, stride, c, channels, live):
    """Maximum of 3x3 windows of a tile, and which of the nine it was: the first of equals, as in PyTorch."""
    best = tl.full([row.shape[0], c.shape[0]], float("-inf"), tl.float32)
    found = tl.full([row.shape[0], c.shape[0]], -1, tl.int32)
    for k in range(9):
        x, inside = load_pixels(
            base, image, row * stride + k // 3 - 1, column * stride + k % 3 - 1, height, width, pitch, c, channels, live
        )
        better = inside[:, None] & ((x > best) | (x != x) | (found < 0))
        best = tl.where(better, x, best)
        found = tl.where(better, k, found)
    return best, found


@triton.jit
def window_count(row, column, height, width, stride):
    """Pixels of the 3x3 window that lie inside the map."""
    down = tl.minimum(row * stride + 1, height - 1) - tl.maximum(row * stride - 1, 0) + 1
    right = tl.minimum(column * stride + 1, width - 1) - tl.maximum(column * stride - 1, 0) + 1
    return (down * right).to(tl.float32)


@triton.jit
def average(base, image, row, column, height, width, pitch, stride, c, channels, live):
    """Average of 3x3 windows of a tile, padding not counted."""
    total = tl.zeros([row.shape[0], c.shape[0]], tl.float32)
    for k in range(9):
        x, _ = load_pixels(
            base, image, row * stride + k // 3 - 1, column * stride + k % 3 - 1, height, width, pitch, c, channels, live
        )
        total += x
    return total / window_count(row, column, height, width, stride)[:, None]


@triton.jit
def origin(row, column, dy, dx, stride, height, width, live):
    """The output pixel whose tap (dy, dx) is this input pixel, and whether there is one. The stride is 1 or 2, so that
    its remainder is a bit and its quotient a shift."""
    down = row - dy
    right = column - dx
    found = live & ((down | right) >= 0) & (((down | right) & (stride - 1)) == 0)
    down = down >> (stride - 1)
    right = right >> (stride - 1)
    return down, right, found & (down < height) & (right < width)
