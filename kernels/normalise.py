"""Batch normalisation behind a convolution: factors from moments, the output, sums of gradients, a row of gradients.

`z [slots, batch, height, width, PITCH]` is what the convolution gave, without its bias. `factors [slots, 2, BLOCK]`
are the centre and 1 / deviation of `u = gamma (z - centre) / deviation + beta`; after it there may be a max pool over
windows of POOL x POOL and a ReLU. Statistics are the batch's own (BATCH), or given, or there are none.
"""

from __future__ import annotations

from dataclasses import dataclass

import triton
import triton.language as tl

from autometa.kernels.common import load_pixels, load_tile, merge_moments, split_pixel, store_tile, sum_parts
from autometa.kernels.launch import channel_block, kernel, launch, pixel_block

COLUMNS = 128
MOST_PROGRAMS = 65_535  # along a grid's second or third axis


def tiles_of(pixels: int, channels: int) -> int:
    """Tiles of one slot."""
    return triton.cdiv(pixels, pixel_block(channels))


def chunked(tiles: int) -> tuple[int, int]:
    """Tiles that one program takes, and how many programs, at most what a grid's second axis has: depends on one slot's
    shape alone."""
    each = max(1, min(8, triton.cdiv(tiles, 32)), triton.cdiv(tiles, MOST_PROGRAMS))
    return each, triton.cdiv(tiles, each)


