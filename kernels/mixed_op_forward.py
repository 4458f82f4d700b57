"""Kernels of the node op's forward: first stages, second stages, moments, combination."""

from __future__ import annotations

import triton.language as tl

from autometa.kernels.common import load_tile, merge_moments, product, split_pixel, store_moments, store_tile
from autometa.kernels.launch import kernel
from autometa.kernels.node_table import (
    ARGUMENT,
    AVERAGE,
    DILATION,
    FULL,
    HEIGHT,
    IDENTITY,
    KERNEL,
    KIND,
    LAST,
    MAXIMUM,
    MIDDLE,
    PAIR,
    REDUCTION,
    SEPARABLE,
    STAGES,
    STATE,
    STRIDE,
    WEIGHT,
    WIDTH,
    drop_of,
    normaliser,
    pick,
    table_row,
    weight_of,
)
from autometa.kernels.taps import (
    average,
    convolution,
    depthwise,
    identity_norm,
    maximum,
    reduction,
    weight_tile,
)


@kernel
def first_stage(
    states, phi, op_weight, input_weight, table, table_of_slot, chosen, maps, arguments, parts,
    count, slots, instances, edges, tiles, pixels, height, width,
    channels: tl.constexpr, pitch: tl.constexpr, phi_stride,
    STATES: tl.constexpr, TABLES: tl.constexpr, KEEP: tl.constexpr, PRECISION: tl.constexpr, TILE: tl.constexpr,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One instance, one tile, BLOCK channels: its first stage; moments of what is to be normalised.

    maps `[places, S, pixels, pitch]`, arguments the same in bytes, parts `[S, I, tiles, 2, CHANNELS]`.
    """
    pid = tl.program_id(0)
    i = tl.load(chosen + pid % count)
    cuts = CHANNELS // BLOCK
    cut = (pid // count) % cuts
    tile = (pid // count // cuts) % tiles
    s = (pid // count // cuts // tiles).to(tl.int64)
    row = table_row(table, table_of_slot, s, i, instances, TABLES)
    weight, evaluated = weight_of(row, op_weight, input_weight, s, i, instances, edges)
    kind = tl.load(row + KIND)
    if (not evaluated) | (kind == IDENTITY):
        return
    own = phi + s * phi_stride
    state = tl.load(row + STATE)
    h = tl.load(row + HEIGHT)
    w = tl.load(row + WIDTH)
    stride = tl.load(row + STRIDE)
    size = tl.load(row + KERNEL)
    x = pick(states, state, STATES) + s * (pixels // (height * width)).to(tl.int64) * h * w * pitch
    p = tile * TILE + tl.arange(0, TILE)
    live = p < pixels
    image, down, right = split_pixel(p, height, width)
    c = cut * BLOCK + tl.arange(0, BLOCK)
    first = own + tl.load(row + WEIGHT)
    second = own + tl.load(row + WEIGHT + 1)
    two = (tl.load(row + STAGES) == 2) | (kind == PAIR)
    place = tl.where(two, tl.load(row + MIDDLE), tl.load(row + LAST))
    here = (place * slots + s) * pixels * pitch
    if kind == SEPARABLE:
        dilation = tl.load(row + DILATION)
        z = tl.zeros([TILE, BLOCK], tl.float32)
        for k in range(0, CHANNELS, BLOCK):
            b = k + tl.arange(0, BLOCK)
            mean, scale, shift = identity_norm(b)
            t = depthwise(
                x, image, down, right, h, w, pitch, mean, scale, shift, first, size, dilation, stride, b, channels, live
            )
            z += product(t, weight_tile(second, 0, 1, b, c, channels), PRECISION)
    elif kind == MAXIMUM:
        z, found = maximum(x, image, down, right, h, w, pitch, stride, c, channels, live)
        if KEEP:
            at = arguments + (tl.load(row + ARGUMENT) * slots + s) * pixels * pitch
            store_tile(at, p, pitch, c, channels, live, found)
    elif kind == AVERAGE:
        z = average(x, image, down, right, h, w, pitch, stride, c, channels, live)
    elif kind == REDUCTION:
        z = reduction(x, image, down, right, h, w, pitch, first, c, channels, live, PRECISION, CHANNELS, BLOCK)
    else:
        tall = tl.where(kind == FULL, size, 1)
        z = convolution(
            x, image, down, right, h, w, pitch, first, tall, size, stride, c, channels, live, True, PRECISION, CHANNELS,
            BLOCK,
        )  # fmt: skip
    store_tile(maps + here, p, pitch, c, channels, live, z)
    if kind != PAIR:
        store_moments(parts + ((s * instances + i) * tiles + tile) * 2 * CHANNELS, z, live, c, CHANNELS)


@kernel
def second_stage(
    phi, op_weight, input_weight, table, table_of_slot, chosen, maps, moments, parts,
    count, slots, instances, edges, tiles, pixels, height, width,
    channels: tl.constexpr, pitch: tl.constexpr, phi_stride, eps,
    TABLES: tl.constexpr, AFFINE: tl.constexpr, PRECISION: tl.constexpr, TILE: tl.constexpr, CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """The second half of a factorised pair, the second stage of a separable convolution."""
    pid = tl.program_id(0)
    i = tl.load(chosen + pid % count)
    cuts = CHANNELS // BLOCK
    cut = (pid // count) % cuts
    tile = (pid // count // cuts) % tiles
    s = (pid // count // cuts // tiles).to(tl.int64)
    row = table_row(table, table_of_slot, s, i, instances, TABLES)
    weight, evaluated = weight_of(row, op_weight, input_weight, s, i, instances, edges)
    kind = tl.load(row + KIND)
    pair = kind == PAIR
    if (not evaluated) | ((tl.load(row + STAGES) != 2) & (not pair)):
        return
    own = phi + s * phi_stride
    size = tl.load(row + KERNEL)
    p = tile * TILE + tl.arange(0, TILE)
    live = p < pixels
    image, down, right = split_pixel(p, height, width)
    c = cut * BLOCK + tl.arange(0, BLOCK)
    x = maps + (tl.load(row + MIDDLE) * slots + s) * pixels * pitch
    if pair:
        weights = own + tl.load(row + WEIGHT + 1)
        z = convolution(
            x, image, down, right, height, width, pitch, weights, size, 1, 1, c, channels, live, False, PRECISION,
            CHANNELS, BLOCK,
        )  # fmt: skip
    else:
        dilation = tl.load(row + DILATION)
        z = tl.zeros([TILE, BLOCK], tl.float32)
        for k in range(0, CHANNELS, BLOCK):
            b = k + tl.arange(0, BLOCK)
            mean, rstd, gamma, beta = normaliser(moments, own, row, s, i, 0, instances, channels, eps, b, AFFINE)
            t = depthwise(
                x, image, down, right, height, width, pitch, mean, rstd * gamma, beta, own + tl.load(row + WEIGHT + 2),
                size, dilation, 1, b, channels, live,
            )  # fmt: skip
            z += product(t, weight_tile(own + tl.load(row + WEIGHT + 3), 0, 1, b, c, channels), PRECISION)
    store_tile(maps + (tl.load(row + LAST) * slots + s) * pixels * pitch, p, pitch, c, channels, live, z)
    store_moments(parts + ((s * instances + i) * tiles + tile) * 2 * CHANNELS, z, live, c, CHANNELS)


@kernel
def finish_moments(
    parts, moments, op_weight, input_weight, table, table_of_slot, chosen, count, instances, edges, tiles, pixels,
    channels: tl.constexpr, PAIRS: tl.constexpr, TABLES: tl.constexpr, TILE: tl.constexpr, CHANNELS: tl.constexpr,
    ROWS: tl.constexpr,
):  # fmt: skip
    """moments `[S, I, 2, 2, C]` of one stage of one instance; stage 1, and pairs, where PAIRS, else stage 0."""
    pid = tl.program_id(0)
    i = tl.load(chosen + pid % count)
    s = (pid // count).to(tl.int64)
    row = table_row(table, table_of_slot, s, i, instances, TABLES)
    weight, evaluated = weight_of(row, op_weight, input_weight, s, i, instances, edges)
    kind = tl.load(row + KIND)
    two = tl.load(row + STAGES) == 2
    stage = 0
    wanted = evaluated & (kind != IDENTITY)
    if PAIRS:
        stage = tl.where(two, 1, 0)
        wanted = wanted & (two | (kind == PAIR))
    else:
        wanted = wanted & (kind != PAIR)
    if not wanted:
        return
    c = tl.arange(0, CHANNELS)
    mean, variance = merge_moments(
        parts + (s * instances + i) * tiles * 2 * CHANNELS, tiles, pixels, c, TILE, CHANNELS, ROWS
    )
    at = moments + (((s * instances + i) * 2 + stage) * 2) * channels + c
    tl.store(at, mean, mask=c < channels)
    tl.store(at + channels, variance, mask=c < channels)


@kernel
def combine(
    states, phi, op_weight, input_weight, drop, table, table_of_slot, maps, moments, y,
    slots, batch, instances, edges, tiles, pixels, height, width,
    channels: tl.constexpr, pitch: tl.constexpr, phi_stride, eps,
    STATES: tl.constexpr, TABLES: tl.constexpr, DROP: tl.constexpr, AFFINE: tl.constexpr, TILE: tl.constexpr,
    CHANNELS: tl.constexpr,
):  # fmt: skip
    """y: all instances normalised, weighed and added, in the order of the table."""
    pid = tl.program_id(0)
    tile = pid % tiles
    s = (pid // tiles).to(tl.int64)
    p = tile * TILE + tl.arange(0, TILE)
    live = p < pixels
    image = p // (height * width)
    c = tl.arange(0, CHANNELS)
    own = phi + s * phi_stride
    total = tl.zeros([TILE, CHANNELS], tl.float32)
    for i in range(instances):
        row = table_row(table, table_of_slot, s, i, instances, TABLES)
        weight, evaluated = weight_of(row, op_weight, input_weight, s, i, instances, edges)
        if evaluated:
            factor = weight * drop_of(drop, s, image, i, batch, instances, live, DROP)
            if tl.load(row + KIND) == IDENTITY:
                x = pick(states, tl.load(row + STATE), STATES) + s * pixels * pitch
                total += load_tile(x, p, pitch, c, channels, live) * factor[:, None]
            else:
                z = load_tile(maps + (tl.load(row + LAST) * slots + s) * pixels * pitch, p, pitch, c, channels, live)
                stage = tl.load(row + STAGES) - 1
                mean, rstd, gamma, beta = normaliser(
                    moments, own, row, s, i, stage, instances, channels, eps, c, AFFINE
                )
                total += ((z - mean[None, :]) * (rstd * gamma)[None, :] + beta[None, :]) * factor[:, None]
    store_tile(y + s * pixels * pitch, p, pitch, c, channels, live, total)
