"""What kernels share: pixels of a map, taps, products on the matrix units, moments of a tile.

A map is `[slots, batch, height, width, pitch]` with channels last; a tile is `[pixels, channels]` of one slot, pixels
counted over batch, height and width together.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def relu(x):
    """0 where x < 0; what is undefined stays so."""
    return tl.where(x < 0, 0.0, x)


@triton.jit
def product(a, b, PRECISION: tl.constexpr):
    """`a @ b` in float32: `tf32x3`, `tf32`, `bf16`, or `rounded` (bf16 as the interpreter can do it)."""
    if PRECISION == "bf16":
        return tl.dot(a.to(tl.bfloat16), b.to(tl.bfloat16))
    elif PRECISION == "rounded":
        return tl.dot(a.to(tl.bfloat16).to(tl.float32), b.to(tl.bfloat16).to(tl.float32))
    else:
        return tl.dot(a, b, input_precision=PRECISION)


@triton.jit
def split_pixel(p, height, width):
    """Pixel number -> image, row, column."""
    image = p // (height * width)
    rest = p - image * (height * width)
    row = rest // width
    return image, row, rest - row * width


@triton.jit
def load_pixels(base, image, row, column, height, width, pitch, c, channels, live):
    """A tile `[pixels, channels]` in float32, 0 outside the map; and which pixels lie inside."""
    inside = live & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    at = ((image * height + row) * width + column) * pitch
    x = tl.load(base + at[:, None] + c[None, :], mask=inside[:, None] & (c < channels)[None, :], other=0.0)
    return x.to(tl.float32), inside


@triton.jit
def load_tile(base, p, pitch, c, channels, live):
    """The tile of pixels `p` in float32, 0 where not `live`."""
    x = tl.load(base + (p * pitch)[:, None] + c[None, :], mask=live[:, None] & (c < channels)[None, :], other=0.0)
    return x.to(tl.float32)


@triton.jit
def store_tile(base, p, pitch, c, channels, live, x):
    """Write a tile, converted to the map's type."""
    at = base + (p * pitch)[:, None] + c[None, :]
    tl.store(at, x.to(base.dtype.element_ty), mask=live[:, None] & (c < channels)[None, :])


@triton.jit
def store_moments(base, z, live, c, CHANNELS: tl.constexpr):
    """Mean and sum of squared deviations of a tile's live pixels, `[2, CHANNELS]`."""
    count = tl.sum(live.to(tl.float32), axis=0)
    mean = tl.sum(tl.where(live[:, None], z, 0.0), axis=0) / count
    away = tl.where(live[:, None], z - mean[None, :], 0.0)
    tl.store(base + c, mean)
    tl.store(base + CHANNELS + c, tl.sum(away * away, axis=0))


@triton.jit
def merge_moments(parts, tiles, pixels, c, TILE: tl.constexpr, CHANNELS: tl.constexpr, ROWS: tl.constexpr):
    """Mean and biased variance `[CHANNELS]` of `pixels` pixels from the moments of their tiles `[tiles, 2, CHANNELS]`.

    (Chan, Golub and LeVeque 1983; in the order of the tiles.)
    """
    r = tl.arange(0, ROWS)
    total = tl.zeros([CHANNELS], tl.float32)
    for first in range(0, tiles, ROWS):
        t = first + r
        count = tl.minimum(pixels - t * TILE, TILE).to(tl.float32)
        at = parts + (t * 2 * CHANNELS)[:, None] + c[None, :]
        total += tl.sum(tl.load(at, mask=(t < tiles)[:, None], other=0.0) * count[:, None], axis=0)
    mean = total / pixels
    squares = tl.zeros([CHANNELS], tl.float32)
    for first in range(0, tiles, ROWS):
        t = first + r
        live = (t < tiles)[:, None]
        count = tl.minimum(pixels - t * TILE, TILE).to(tl.float32)
        at = parts + (t * 2 * CHANNELS)[:, None] + c[None, :]
        away = tl.where(live, tl.load(at, mask=live, other=0.0) - mean[None, :], 0.0)
        inner = tl.load(at + CHANNELS, mask=live, other=0.0)
        squares += tl.sum(inner + away * away * count[:, None], axis=0)
    return mean, squares / pixels


@triton.jit
def sum_parts(parts, tiles, stride, c, CHANNELS: tl.constexpr, ROWS: tl.constexpr):
    """The sum `[CHANNELS]` of rows `[tiles, CHANNELS]` that stand `stride` apart, in order."""
    r = tl.arange(0, ROWS)
    total = tl.zeros([CHANNELS], tl.float32)
    for first in range(0, tiles, ROWS):
        t = first + r
        at = parts + (t * stride)[:, None] + c[None, :]
        total += tl.sum(tl.load(at, mask=(t < tiles)[:, None], other=0.0), axis=0)
    return total
