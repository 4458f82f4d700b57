"""The node op's backward: gradients of normalisations, of op and input weights, of the map between two stages.

The gradient of a normalised map's input is never stored: `dz = k * (gy - a - (z - mean) * q)` with four vectors per
instance and stage, `gy` times drop path's factor. Parts `[S, I, chunks, ..]` are summed in order by the kernel after.
"""

from __future__ import annotations

import triton
import triton.language as tl

from autometa.kernels.common import load_tile, split_pixel, store_tile, sum_parts
from autometa.kernels.launch import kernel
from autometa.kernels.node_table import (
    BETA,
    DILATION,
    EDGE,
    GAMMA,
    GRAD,
    IDENTITY,
    KERNEL,
    KIND,
    LAST,
    MIDDLE,
    MIDDLE_GRAD,
    STAGES,
    STATE,
    WEIGHT,
    drop_of,
    normaliser,
    pick,
    table_row,
    weight_of,
)
from autometa.kernels.taps import within


@triton.jit
def load_factors(factors, s, i, stage, instances, c, CHANNELS: tl.constexpr):
    """k, a, mean and q of a normalisation's gradient."""
    at = factors + ((s * instances + i) * 2 + stage) * 4 * CHANNELS + c
    return tl.load(at), tl.load(at + CHANNELS), tl.load(at + 2 * CHANNELS), tl.load(at + 3 * CHANNELS)


