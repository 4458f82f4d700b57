"""Cell preprocessing: ReLU, 1x1 convolution of the states, or the factorised reduction.

The convolution and its moments in one launch; normalisation and its gradient are in `normalise`. Backward, a program
takes one block of input channels over a few tiles of pixels: gradient of the states there, and a part of the weights'.
"""

from __future__ import annotations

import triton
import triton.language as tl

from autometa.kernels.common import load_tile, product, relu, split_pixel, store_moments, store_tile
from autometa.kernels.launch import channel_block, dot_precision, launch
from autometa.kernels.normalise import Norm, before_norm, chunked, load_factors, pick, tiles_of


@triton.jit
def _source(p, part: tl.constexpr, rows, columns, height, width, REDUCE: tl.constexpr):
    """The pixel that an output pixel reads; the second half of a reduction is shifted along axes of even length."""
    if REDUCE:
        image, row, column = split_pixel(p, rows, columns)
        down, right = part * (1 - height % 2), part * (1 - width % 2)
        return (image * height + 2 * row + down) * width + 2 * column + right
    else:
        return p


@triton.jit
def _weights(
    parameters, part: tl.constexpr, o, i, inside,
    C: tl.constexpr, DEPTH: tl.constexpr, REDUCE: tl.constexpr, GAP: tl.constexpr,
):  # fmt: skip
    """Weights `[outputs, inputs]`, of the outputs of one half of a reduction where there are two."""
    mine = o < C
    if REDUCE:
        mine = (o < C // 2) if part == 0 else (mine & (o >= C // 2))
    at = o * DEPTH + part * GAP
    return tl.load(parameters + at[:, None] + i[None, :], mask=mine[:, None] & inside[None, :], other=0.0)


@triton.jit
def _pointwise(
    states, parameters, z, moments, pixels, rows, columns, inputs, height, width, stride, tiles,
    COUNT: tl.constexpr, WIDTH: tl.constexpr, WIDTH_PITCH: tl.constexpr, REDUCE: tl.constexpr, GAP: tl.constexpr,
    C: tl.constexpr, PITCH: tl.constexpr, MOMENTS: tl.constexpr, TILE: tl.constexpr, BLOCK: tl.constexpr,
    INNER: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    s = tl.program_id(1).to(tl.int64)
    p = tl.program_id(0) * TILE + tl.arange(0, TILE)
    live = p < pixels
    o = tl.arange(0, BLOCK)
    total = tl.zeros([TILE, BLOCK], tl.float32)
    for part in tl.static_range(2 if REDUCE else 1):
        q = _source(p, part, rows, columns, height, width, REDUCE)
        for j in tl.static_range(COUNT):
            for first in range(0, WIDTH, INNER):
                k = first + tl.arange(0, INNER)
                x = load_tile(states[j] + s * inputs * WIDTH_PITCH, q, WIDTH_PITCH, k, WIDTH, live)
                w = _weights(parameters + s * stride, part, o, j * WIDTH + k, k < WIDTH, C, COUNT * WIDTH, REDUCE, GAP)
                total += product(relu(x), tl.trans(w), PRECISION)
    total = total.to(z.dtype.element_ty).to(tl.float32)
    store_tile(z + s * pixels * PITCH, p, PITCH, o, C, live, total)
    if MOMENTS:
        store_moments(moments + (s * tiles + tl.program_id(0)) * 2 * BLOCK, total, live, o, BLOCK)


@triton.jit
def _store_block(dx, image, row, column, height, width, k, a, b, WIDTH: tl.constexpr, PITCH: tl.constexpr, live):
    """Gradients of the 2x2 pixels from which a reduction read one or two: `a` the first, `b` the shifted one."""
    for i in tl.static_range(4):
        down, right = 2 * row + i // 2, 2 * column + i % 2
        value = tl.zeros(a.shape, tl.float32)
        if i == 0:
            value += a
        shifted = (i // 2 == 1 - height % 2) & (i % 2 == 1 - width % 2)
        value += tl.where(shifted, b, 0.0)
        there = live & (down < height) & (right < width)
        store_tile(dx, (image * height + down) * width + right, PITCH, k, WIDTH, there, value)


@triton.jit
def _part_backward(
    x_base, gy, z, weights, factors, parameters, sums, p, q, live, o, k, outputs, pixels,
    DEPTH: tl.constexpr, WIDTH: tl.constexpr, WIDTH_PITCH: tl.constexpr, C: tl.constexpr, PITCH: tl.constexpr,
    GAMMA: tl.constexpr, BETA: tl.constexpr, BATCH: tl.constexpr, BLOCK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradients of a tile of inputs `[pixels q, k]` and of weights `[o, k]`, by the outputs `[pixels p, o]`, which are
    those before `outputs`."""
    w = tl.load(
        weights + (o * DEPTH)[:, None] + k[None, :], mask=(o < outputs)[:, None] & (k < WIDTH)[None, :], other=0.0
    )
    centre, inverse, gamma, _ = load_factors(factors, parameters, o, C, GAMMA, BETA, BLOCK)
    g = load_tile(gy, p, PITCH, o, outputs, live)
    hat = (load_tile(z, p, PITCH, o, outputs, live) - centre[None, :]) * inverse[None, :]
    dz = before_norm(g, hat, sums, gamma * inverse, pixels, o, C, BATCH, BLOCK)
    dz = tl.where(live[:, None] & (o < outputs)[None, :], dz, 0.0)
    x = load_tile(x_base, q, WIDTH_PITCH, k, WIDTH, live)
    dx = tl.where(x <= 0, 0.0, product(dz, w, PRECISION))
    return dx, product(tl.trans(dz), relu(x), PRECISION)


@triton.jit
def _store_weights(parts, dw, o, k, outputs, DEPTH: tl.constexpr, WIDTH: tl.constexpr):
    at = parts + (o * DEPTH)[:, None] + k[None, :]
    tl.store(at, dw, mask=(o < outputs)[:, None] & (k < WIDTH)[None, :])


@triton.jit
def _pointwise_backward(
    states, grads, gy, z, factors, parameters, sums, parts,
    pixels, rows, columns, inputs, height, width, stride, padded,
    COUNT: tl.constexpr, WIDTH: tl.constexpr, WIDTH_PITCH: tl.constexpr, REDUCE: tl.constexpr, GAP: tl.constexpr,
    C: tl.constexpr, PITCH: tl.constexpr, GAMMA: tl.constexpr, BETA: tl.constexpr, BATCH: tl.constexpr,
    TILE: tl.constexpr, EACH: tl.constexpr, BLOCK: tl.constexpr, OUTPUTS: tl.constexpr, INNER: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """OUTPUTS: as many as the convolution has, or each half of a reduction."""
    s = tl.program_id(2).to(tl.int64)
    chunk = tl.program_id(1)
    j = tl.program_id(0) // tl.cdiv(WIDTH, INNER)
    k = tl.program_id(0) % tl.cdiv(WIDTH, INNER) * INNER + tl.arange(0, INNER)
    o = tl.arange(0, OUTPUTS)
    half: tl.constexpr = C // 2 if REDUCE else C
    x_base = pick(states, j, COUNT) + s * inputs * WIDTH_PITCH
    dx_base = pick(grads, j, COUNT) + s * inputs * WIDTH_PITCH
    gy += s * pixels * PITCH
    z += s * pixels * PITCH
    parameters += s * stride
    factors += s * 2 * BLOCK
    sums += s * 2 * BLOCK
    weights = parameters + j * WIDTH
    dw = tl.zeros([OUTPUTS, INNER], tl.float32)
    dw_second = tl.zeros([OUTPUTS, INNER], tl.float32)
    for t in range(EACH):
        p = (chunk * EACH + t) * TILE + tl.arange(0, TILE)
        live = p < pixels
        q = _source(p, 0, rows, columns, height, width, REDUCE)
        dx, own = _part_backward(
            x_base, gy, z, weights, factors, parameters, sums, p, q, live, o, k, half, pixels,
            COUNT * WIDTH, WIDTH, WIDTH_PITCH, C, PITCH, GAMMA, BETA, BATCH, BLOCK, PRECISION,
        )  # fmt: skip
        dw += own
        if REDUCE:
            q = _source(p, 1, rows, columns, height, width, REDUCE)
            shifted, own = _part_backward(
                x_base, gy, z, weights + GAP, factors, parameters, sums, p, q, live, half + o, k, C, pixels,
                COUNT * WIDTH, WIDTH, WIDTH_PITCH, C, PITCH, GAMMA, BETA, BATCH, BLOCK, PRECISION,
            )  # fmt: skip
            dw_second += own
            image, row, column = split_pixel(p, rows, columns)
            _store_block(dx_base, image, row, column, height, width, k, dx, shifted, WIDTH, WIDTH_PITCH, live)
        else:
            store_tile(dx_base, p, WIDTH_PITCH, k, WIDTH, live, dx)
    parts += (s * tl.num_programs(1) + chunk) * padded + j * WIDTH
    _store_weights(parts, dw, o, k, half, COUNT * WIDTH, WIDTH)
    if REDUCE:
        _store_weights(parts + GAP, dw_second, half + o, k, C, COUNT * WIDTH, WIDTH)


def _shared(states, norm: Norm, reduce: bool, gap: int, mode: str) -> dict:
    width = states[0].shape[2]
    return {
        "COUNT": len(states),
        "WIDTH": width,
        "WIDTH_PITCH": -(-width // 4) * 4,
        "REDUCE": reduce,
        "GAP": gap,
        "C": norm.channels,
        "PITCH": norm.options["PITCH"],
        "BLOCK": norm.block,
        "INNER": min(channel_block(width), 32),
        "PRECISION": dot_precision(mode),
    }


def _sizes(states, z) -> tuple[int, ...]:
    _, batch, _, height, width = states[0].shape
    rows, columns = z.shape[3:]
    return batch * rows * columns, rows, columns, batch * height * width, height, width


def pointwise(norm: Norm, states, params, z, moments, reduce: bool, gap: int, mode: str) -> None:
    """z `[S, N, C, H', W']` and, unless None, moments `[S, tiles, 2, BLOCK]`; states `[S, N, WIDTH, H, W]` each."""
    sizes = _sizes(states, z)
    tiles = tiles_of(sizes[0], norm.channels)
    launch(
        _pointwise,
        (tiles, z.shape[0]),
        *(tuple(states), params, z, moments, *sizes, params.stride(0), tiles),
        MOMENTS=moments is not None,
        TILE=norm.tile,
        num_warps=8 if norm.tile * norm.block > 4096 or norm.tile > 64 else 4,
        **_shared(states, norm, reduce, gap, mode),
    )


def _backward_tile(norm: Norm) -> int:
    """Pixels that a program takes at once: two products share its registers."""
    return 32 if norm.block <= 64 else 16


def chunks(norm: Norm, pixels: int) -> int:
    """Parts of the weights' gradient, per slot."""
    return chunked(triton.cdiv(pixels, _backward_tile(norm)))[1]


def pointwise_backward(norm: Norm, states, grads, gy, z, factors, params, sums, parts, reduce, gap, mode) -> None:
    """grads, like states, and parts `[S, chunks, padded]` of the weights' gradient."""
    sizes = _sizes(states, z)
    tile = _backward_tile(norm)
    each, count = chunked(triton.cdiv(sizes[0], tile))
    shared = _shared(states, norm, reduce, gap, mode)
    outputs = norm.channels - norm.channels // 2 if reduce else norm.channels
    launch(
        _pointwise_backward,
        (len(states) * triton.cdiv(shared["WIDTH"], shared["INNER"]), count, z.shape[0]),
        *(tuple(states), tuple(grads), gy, z, factors, params, sums, parts),
        *(*sizes, params.stride(0), parts.shape[2]),
        GAMMA=norm.gamma,
        BETA=norm.beta,
        BATCH=norm.batch,
        TILE=tile,
        EACH=each,
        OUTPUTS=channel_block(outputs),
        num_stages=1,  # more would cost the registers that the products need
        num_warps=8 if norm.block > 64 else 4,
        **shared,
    )
