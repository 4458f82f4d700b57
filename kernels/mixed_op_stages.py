"""The node op's backward: gradients of convolutions, as maps for those before them and as parts for their weights.

Parts `[S, chunks, P]` stand as the parameters do; `add_parts` sums them in order.
"""

from __future__ import annotations

import triton
import triton.language as tl

from autometa.kernels.common import load_pixels, load_tile, product, relu, split_pixel, store_tile
from autometa.kernels.launch import kernel
from autometa.kernels.mixed_op_backward import output_gradient
from autometa.kernels.node_table import (
    DILATION,
    FULL,
    GRAD,
    HEIGHT,
    KERNEL,
    KIND,
    LAST,
    MIDDLE,
    MIDDLE_GRAD,
    PAIR,
    REDUCTION,
    SEPARABLE,
    SIZE,
    STAGES,
    STATE,
    STRIDE,
    WEIGHT,
    WIDTH,
    normaliser,
    pick,
    table_row,
    weight_of,
)
from autometa.kernels.taps import activated_at, depthwise, identity_norm, pixels_at, weight_tile, within


@triton.jit
def stage_input(
    states, maps, moments, phi, row, s, i, slots, batch, instances, pixels, height, width, channels, pitch, eps, c,
    SECOND: tl.constexpr, STATES: tl.constexpr, AFFINE: tl.constexpr,
):  # fmt: skip
    """What a separable stage reads: pointer, height, width, stride; mean, scale and shift of its normalisation."""
    if SECOND:
        x = maps + (tl.load(row + MIDDLE) * slots + s) * pixels * pitch
        mean, rstd, gamma, beta = normaliser(moments, phi, row, s, i, 0, instances, channels, eps, c, AFFINE)
        return x, height, width, 1, mean, rstd * gamma, beta
    else:
        h = tl.load(row + HEIGHT)
        w = tl.load(row + WIDTH)
        x = pick(states, tl.load(row + STATE), STATES) + s * batch * h * w * pitch
        mean, scale, shift = identity_norm(c)
        return x, h, w, tl.load(row + STRIDE), mean, scale, shift


