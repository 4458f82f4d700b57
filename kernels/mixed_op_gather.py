"""The node op's backward, last kernel: the gradient of an input state, gathered from all instances that read it."""

from __future__ import annotations

import triton.language as tl

from autometa.kernels.common import load_pixels, load_tile, product, split_pixel, store_tile
from autometa.kernels.launch import kernel
from autometa.kernels.mixed_op_backward import gradient_at, load_factors, output_gradient
from autometa.kernels.node_table import (
    ARGUMENT,
    AVERAGE,
    DILATION,
    FULL,
    GRAD,
    IDENTITY,
    KERNEL,
    KIND,
    LAST,
    MAXIMUM,
    PAIR,
    REDUCTION,
    SEPARABLE,
    STATE,
    STRIDE,
    WEIGHT,
    drop_of,
    table_row,
    weight_of,
)
from autometa.kernels.taps import half_tile, origin, pixels_at, weight_tile, window_count


@kernel
def input_gradient(
    x, dx, phi, op_weight, input_weight, drop, gy, table, table_of_slot, chosen, maps, arguments, factors, grads,
    state, count, slots, batch, instances, edges, tiles, in_height, in_width, height, width,
    channels: tl.constexpr, pitch: tl.constexpr,
    phi_stride,
    TABLES: tl.constexpr, DROP: tl.constexpr, TILE: tl.constexpr, CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """One tile of the gradient of state number `state`: from identities, pools and separable stages."""
    pid = tl.program_id(0)
    cuts = CHANNELS // BLOCK
    c = pid % cuts * BLOCK + tl.arange(0, BLOCK)
    tile = (pid // cuts) % tiles
    s = (pid // cuts // tiles).to(tl.int64)
    p = tile * TILE + tl.arange(0, TILE)
    live = p < batch * in_height * in_width
    image, down, right = split_pixel(p, in_height, in_width)
    own = phi + s * phi_stride
    whole = batch * height * width * pitch
    up = gy + s * whole
    real = c < channels
    plain = tl.zeros([TILE, BLOCK], tl.float32)
    rectified = tl.zeros([TILE, BLOCK], tl.float32)
    for n in range(count):
        i = tl.load(chosen + n)
        row = table_row(table, table_of_slot, s, i, instances, TABLES)
        weight, evaluated = weight_of(row, op_weight, input_weight, s, i, instances, edges)
        if evaluated & (tl.load(row + STATE) == state):
            kind = tl.load(row + KIND)
            stride = tl.load(row + STRIDE)
            size = tl.load(row + KERNEL)
            last = maps + (tl.maximum(tl.load(row + LAST), 0) * slots + s) * whole
            between = grads + (tl.maximum(tl.load(row + GRAD), 0) * slots + s) * whole
            first = own + tl.load(row + WEIGHT)
            if kind == IDENTITY:
                factor = weight * drop_of(drop, s, image, i, batch, instances, live, DROP)
                plain += load_tile(up, p, pitch, c, channels, live) * factor[:, None]
            elif (kind == MAXIMUM) | (kind == AVERAGE):
                chose = arguments + (tl.maximum(tl.load(row + ARGUMENT), 0) * slots + s) * whole
                factor, a, mean, q = load_factors(factors, s, i, 0, instances, c, CHANNELS)
                dropped = drop_of(drop, s, image, i, batch, instances, live, DROP)
                for ky in range(3):
                    for kx in range(3):
                        h, w, found = origin(down, right, ky - 1, kx - 1, stride, height, width, live)
                        at = ((image * height + h) * width + w) * pitch
                        dz = gradient_at(up, last, at, found, dropped, factor, a, mean, q, c, real)
                        if kind == AVERAGE:
                            share = 1.0 / tl.where(found, window_count(h, w, in_height, in_width, stride), 1.0)
                            plain += dz * share[:, None]
                        else:
                            mask = found[:, None] & real[None, :]
                            which = tl.load(chose + at[:, None] + c[None, :], mask=mask, other=9)
                            plain += tl.where(which == ky * 3 + kx, dz, 0.0)
            elif kind == SEPARABLE:
                dilation = tl.load(row + DILATION)
                for ky in range(size):
                    dy = (ky - size // 2) * dilation
                    for kx in range(size):
                        dx_ = (kx - size // 2) * dilation
                        h, w, found = origin(down, right, dy, dx_, stride, height, width, live)
                        at = pixels_at(between, image, h, w, height, width, pitch, c)
                        g = tl.load(at, mask=found[:, None] & real[None, :], other=0.0).to(tl.float32)
                        taps = tl.load(first + c * size * size + ky * size + kx, mask=real, other=0.0)
                        rectified += g * taps[None, :]
    v = load_tile(x + s * batch * in_height * in_width * pitch, p, pitch, c, channels, live)
    total = plain + tl.where(v <= 0, 0.0, rectified)
    store_tile(dx + s * batch * in_height * in_width * pitch, p, pitch, c, channels, live, total)


@kernel
def product_gradient(
    x, dx, phi, op_weight, input_weight, drop, gy, table, table_of_slot, chosen, maps, factors, grads,
    state, count, slots, batch, instances, edges, tiles, in_height, in_width, height, width,
    channels: tl.constexpr, pitch: tl.constexpr,
    phi_stride,
    TABLES: tl.constexpr, DROP: tl.constexpr, PRECISION: tl.constexpr, TILE: tl.constexpr, CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Adds to a tile that `input_gradient` wrote what pairs, full convolutions and reductions give."""
    pid = tl.program_id(0)
    cuts = CHANNELS // BLOCK
    c = pid % cuts * BLOCK + tl.arange(0, BLOCK)
    tile = (pid // cuts) % tiles
    s = (pid // cuts // tiles).to(tl.int64)
    p = tile * TILE + tl.arange(0, TILE)
    live = p < batch * in_height * in_width
    image, down, right = split_pixel(p, in_height, in_width)
    own = phi + s * phi_stride
    whole = batch * height * width * pitch
    up = gy + s * whole
    rectified = tl.zeros([TILE, BLOCK], tl.float32)
    for n in range(count):
        i = tl.load(chosen + n)
        row = table_row(table, table_of_slot, s, i, instances, TABLES)
        weight, evaluated = weight_of(row, op_weight, input_weight, s, i, instances, edges)
        if evaluated & (tl.load(row + STATE) == state):
            kind = tl.load(row + KIND)
            stride = tl.load(row + STRIDE)
            size = tl.load(row + KERNEL)
            last = maps + (tl.maximum(tl.load(row + LAST), 0) * slots + s) * whole
            between = grads + (tl.maximum(tl.load(row + GRAD), 0) * slots + s) * whole
            first = own + tl.load(row + WEIGHT)
            if kind == PAIR:
                for k in range(size):
                    h, w, found = origin(down, right, 0, k - size // 2, stride, height, width, live)
                    for b in range(0, CHANNELS, BLOCK):
                        o = b + tl.arange(0, BLOCK)
                        g, inside = load_pixels(between, image, h, w, height, width, pitch, o, channels, found)
                        rectified += product(g, tl.trans(weight_tile(first, k, size, c, o, channels)), PRECISION)
            elif (kind == FULL) | (kind == REDUCTION):
                full = kind == FULL
                for k in range(tl.where(full, size * size, 2)):
                    dy = tl.where(full, k // size - size // 2, k * (1 - in_height % 2))
                    dx_ = tl.where(full, k % size - size // 2, k * (1 - in_width % 2))
                    h, w, found = origin(down, right, dy, dx_, stride, height, width, live)
                    for b in range(0, CHANNELS, BLOCK):
                        o = b + tl.arange(0, BLOCK)
                        dz = output_gradient(
                            up, last, drop, factors, s, i, image, h, w, batch, instances, height, width, pitch, o,
                            channels, found, 0, DROP, CHANNELS,
                        )  # fmt: skip
                        if full:
                            weights = weight_tile(first, k, size * size, c, o, channels)
                        else:
                            weights = half_tile(first, k, c, o, channels)
                        rectified += product(dz, tl.trans(weights), PRECISION)
    v = load_tile(x + s * batch * in_height * in_width * pitch, p, pitch, c, channels, live)
    to = dx + s * batch * in_height * in_width * pitch
    before = load_tile(to, p, pitch, c, channels, live)
    store_tile(to, p, pitch, c, channels, live, before + tl.where(v <= 0, 0.0, rectified))