@triton.jit
def output_gradient(
    gy, z, drop, factors, s, i, image, row, column, batch, instances, height, width, pitch, c, channels, live, stage,
    DROP: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """dz of the last stage at any pixels, 0 outside; gy and z start at this slot."""
    k, a, mean, q = load_factors(factors, s, i, stage, instances, c, CHANNELS)
    inside = live & within(row, height) & within(column, width)
    at = ((image * height + row) * width + column) * pitch
    factor = drop_of(drop, s, image, i, batch, instances, inside, DROP)
    return gradient_at(gy, z, at, inside, factor, k, a, mean, q, c, c < channels)


@triton.jit
def gradient_at(gy, z, at, inside, factor, k, a, mean, q, c, real):
    """`output_gradient` of the pixels at `at`, with what does not depend on them at hand."""
    at = at[:, None] + c[None, :]
    mask = inside[:, None] & real[None, :]
    g = tl.load(gy + at, mask=mask, other=0.0).to(tl.float32) * factor[:, None]
    x = tl.load(z + at, mask=mask, other=0.0).to(tl.float32)
    return tl.where(inside[:, None], k[None, :] * (g - a[None, :] - (x - mean[None, :]) * q[None, :]), 0.0)


@kernel
def products(
    states, op_weight, input_weight, drop, gy, table, table_of_slot, maps, moments, parts, chosen,
    count, slots, batch, instances, edges, tiles, chunk, chunks, pixels, height, width,
    channels: tl.constexpr, pitch: tl.constexpr, eps,
    STATES: tl.constexpr, TABLES: tl.constexpr, DROP: tl.constexpr, TILE: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Sums of gy and of gy times the normalised map (an identity: its input), parts `[S, I, chunks, 2, CHANNELS]`."""
    pid = tl.program_id(0)
    i = tl.load(chosen + pid % count)
    part = (pid // count) % chunks
    s = (pid // count // chunks).to(tl.int64)
    row = table_row(table, table_of_slot, s, i, instances, TABLES)
    weight, evaluated = weight_of(row, op_weight, input_weight, s, i, instances, edges)
    if not evaluated:
        return
    c = tl.arange(0, CHANNELS)
    real = c < channels
    same = tl.load(row + KIND) == IDENTITY
    stage = tl.load(row + STAGES) - 1
    at = moments + (((s * instances + i) * 2 + tl.where(same, 0, stage)) * 2) * channels + c
    known = real & (not same)
    mean = tl.load(at, mask=known, other=0.0)
    rstd = tl.where(same, 1.0, 1.0 / tl.sqrt_rn(tl.load(at + channels, mask=known, other=1.0) + eps))
    plain = tl.zeros([CHANNELS], tl.float32)
    scaled = tl.zeros([CHANNELS], tl.float32)
    x = pick(states, tl.load(row + STATE), STATES) + s * pixels * pitch
    z = maps + (tl.where(same, 0, tl.load(row + LAST)) * slots + s) * pixels * pitch
    for tile in range(part * chunk, tl.minimum((part + 1) * chunk, tiles)):
        p = tile * TILE + tl.arange(0, TILE)
        live = p < pixels
        factor = drop_of(drop, s, p // (height * width), i, batch, instances, live, DROP)
        g = load_tile(gy + s * pixels * pitch, p, pitch, c, channels, live) * factor[:, None]
        if same:
            v = load_tile(x, p, pitch, c, channels, live)
        else:
            v = load_tile(z, p, pitch, c, channels, live)
        plain += tl.sum(g, axis=0)
        scaled += tl.sum(tl.where(live[:, None], g * (v - mean[None, :]), 0.0), axis=0)
    to = parts + ((s * instances + i) * chunks + part) * 2 * CHANNELS + c
    tl.store(to, plain)
    tl.store(to + CHANNELS, scaled * rstd)


@kernel
def finish_products(
    phi, op_weight, input_weight, table, table_of_slot, moments, parts, factors, dphi, inner, chosen,
    count, instances, edges, chunks, pixels, channels: tl.constexpr, phi_stride, dphi_stride, eps,
    MIDDLE_STAGE: tl.constexpr, TABLES: tl.constexpr, AFFINE: tl.constexpr, GIVEN: tl.constexpr,
    CHANNELS: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """factors `[S, I, 2, 4, CHANNELS]` of one stage, gradients of gamma and beta, inner `[S, I]` (the op weight's)."""
    pid = tl.program_id(0)
    i = tl.load(chosen + pid % count)
    s = (pid // count).to(tl.int64)
    row = table_row(table, table_of_slot, s, i, instances, TABLES)
    weight, evaluated = weight_of(row, op_weight, input_weight, s, i, instances, edges)
    stage = tl.load(row + STAGES) - 1
    if MIDDLE_STAGE:
        evaluated = evaluated & (stage == 1)
        stage = stage * 0
        weight = 1.0
    if not evaluated:
        return
    c = tl.arange(0, CHANNELS)
    real = c < channels
    from_ = parts + (s * instances + i) * chunks * 2 * CHANNELS
    plain = sum_parts(from_, chunks, 2 * CHANNELS, c, CHANNELS, ROWS)
    scaled = sum_parts(from_ + CHANNELS, chunks, 2 * CHANNELS, c, CHANNELS, ROWS)
    if tl.load(row + KIND) == IDENTITY:
        tl.store(inner + s * instances + i, tl.sum(tl.where(real, scaled, 0.0), axis=0))
    else:
        own = phi + s * phi_stride
        mean, rstd, gamma, beta = normaliser(moments, own, row, s, i, stage, instances, channels, eps, c, AFFINE)
        at = factors + ((s * instances + i) * 2 + stage) * 4 * CHANNELS + c
        tl.store(at, weight * rstd * gamma)
        tl.store(at + 2 * CHANNELS, mean)
        if GIVEN:
            tl.store(at + CHANNELS, tl.zeros([CHANNELS], tl.float32))
            tl.store(at + 3 * CHANNELS, tl.zeros([CHANNELS], tl.float32))
        else:
            tl.store(at + CHANNELS, plain / pixels)
            tl.store(at + 3 * CHANNELS, rstd * scaled / pixels)
        if AFFINE:
            to = dphi + s * dphi_stride + tl.load(row + GAMMA + stage) + c
            tl.store(to, weight * scaled, mask=real)
            tl.store(to + tl.load(row + BETA), weight * plain, mask=real)
        if not MIDDLE_STAGE:
            both = tl.where(real, gamma * scaled + beta * plain, 0.0)
            tl.store(inner + s * instances + i, tl.sum(both, axis=0))


@kernel
def weight_gradients(
    op_weight, input_weight, table, table_of_slot, inner, dop, dinput, instances, edges,
    TABLES: tl.constexpr, EDGES: tl.constexpr,
):  # fmt: skip
    """Gradients of op weights `[S, I]` and input weights `[S, E]` of one slot; what is pruned gets 0."""
    s = tl.program_id(0).to(tl.int64)
    e = tl.arange(0, EDGES)
    total = tl.zeros([EDGES], tl.float32)
    for i in range(instances):
        row = table_row(table, table_of_slot, s, i, instances, TABLES)
        weight, evaluated = weight_of(row, op_weight, input_weight, s, i, instances, edges)
        at = s * instances + i
        edge = tl.load(row + EDGE)
        value = tl.load(inner + at, mask=evaluated, other=0.0)
        tl.store(dop + at, value * tl.load(input_weight + s * edges + edge, mask=evaluated, other=0.0))
        total += tl.where(e == edge, value * tl.load(op_weight + at, mask=evaluated, other=0.0), 0.0)
    tl.store(dinput + s * edges + e, total, mask=e < edges)


@kernel
def middle_gradient(
    phi, op_weight, input_weight, table, table_of_slot, chosen, maps, moments, grads, parts,
    count, slots, instances, edges, tiles, chunk, chunks, pixels, height, width,
    channels: tl.constexpr, pitch: tl.constexpr, phi_stride, eps,
    TABLES: tl.constexpr, AFFINE: tl.constexpr, TILE: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The gradient of the normalised map between two separable stages, and its sums, parts `[S, I, chunks, 2, ..]`."""
    pid = tl.program_id(0)
    i = tl.load(chosen + pid % count)
    part = (pid // count) % chunks
    s = (pid // count // chunks).to(tl.int64)
    row = table_row(table, table_of_slot, s, i, instances, TABLES)
    weight, evaluated = weight_of(row, op_weight, input_weight, s, i, instances, edges)
    if (not evaluated) | (tl.load(row + STAGES) != 2):
        return
    own = phi + s * phi_stride
    whole = pixels * pitch
    size = tl.load(row + KERNEL)
    dilation = tl.load(row + DILATION)
    weights = own + tl.load(row + WEIGHT + 2)
    c = tl.arange(0, CHANNELS)
    real = c < channels
    mean, rstd, gamma, beta = normaliser(moments, own, row, s, i, 0, instances, channels, eps, c, AFFINE)
    z = maps + (tl.load(row + MIDDLE) * slots + s) * whole
    dt = grads + (tl.load(row + GRAD) * slots + s) * whole
    plain = tl.zeros([CHANNELS], tl.float32)
    scaled = tl.zeros([CHANNELS], tl.float32)
    for tile in range(part * chunk, tl.minimum((part + 1) * chunk, tiles)):
        p = tile * TILE + tl.arange(0, TILE)
        live = p < pixels
        image, down, right = split_pixel(p, height, width)
        total = tl.zeros([TILE, CHANNELS], tl.float32)
        for ky in range(size):
            dy = (ky - size // 2) * dilation
            in_rows = live & within(down - dy, height)
            for kx in range(size):
                dx = (kx - size // 2) * dilation
                inside = in_rows & within(right - dx, width)
                at = dt + ((p - dy * width - dx) * pitch)[:, None] + c[None, :]  # pointers of a tile would spill on 8.0
                g = tl.load(at, mask=inside[:, None] & real[None, :], other=0.0)
                filters = weights + c * size * size + ky * size + kx
                total += g.to(tl.float32) * tl.load(filters, mask=real, other=0.0)[None, :]
        normal = (load_tile(z, p, pitch, c, channels, live) - mean[None, :]) * rstd[None, :]
        total = tl.where((normal * gamma[None, :] + beta[None, :] <= 0) | (not live[:, None]), 0.0, total)
        store_tile(grads + (tl.load(row + MIDDLE_GRAD) * slots + s) * whole, p, pitch, c, channels, live, total)
        plain += tl.sum(total, axis=0)
        scaled += tl.sum(tl.where(live[:, None], total * normal, 0.0), axis=0)
    to = parts + ((s * instances + i) * chunks + part) * 2 * CHANNELS + c
    tl.store(to, plain)
    tl.store(to + CHANNELS, scaled)