@kernel
def depthwise_gradient(
    states, phi, op_weight, input_weight, drop, gy, table, table_of_slot, chosen, maps, moments, factors, grads, parts,
    count, slots, batch, instances, edges, tiles, chunk, chunks, pixels, height, width,
    channels: tl.constexpr, pitch: tl.constexpr, phi_stride, parts_stride, eps,
    SECOND: tl.constexpr, OF_MIDDLE: tl.constexpr, STATES: tl.constexpr, TABLES: tl.constexpr, DROP: tl.constexpr,
    AFFINE: tl.constexpr, PRECISION: tl.constexpr, TILE: tl.constexpr, CHANNELS: tl.constexpr, WINDOW: tl.constexpr,
    BLOCK: tl.constexpr, MERGED: tl.constexpr,
):  # fmt: skip
    """One stage of separable convolutions: the gradient of the depthwise result (a map) and weights (parts).

    SECOND: the stage reads the normalised middle map, else a state. OF_MIDDLE: its output is the middle map, whose
    gradient stands in `grads`, else the node's. WINDOW: at least the taps, a power of 2. A program has BLOCK channels.
    MERGED: these are all channels, and the work of `pointwise_gradient` is done along the way.
    """
    pid = tl.program_id(0)
    i = tl.load(chosen + pid % count)
    cuts = CHANNELS // BLOCK
    c = (pid // count) % cuts * BLOCK + tl.arange(0, BLOCK)
    part = (pid // count // cuts) % chunks
    s = (pid // count // cuts // chunks).to(tl.int64)
    row = table_row(table, table_of_slot, s, i, instances, TABLES)
    weight, evaluated = weight_of(row, op_weight, input_weight, s, i, instances, edges)
    two = tl.load(row + STAGES) == 2
    if not (evaluated & (tl.load(row + KIND) == SEPARABLE) & (two == (SECOND or OF_MIDDLE))):
        return
    own = phi + s * phi_stride
    size = tl.load(row + KERNEL)
    dilation = tl.load(row + DILATION)
    x, h, w, stride, mean, scale, shift = stage_input(
        states, maps, moments, own, row, s, i, slots, batch, instances, pixels, height, width, channels, pitch, eps, c,
        SECOND, STATES, AFFINE,
    )  # fmt: skip
    whole = pixels * pitch
    first = tl.load(row + WEIGHT + (2 if SECOND else 0))
    pointwise = own + tl.load(row + WEIGHT + (3 if SECOND else 1))
    stage = 0 if OF_MIDDLE else tl.load(row + STAGES) - 1
    z = maps + (tl.load(row + (MIDDLE if OF_MIDDLE else LAST)) * slots + s) * whole
    out = grads + (tl.load(row + GRAD) * slots + s) * whole
    up = grads + (tl.load(row + MIDDLE_GRAD) * slots + s) * whole if OF_MIDDLE else gy + s * whole
    real = c < channels
    taps = tl.arange(0, WINDOW)
    total = tl.zeros([WINDOW, BLOCK], tl.float32)
    square = tl.zeros([BLOCK, BLOCK], tl.float32)
    for tile in range(part * chunk, tl.minimum((part + 1) * chunk, tiles)):
        p = tile * TILE + tl.arange(0, TILE)
        live = p < pixels
        image, down, right = split_pixel(p, height, width)
        dt = tl.zeros([TILE, BLOCK], tl.float32)
        for b in range(0, CHANNELS, BLOCK):
            o = b + tl.arange(0, BLOCK)
            dz = output_gradient(
                up, z, drop, factors, s, i, image, down, right, batch, instances, height, width, pitch, o, channels,
                live, stage, DROP and not OF_MIDDLE, CHANNELS,
            )  # fmt: skip
            dt += product(dz, tl.trans(weight_tile(pointwise, 0, 1, c, o, channels)), PRECISION)
            if MERGED:
                t = depthwise(
                    x, image, down, right, h, w, pitch, mean, scale, shift, own + first, size, dilation, stride, c,
                    channels, live,
                )  # fmt: skip
                square += product(tl.trans(t), dz, PRECISION)
        store_tile(out, p, pitch, c, channels, live, dt)
        centre = pixels_at(x, image, down * stride, right * stride, h, w, pitch, c)
        for ky in range(size):
            dy = (ky - size // 2) * dilation
            in_rows = live & within(down * stride + dy, h)
            for kx in range(size):
                dx = (kx - size // 2) * dilation
                inside = in_rows & within(right * stride + dx, w)
                v = activated_at(centre + (dy * w + dx) * pitch, inside, real, mean, scale, shift)
                of_tap = tl.sum(v * dt, axis=0)
                total += tl.where((taps == ky * size + kx)[:, None], of_tap[None, :], 0.0)
    to = parts + (s * chunks + part) * parts_stride
    at = to + first + c[None, :] * size * size + taps[:, None]
    tl.store(at, total, mask=(taps < size * size)[:, None] & (c < channels)[None, :])
    if MERGED:
        at = to + tl.load(row + WEIGHT + (3 if SECOND else 1)) + c[None, :] * channels + c[:, None]
        tl.store(at, square, mask=(c < channels)[:, None] & (c < channels)[None, :])


@kernel
def pointwise_gradient(
    states, phi, op_weight, input_weight, drop, gy, table, table_of_slot, chosen, maps, moments, factors, grads, parts,
    count, slots, batch, instances, edges, tiles, chunk, chunks, pixels, height, width,
    channels: tl.constexpr, pitch: tl.constexpr, phi_stride, parts_stride, eps,
    SECOND: tl.constexpr, OF_MIDDLE: tl.constexpr, STATES: tl.constexpr, TABLES: tl.constexpr, DROP: tl.constexpr,
    AFFINE: tl.constexpr, PRECISION: tl.constexpr, TILE: tl.constexpr, CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """As `depthwise_gradient`: the pointwise weights, BLOCK x BLOCK of them; the depthwise result is computed again."""
    pid = tl.program_id(0)
    i = tl.load(chosen + pid % count)
    cuts = CHANNELS // BLOCK
    c = (pid // count) % cuts * BLOCK + tl.arange(0, BLOCK)
    o = (pid // count // cuts) % cuts * BLOCK + tl.arange(0, BLOCK)
    part = (pid // count // cuts // cuts) % chunks
    s = (pid // count // cuts // cuts // chunks).to(tl.int64)
    row = table_row(table, table_of_slot, s, i, instances, TABLES)
    weight, evaluated = weight_of(row, op_weight, input_weight, s, i, instances, edges)
    two = tl.load(row + STAGES) == 2
    if not (evaluated & (tl.load(row + KIND) == SEPARABLE) & (two == (SECOND or OF_MIDDLE))):
        return
    own = phi + s * phi_stride
    size = tl.load(row + KERNEL)
    dilation = tl.load(row + DILATION)
    x, h, w, stride, mean, scale, shift = stage_input(
        states, maps, moments, own, row, s, i, slots, batch, instances, pixels, height, width, channels, pitch, eps, c,
        SECOND, STATES, AFFINE,
    )  # fmt: skip
    whole = pixels * pitch
    first = own + tl.load(row + WEIGHT + (2 if SECOND else 0))
    stage = 0 if OF_MIDDLE else tl.load(row + STAGES) - 1
    z = maps + (tl.load(row + (MIDDLE if OF_MIDDLE else LAST)) * slots + s) * whole
    up = grads + (tl.load(row + MIDDLE_GRAD) * slots + s) * whole if OF_MIDDLE else gy + s * whole
    total = tl.zeros([BLOCK, BLOCK], tl.float32)
    for tile in range(part * chunk, tl.minimum((part + 1) * chunk, tiles)):
        p = tile * TILE + tl.arange(0, TILE)
        live = p < pixels
        image, down, right = split_pixel(p, height, width)
        t = depthwise(
            x, image, down, right, h, w, pitch, mean, scale, shift, first, size, dilation, stride, c, channels, live
        )
        dz = output_gradient(
            up, z, drop, factors, s, i, image, down, right, batch, instances, height, width, pitch, o, channels, live,
            stage, DROP and not OF_MIDDLE, CHANNELS,
        )  # fmt: skip
        total += product(tl.trans(t), dz, PRECISION)
    at = parts + (s * chunks + part) * parts_stride + tl.load(row + WEIGHT + (3 if SECOND else 1))
    tl.store(at + o[None, :] * channels + c[:, None], total, mask=(c < channels)[:, None] & (o < channels)[None, :])


@kernel
def pair_gradient(
    phi, op_weight, input_weight, drop, gy, table, table_of_slot, chosen, maps, factors, grads,
    count, slots, batch, instances, edges, tiles, pixels, height, width,
    channels: tl.constexpr, pitch: tl.constexpr, phi_stride,
    TABLES: tl.constexpr, DROP: tl.constexpr, PRECISION: tl.constexpr, TILE: tl.constexpr, CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """The gradient of the map between the two convolutions of a factorised pair."""
    pid = tl.program_id(0)
    i = tl.load(chosen + pid % count)
    cuts = CHANNELS // BLOCK
    c = (pid // count) % cuts * BLOCK + tl.arange(0, BLOCK)
    tile = (pid // count // cuts) % tiles
    s = (pid // count // cuts // tiles).to(tl.int64)
    row = table_row(table, table_of_slot, s, i, instances, TABLES)
    weight, evaluated = weight_of(row, op_weight, input_weight, s, i, instances, edges)
    if (not evaluated) | (tl.load(row + KIND) != PAIR):
        return
    whole = pixels * pitch
    size = tl.load(row + KERNEL)
    weights = phi + s * phi_stride + tl.load(row + WEIGHT + 1)
    p = tile * TILE + tl.arange(0, TILE)
    live = p < pixels
    image, down, right = split_pixel(p, height, width)
    z = maps + (tl.load(row + LAST) * slots + s) * whole
    total = tl.zeros([TILE, BLOCK], tl.float32)
    for k in range(size):
        for first in range(0, CHANNELS, BLOCK):
            o = first + tl.arange(0, BLOCK)
            dz = output_gradient(
                gy + s * whole, z, drop, factors, s, i, image, down - (k - size // 2), right, batch, instances, height,
                width, pitch, o, channels, live, 0, DROP, CHANNELS,
            )  # fmt: skip
            total += product(dz, tl.trans(weight_tile(weights, k, size, c, o, channels)), PRECISION)
    store_tile(grads + (tl.load(row + GRAD) * slots + s) * whole, p, pitch, c, channels, live, total)


@kernel
def tap_gradient(
    states, op_weight, input_weight, drop, gy, table, table_of_slot, chosen, maps, factors, grads, parts,
    count, slots, batch, instances, edges, tiles, chunk, chunks, pixels, height, width,
    channels: tl.constexpr, pitch: tl.constexpr, parts_stride,
    TALL: tl.constexpr, TAPS: tl.constexpr, STATES: tl.constexpr, TABLES: tl.constexpr, DROP: tl.constexpr,
    PRECISION: tl.constexpr, TILE: tl.constexpr, CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One tap of a convolution's weights, as parts: TALL, the second of a pair; else whatever reads a state. A program
    has BLOCK x BLOCK of them."""
    pid = tl.program_id(0)
    k = pid % TAPS
    i = tl.load(chosen + pid // TAPS % count)
    cuts = CHANNELS // BLOCK
    c = (pid // TAPS // count) % cuts * BLOCK + tl.arange(0, BLOCK)
    o = (pid // TAPS // count // cuts) % cuts * BLOCK + tl.arange(0, BLOCK)
    part = (pid // TAPS // count // cuts // cuts) % chunks
    s = (pid // TAPS // count // cuts // cuts // chunks).to(tl.int64)
    row = table_row(table, table_of_slot, s, i, instances, TABLES)
    weight, evaluated = weight_of(row, op_weight, input_weight, s, i, instances, edges)
    kind = tl.load(row + KIND)
    size = tl.load(row + KERNEL)
    pair = kind == PAIR
    full = kind == FULL
    halves = kind == REDUCTION
    taps = tl.where(halves, 2, tl.where(full, size * size, size))
    if (not evaluated) | (k >= taps) | (not (pair if TALL else (pair | full | halves))):
        return
    whole = pixels * pitch
    z = maps + (tl.where(pair & (not TALL), 0, tl.load(row + LAST)) * slots + s) * whole
    h = tl.load(row + HEIGHT)
    w = tl.load(row + WIDTH)
    stride = tl.load(row + STRIDE)
    dy = tl.where(full, k // size - size // 2, tl.where(halves, k * (1 - h % 2), 0))
    dx = tl.where(full, k % size - size // 2, tl.where(halves, k * (1 - w % 2), k - size // 2))
    x = pick(states, tl.load(row + STATE), STATES) + s * batch * h * w * pitch
    middle = maps + (tl.load(row + MIDDLE) * slots + s) * whole
    up = grads + (tl.load(row + GRAD) * slots + s) * whole
    total = tl.zeros([BLOCK, BLOCK], tl.float32)
    for tile in range(part * chunk, tl.minimum((part + 1) * chunk, tiles)):
        p = tile * TILE + tl.arange(0, TILE)
        live = p < pixels
        image, down, right = split_pixel(p, height, width)
        if TALL:
            v, _ = load_pixels(middle, image, down + k - size // 2, right, height, width, pitch, c, channels, live)
        else:
            v, _ = load_pixels(x, image, down * stride + dy, right * stride + dx, h, w, pitch, c, channels, live)
            v = relu(v)
        if pair & (not TALL):
            dz = load_tile(up, p, pitch, o, channels, live)
        else:
            dz = output_gradient(
                gy + s * whole, z, drop, factors, s, i, image, down, right, batch, instances, height, width, pitch, o,
                channels, live, 0, DROP, CHANNELS,
            )  # fmt: skip
        total += product(tl.trans(v), dz, PRECISION)
    base = parts + (s * chunks + part) * parts_stride + tl.load(row + WEIGHT + (1 if TALL else 0))
    real = c < channels
    if halves:
        half = channels // 2
        first = tl.where(k == 0, 0, half)
        skip = tl.where(k == 0, 0, (half * channels + 15) // 16 * 16)
        own = (o >= first) & (o < tl.where(k == 0, half, channels))
        at = base + skip + (o - first)[None, :] * channels + c[:, None]
        tl.store(at, total, mask=own[None, :] & real[:, None])
    else:
        at = base + (o[None, :] * channels + c[:, None]) * taps + k
        tl.store(at, total, mask=(o < channels)[None, :] & real[:, None])


@kernel
def add_parts(
    parts, dphi, op_weight, input_weight, table, table_of_slot, chosen,
    count, instances, edges, chunks, blocks, parts_stride, dphi_stride, TABLES: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """A block of one weight's gradient: its parts, added in order."""
    pid = tl.program_id(0)
    n = pid % 4
    i = tl.load(chosen + pid // 4 % count)
    block = (pid // 4 // count) % blocks
    s = (pid // 4 // count // blocks).to(tl.int64)
    row = table_row(table, table_of_slot, s, i, instances, TABLES)
    weight, evaluated = weight_of(row, op_weight, input_weight, s, i, instances, edges)
    size = tl.load(row + SIZE + n)
    if (not evaluated) | (block * COLUMNS >= size):
        return
    at = tl.load(row + WEIGHT + n) + block * COLUMNS + tl.arange(0, COLUMNS)
    live = block * COLUMNS + tl.arange(0, COLUMNS) < size
    total = tl.zeros([COLUMNS], tl.float32)
    for part in range(chunks):
        total += tl.load(parts + (s * chunks + part) * parts_stride + at, mask=live, other=0.0)
    tl.store(dphi + s * dphi_stride + at, total, mask=live)