def rows_of(block: int) -> int:
    """Rows of parts that are summed at once."""
    return max(16, 4096 // block)


@triton.jit
def pick(tensors, j, COUNT: tl.constexpr):
    """`tensors[j]` of a tuple of pointers."""
    found = tensors[0]
    for k in tl.static_range(1, COUNT):
        found = tl.where(j == k, tensors[k], found)
    return found


@triton.jit
def load_vector(base, AT: tl.constexpr, c, channels):
    """Parameters `[channels]` that stand at `AT`, 0 beyond them."""
    return tl.load(base + AT + c, mask=c < channels, other=0.0)


@triton.jit
def load_factors(factors, parameters, c, C: tl.constexpr, GAMMA: tl.constexpr, BETA: tl.constexpr, BLOCK: tl.constexpr):
    """Centre, 1 / deviation, gamma and beta of channels `c`, 0 beyond C; GAMMA < 0: there is no gamma and no beta."""
    centre = tl.load(factors + c, mask=c < C, other=0.0)
    inverse = tl.load(factors + BLOCK + c, mask=c < C, other=0.0)
    gamma, beta = tl.full(c.shape, 1.0, tl.float32), tl.zeros(c.shape, tl.float32)
    if GAMMA >= 0:
        gamma, beta = load_vector(parameters, GAMMA, c, C), load_vector(parameters, BETA, c, C)
    return centre, inverse, gamma, beta


@triton.jit
def before_norm(g, hat, sums, scale, pixels, c, C: tl.constexpr, BATCH: tl.constexpr, BLOCK: tl.constexpr):
    """Gradient in front of the normalisation, of `g` behind it; scale is gamma / deviation."""
    if BATCH:
        mean = tl.load(sums + c, mask=c < C, other=0.0) / pixels
        slope = tl.load(sums + BLOCK + c, mask=c < C, other=0.0) / pixels
        g = g - mean[None, :] - hat * slope[None, :]
    return g * scale[None, :]


@triton.jit
def best_of_window(
    z, image, row, column, height, width, centre, inverse, gamma, beta, c, live,
    C: tl.constexpr, PITCH: tl.constexpr, POOL: tl.constexpr,
):  # fmt: skip
    """The largest u of each window, its normalised z, and its place: the first of equal ones, as PyTorch has it."""
    x, _ = load_pixels(z, image, row * POOL, column * POOL, height, width, PITCH, c, C, live)
    hat = (x - centre[None, :]) * inverse[None, :]
    u = hat * gamma[None, :] + beta[None, :]
    place = tl.zeros(u.shape, tl.int32)
    for i in tl.static_range(1, POOL * POOL):
        x, inside = load_pixels(
            z, image, row * POOL + i // POOL, column * POOL + i % POOL, height, width, PITCH, c, C, live
        )
        other_hat = (x - centre[None, :]) * inverse[None, :]
        other = other_hat * gamma[None, :] + beta[None, :]
        better = inside[:, None] & ((other > u) | (other != other))
        u, hat, place = tl.where(better, other, u), tl.where(better, other_hat, hat), tl.where(better, i, place)
    return u, hat, place


@kernel
def _finish_moments(
    parts, given, parameters, statistics, factors, tiles, pixels, stride, eps,
    C: tl.constexpr, BIAS: tl.constexpr, BATCH: tl.constexpr, GIVEN: tl.constexpr, STATISTICS: tl.constexpr,
    TILE: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    s = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, BLOCK)
    inside = c < C
    bias = tl.zeros([BLOCK], tl.float32)
    if BIAS >= 0:
        bias = load_vector(parameters + s * stride, BIAS, c, C)
    centre, deviation = -bias, tl.full([BLOCK], 1.0, tl.float32)
    if BATCH or STATISTICS:
        mean, variance = merge_moments(parts + s * tiles * 2 * BLOCK, tiles, pixels, c, TILE, BLOCK, ROWS)
        if STATISTICS:
            tl.store(statistics + s * 2 * C + c, mean + bias, mask=inside)
            tl.store(statistics + s * 2 * C + C + c, variance, mask=inside)
        if BATCH:
            centre, deviation = mean, tl.sqrt(variance + eps)
    if GIVEN:
        centre = tl.load(given + s * 2 * C + c, mask=inside, other=0.0) - bias
        deviation = tl.sqrt(tl.load(given + s * 2 * C + C + c, mask=inside, other=1.0) + eps)
    tl.store(factors + s * 2 * BLOCK + c, centre)
    tl.store(factors + s * 2 * BLOCK + BLOCK + c, 1.0 / deviation)


@kernel
def _normalise(
    z, factors, parameters, y, pixels, height, width, windows, rows, columns, stride,
    C: tl.constexpr, PITCH: tl.constexpr, GAMMA: tl.constexpr, BETA: tl.constexpr, POOL: tl.constexpr,
    RELU: tl.constexpr, TILE: tl.constexpr, BLOCK: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    s = tl.program_id(1).to(tl.int64)
    p = tl.program_id(0) * TILE + tl.arange(0, TILE)
    live = p < windows
    c = tl.program_id(2) * PART + tl.arange(0, PART)
    centre, inverse, gamma, beta = load_factors(
        factors + s * 2 * BLOCK, parameters + s * stride, c, C, GAMMA, BETA, BLOCK
    )
    image, row, column = split_pixel(p, rows, columns)
    u, _, _ = best_of_window(
        z + s * pixels * PITCH, image, row, column, height, width, centre, inverse, gamma, beta, c, live, C, PITCH, POOL
    )
    if RELU:
        u = tl.where(u < 0, 0.0, u)
    store_tile(y + s * windows * PITCH, p, PITCH, c, C, live, u)


@kernel
def _gradient_parts(
    gy, z, factors, parameters, parts, pixels, height, width, windows, rows, columns, stride, tiles,
    C: tl.constexpr, PITCH: tl.constexpr, GAMMA: tl.constexpr, BETA: tl.constexpr, POOL: tl.constexpr,
    RELU: tl.constexpr, TILE: tl.constexpr, BLOCK: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    s = tl.program_id(1).to(tl.int64)
    p = tl.program_id(0) * TILE + tl.arange(0, TILE)
    live = p < windows
    c = tl.program_id(2) * PART + tl.arange(0, PART)
    centre, inverse, gamma, beta = load_factors(
        factors + s * 2 * BLOCK, parameters + s * stride, c, C, GAMMA, BETA, BLOCK
    )
    image, row, column = split_pixel(p, rows, columns)
    u, hat, _ = best_of_window(
        z + s * pixels * PITCH, image, row, column, height, width, centre, inverse, gamma, beta, c, live, C, PITCH, POOL
    )
    g = load_tile(gy + s * windows * PITCH, p, PITCH, c, C, live)
    if RELU:
        g = tl.where(u <= 0, 0.0, g)
    at = parts + (s * tiles + tl.program_id(0)) * 2 * BLOCK
    tl.store(at + c, tl.sum(g, axis=0))
    tl.store(at + BLOCK + c, tl.sum(tl.where(live[:, None], g * hat, 0.0), axis=0))


@kernel
def _finish_sums(parts, sums, tiles, BLOCK: tl.constexpr, ROWS: tl.constexpr):
    s = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, BLOCK)
    for i in tl.static_range(2):
        found = sum_parts(parts + s * tiles * 2 * BLOCK + i * BLOCK, tiles, 2 * BLOCK, c, BLOCK, ROWS)
        tl.store(sums + s * 2 * BLOCK + i * BLOCK + c, found)


@kernel
def _spread_gradient(
    gy, z, factors, parameters, sums, dz, pixels, height, width, outputs, rows, columns, windows, stride,
    C: tl.constexpr, PITCH: tl.constexpr, GAMMA: tl.constexpr, BETA: tl.constexpr, POOL: tl.constexpr,
    RELU: tl.constexpr, BATCH: tl.constexpr, TILE: tl.constexpr, BLOCK: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """dz of every pixel; those of an odd last row or column may lie in windows that have no output."""
    s = tl.program_id(1).to(tl.int64)
    p = tl.program_id(0) * TILE + tl.arange(0, TILE)
    live = p < windows
    c = tl.program_id(2) * PART + tl.arange(0, PART)
    centre, inverse, gamma, beta = load_factors(
        factors + s * 2 * BLOCK, parameters + s * stride, c, C, GAMMA, BETA, BLOCK
    )
    image, row, column = split_pixel(p, tl.cdiv(height, POOL), tl.cdiv(width, POOL))
    z += s * pixels * PITCH
    u, _, place = best_of_window(
        z, image, row, column, height, width, centre, inverse, gamma, beta, c, live, C, PITCH, POOL
    )
    g, _ = load_pixels(gy + s * outputs * PITCH, image, row, column, rows, columns, PITCH, c, C, live)
    if RELU:
        g = tl.where(u <= 0, 0.0, g)
    for i in tl.static_range(POOL * POOL):
        down, right = row * POOL + i // POOL, column * POOL + i % POOL
        x, inside = load_pixels(z, image, down, right, height, width, PITCH, c, C, live)
        hat = (x - centre[None, :]) * inverse[None, :]
        own = before_norm(
            tl.where(place == i, g, 0.0), hat, sums + s * 2 * BLOCK, gamma * inverse, pixels, c, C, BATCH, BLOCK
        )
        q = (image * height + down) * width + right
        store_tile(dz + s * pixels * PITCH, q, PITCH, c, C, inside, own)


@kernel
def _finish_row(
    parts, sums, factors, parameters, out, chunks, padded, row, stride,
    C: tl.constexpr, WEIGHTS: tl.constexpr, GAP_AT: tl.constexpr, GAP: tl.constexpr, BIAS: tl.constexpr,
    GAMMA: tl.constexpr, BETA: tl.constexpr, BATCH: tl.constexpr, BLOCK: tl.constexpr, COLUMNS: tl.constexpr,
    ROWS: tl.constexpr,
):  # fmt: skip
    """Gradients of weights from their parts, of bias, gamma and beta from the sums; 0 in all other columns."""
    s = tl.program_id(1).to(tl.int64)
    first = tl.program_id(0) * COLUMNS
    j = first + tl.arange(0, COLUMNS)
    found = tl.zeros([COLUMNS], tl.float32)
    if first < WEIGHTS:
        weight = (j < WEIGHTS) & ((j < GAP_AT) | (j >= GAP_AT + GAP))
        total = sum_parts(parts + s * chunks * padded, chunks, padded, j, COLUMNS, ROWS)
        found = tl.where(weight, total, 0.0)
    sums += s * 2 * BLOCK
    if GAMMA >= 0:
        found += tl.load(sums + BLOCK + j - GAMMA, mask=(j >= GAMMA) & (j < GAMMA + C), other=0.0)
        found += tl.load(sums + j - BETA, mask=(j >= BETA) & (j < BETA + C), other=0.0)
    if BIAS >= 0 and not BATCH:
        here = (j >= BIAS) & (j < BIAS + C)
        own = tl.load(sums + j - BIAS, mask=here, other=0.0)
        own *= tl.load(factors + s * 2 * BLOCK + BLOCK + j - BIAS, mask=here, other=0.0)
        if GAMMA >= 0:
            own *= tl.load(parameters + s * stride + GAMMA + j - BIAS, mask=here, other=0.0)
        found += own
    tl.store(out + s * row + j, found, mask=j < row)


@dataclass(frozen=True)
class Norm:
    """What stands behind a convolution of `channels` outputs. bias, gamma, beta: where they begin in a slot's
    parameters, -1 where they are absent. batch: by the batch's own statistics."""

    channels: int
    bias: int = -1
    gamma: int = -1
    beta: int = -1
    batch: bool = True
    pool: int = 1
    relu: bool = False

    @property
    def block(self) -> int:
        """Channels of factors, sums and moments."""
        return channel_block(self.channels)

    @property
    def part(self) -> int:
        """Channels that a program takes."""
        return min(self.block, 128)

    @property
    def parts(self) -> int:
        return triton.cdiv(self.channels, self.part)

    @property
    def tile(self) -> int:
        return pixel_block(self.channels)

    @property
    def options(self) -> dict:
        """Constants of the kernels that read `z` and the factors."""
        names = {"C": self.channels, "PITCH": -(-self.channels // 4) * 4, "GAMMA": self.gamma, "BETA": self.beta}
        return {
            **names,
            "POOL": self.pool,
            "RELU": self.relu,
            "TILE": self.tile,
            "BLOCK": self.block,
            "PART": self.part,
            "num_warps": 8 if self.pool > 1 else 4,
        }


def _pixels(x) -> int:
    return x.shape[1] * x.shape[3] * x.shape[4]


def finish_moments(norm: Norm, parts, given, params, statistics, factors, pixels: int, eps: float) -> None:
    """factors `[S, 2, BLOCK]`, and statistics `[S, 2, C]` where asked for, from moments of tiles or `given`."""
    launch(
        _finish_moments,
        (factors.shape[0],),
        *(parts, given, params, statistics, factors, tiles_of(pixels, norm.channels), pixels, params.stride(0), eps),
        C=norm.channels,
        BIAS=norm.bias,
        BATCH=norm.batch,
        GIVEN=given is not None,
        STATISTICS=statistics is not None,
        TILE=norm.tile,
        BLOCK=norm.block,
        ROWS=rows_of(norm.block),
    )


def normalise(norm: Norm, z, factors, params, y) -> None:
    """The output y `[S, N, C, H', W']` of z `[S, N, C, H, W]`."""
    launch(
        _normalise,
        (triton.cdiv(_pixels(y), norm.tile), y.shape[0], norm.parts),
        *(z, factors, params, y, _pixels(z), *z.shape[3:], _pixels(y), *y.shape[3:], params.stride(0)),
        **norm.options,
    )


def gradient_sums(norm: Norm, gy, z, factors, params, parts, sums) -> None:
    """Sums `[S, 2, BLOCK]` of the gradient behind the normalisation, and of it times the normalised z."""
    tiles = triton.cdiv(_pixels(gy), norm.tile)
    sizes = (_pixels(z), *z.shape[3:], _pixels(gy), *gy.shape[3:], params.stride(0), tiles)
    launch(_gradient_parts, (tiles, gy.shape[0], norm.parts), gy, z, factors, params, parts, *sizes, **norm.options)
    block = norm.block
    launch(_finish_sums, (gy.shape[0],), parts, sums, tiles, BLOCK=block, ROWS=rows_of(block))


def spread_gradient(norm: Norm, gy, z, factors, params, sums, dz) -> None:
    """The gradient dz of z."""
    windows = z.shape[1] * triton.cdiv(z.shape[3], norm.pool) * triton.cdiv(z.shape[4], norm.pool)
    sizes = (_pixels(z), *z.shape[3:], _pixels(gy), *gy.shape[3:], windows, params.stride(0))
    launch(
        _spread_gradient,
        (triton.cdiv(windows, norm.tile), z.shape[0], norm.parts),
        *(gy, z, factors, params, sums, dz, *sizes),
        BATCH=norm.batch,
        **norm.options,
    )


def padded_columns(weights: int) -> int:
    """Columns of parts of weight gradients, as `finish_row` reads them."""
    return triton.cdiv(weights, COLUMNS) * COLUMNS


def finish_row(norm: Norm, parts, sums, factors, params, out, weights: int, gap_at: int = 0, gap: int = 0) -> None:
    """Gradients `out [S, row]` of a row of parameters. parts `[S, chunks, padded_columns(weights)]` cover the
    columns before `weights` but for `gap` columns at `gap_at`."""
    launch(
        _finish_row,
        (triton.cdiv(out.shape[1], COLUMNS), out.shape[0]),
        *(parts, sums, factors, params, out, parts.shape[1], parts.shape[2], out.shape[1], params.stride(0)),
        C=norm.channels,
        WEIGHTS=weights,
        GAP_AT=gap_at,
        GAP=gap,
        BIAS=norm.bias,
        GAMMA=norm.gamma,
        BETA=norm.beta,
        BATCH=norm.batch,
        BLOCK=norm.block,
        COLUMNS=COLUMNS,
        ROWS=32,
    )
