"""Cell preprocessing: ReLU, 1x1 convolution of the states, or the factorised reduction.

The convolution and its moments in one launch; normalisation and its gradient are in `normalise`. Backward, a program
takes one block of input channels over a few tiles of pixels: gradient of the states there, and a part of the weights'.
Where slots read different states (TABLES), a program reads those of its slot, whose number decides where its parameters
stand.
"""

from __future__ import annotations

import triton
import triton.language as tl

from autometa.kernels.common import load_tile, product, relu, split_pixel, store_moments, store_tile, sum_parts
from autometa.kernels.launch import channel_block, dot_precision, kernel, launch
from autometa.kernels.normalise import COLUMNS, Norm, before_norm, chunked, load_factors, pick, tiles_of
from autometa.kernels.state_table import NO_TABLE, aligned, place_of, state_at, state_row, tables_of


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
def _places(depth, C: tl.constexpr, REDUCE: tl.constexpr):
    """In the parameters of a slot that reads `depth` channels: end of the weights, start and length of the gap between
    their halves."""
    if REDUCE:
        first = C // 2 * depth
        gap = aligned(first) - first
        return first + gap + (C - C // 2) * depth, first, gap
    else:
        return C * depth, depth * 0, depth * 0


@triton.jit
def _weights(parameters, part: tl.constexpr, o, i, inside, depth, gap, C: tl.constexpr, REDUCE: tl.constexpr):
    """Weights `[outputs, inputs]`, of the outputs of one half of a reduction where there are two."""
    mine = o < C
    if REDUCE:
        mine = (o < C // 2) if part == 0 else (mine & (o >= C // 2))
    at = o * depth + part * gap
    return tl.load(parameters + at[:, None] + i[None, :], mask=mine[:, None] & inside[None, :], other=0.0)


@triton.jit
def _add_state(
    total, x, q, live, parameters, part: tl.constexpr, o, start, depth, gap,
    WIDTH: tl.constexpr, WIDTH_PITCH: tl.constexpr, REDUCE: tl.constexpr, C: tl.constexpr, INNER: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """`total`, with what one state gives, whose weights begin at column `start`."""
    for first in range(0, WIDTH, INNER):
        k = first + tl.arange(0, INNER)
        v = load_tile(x, q, WIDTH_PITCH, k, WIDTH, live)
        w = _weights(parameters, part, o, start + k, k < WIDTH, depth, gap, C, REDUCE)
        total += product(relu(v), tl.trans(w), PRECISION)
    return total


@triton.jit
def _pack_affine(affine, parameters, depth, o, C: tl.constexpr, REDUCE: tl.constexpr, BLOCK: tl.constexpr):
    """Gamma and beta of a slot side by side, 0 where it reads nothing."""
    end, _, _ = _places(depth, C, REDUCE)
    gamma = parameters + aligned(end)
    here = o < tl.where(depth > 0, C, 0)
    tl.store(affine + o, tl.load(gamma + o, mask=here, other=0.0))
    tl.store(affine + BLOCK + o, tl.load(gamma + aligned(C) + o, mask=here, other=0.0))


@kernel
def _pointwise(
    states, parameters, z, moments, affine, table, table_of_slot,
    pixels, rows, columns, inputs, height, width, stride, tiles,
    COUNT: tl.constexpr, WIDTH: tl.constexpr, WIDTH_PITCH: tl.constexpr, REDUCE: tl.constexpr, GAP: tl.constexpr,
    TABLES: tl.constexpr, AFFINE: tl.constexpr, C: tl.constexpr, PITCH: tl.constexpr, MOMENTS: tl.constexpr,
    TILE: tl.constexpr, BLOCK: tl.constexpr, INNER: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """AFFINE: gamma and beta are copied to where the other kernels find them, whatever the slot reads."""
    s = tl.program_id(1).to(tl.int64)
    p = tl.program_id(0) * TILE + tl.arange(0, TILE)
    live = p < pixels
    o = tl.arange(0, BLOCK)
    parameters += s * stride
    total = tl.zeros([TILE, BLOCK], tl.float32)
    if TABLES == NO_TABLE:
        for part in tl.static_range(2 if REDUCE else 1):
            q = _source(p, part, rows, columns, height, width, REDUCE)
            for j in tl.static_range(COUNT):
                total = _add_state(
                    total, states[j] + s * inputs * WIDTH_PITCH, q, live, parameters, part, o, j * WIDTH, COUNT * WIDTH,
                    GAP, WIDTH, WIDTH_PITCH, REDUCE, C, INNER, PRECISION,
                )  # fmt: skip
    else:
        reads = state_row(table, table_of_slot, s, COUNT, TABLES)
        depth = tl.load(reads)
        _, _, gap = _places(depth, C, REDUCE)
        for part in tl.static_range(2 if REDUCE else 1):
            q = _source(p, part, rows, columns, height, width, REDUCE)
            for r in range(depth // WIDTH):
                x = pick(states, state_at(reads, r, COUNT), COUNT) + s * inputs * WIDTH_PITCH
                total = _add_state(
                    total, x, q, live, parameters, part, o, r * WIDTH, depth, gap,
                    WIDTH, WIDTH_PITCH, REDUCE, C, INNER, PRECISION,
                )  # fmt: skip
        if AFFINE:
            if tl.program_id(0) == 0:
                _pack_affine(affine + s * 2 * BLOCK, parameters, depth, o, C, REDUCE, BLOCK)
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
    x_base, gy, z, weights, factors, affine, sums, p, q, live, o, k, outputs, depth, pixels,
    WIDTH: tl.constexpr, WIDTH_PITCH: tl.constexpr, C: tl.constexpr, PITCH: tl.constexpr,
    GAMMA: tl.constexpr, BETA: tl.constexpr, BATCH: tl.constexpr, BLOCK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradients of a tile of inputs `[pixels q, k]` and of weights `[o, k]`, by the outputs `[pixels p, o]`, which are
    those before `outputs`."""
    w = tl.load(
        weights + (o * depth)[:, None] + k[None, :], mask=(o < outputs)[:, None] & (k < WIDTH)[None, :], other=0.0
    )
    centre, inverse, gamma, _ = load_factors(factors, affine, o, C, GAMMA, BETA, BLOCK)
    g = load_tile(gy, p, PITCH, o, outputs, live)
    hat = (load_tile(z, p, PITCH, o, outputs, live) - centre[None, :]) * inverse[None, :]
    dz = before_norm(g, hat, sums, gamma * inverse, pixels, o, C, BATCH, BLOCK)
    dz = tl.where(live[:, None] & (o < outputs)[None, :], dz, 0.0)
    x = load_tile(x_base, q, WIDTH_PITCH, k, WIDTH, live)
    dx = tl.where(x <= 0, 0.0, product(dz, w, PRECISION))
    return dx, product(tl.trans(dz), relu(x), PRECISION)


@triton.jit
def _store_weights(parts, dw, o, k, outputs, depth, WIDTH: tl.constexpr):
    at = parts + (o * depth)[:, None] + k[None, :]
    tl.store(at, dw, mask=(o < outputs)[:, None] & (k < WIDTH)[None, :])


@triton.jit
def _store_nothing(
    dx, chunk, pixels, rows, columns, height, width, k,
    WIDTH: tl.constexpr, WIDTH_PITCH: tl.constexpr, REDUCE: tl.constexpr, TILE: tl.constexpr, EACH: tl.constexpr,
    INNER: tl.constexpr,
):  # fmt: skip
    """The gradient of a state that the slot does not read."""
    zero = tl.zeros([TILE, INNER], tl.float32)
    for t in range(EACH):
        p = (chunk * EACH + t) * TILE + tl.arange(0, TILE)
        live = p < pixels
        if REDUCE:
            image, row, column = split_pixel(p, rows, columns)
            _store_block(dx, image, row, column, height, width, k, zero, zero, WIDTH, WIDTH_PITCH, live)
        else:
            store_tile(dx, p, WIDTH_PITCH, k, WIDTH, live, zero)


@kernel
def _pointwise_backward(
    states, grads, gy, z, factors, affine, parameters, sums, parts, table, table_of_slot,
    pixels, rows, columns, inputs, height, width, stride, affine_stride, padded,
    COUNT: tl.constexpr, WIDTH: tl.constexpr, WIDTH_PITCH: tl.constexpr, REDUCE: tl.constexpr, GAP: tl.constexpr,
    TABLES: tl.constexpr, C: tl.constexpr, PITCH: tl.constexpr, GAMMA: tl.constexpr, BETA: tl.constexpr,
    BATCH: tl.constexpr, TILE: tl.constexpr, EACH: tl.constexpr, BLOCK: tl.constexpr, OUTPUTS: tl.constexpr,
    INNER: tl.constexpr, PRECISION: tl.constexpr,
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
    start, depth, gap = j * WIDTH, COUNT * WIDTH, GAP
    if TABLES != NO_TABLE:
        reads = state_row(table, table_of_slot, s, COUNT, TABLES)
        start, depth = place_of(reads, j), tl.load(reads)
        _, _, gap = _places(depth, C, REDUCE)
        if start < 0:
            _store_nothing(
                dx_base, chunk, pixels, rows, columns, height, width, k, WIDTH, WIDTH_PITCH, REDUCE, TILE, EACH, INNER
            )
            return
    gy += s * pixels * PITCH
    z += s * pixels * PITCH
    affine += s * affine_stride
    factors += s * 2 * BLOCK
    sums += s * 2 * BLOCK
    weights = parameters + s * stride + start
    dw = tl.zeros([OUTPUTS, INNER], tl.float32)
    dw_second = tl.zeros([OUTPUTS, INNER], tl.float32)
    for t in range(EACH):
        p = (chunk * EACH + t) * TILE + tl.arange(0, TILE)
        live = p < pixels
        q = _source(p, 0, rows, columns, height, width, REDUCE)
        dx, own = _part_backward(
            x_base, gy, z, weights, factors, affine, sums, p, q, live, o, k, half, depth, pixels,
            WIDTH, WIDTH_PITCH, C, PITCH, GAMMA, BETA, BATCH, BLOCK, PRECISION,
        )  # fmt: skip
        dw += own
        if REDUCE:
            q = _source(p, 1, rows, columns, height, width, REDUCE)
            shifted, own = _part_backward(
                x_base, gy, z, weights + gap, factors, affine, sums, p, q, live, half + o, k, C, depth, pixels,
                WIDTH, WIDTH_PITCH, C, PITCH, GAMMA, BETA, BATCH, BLOCK, PRECISION,
            )  # fmt: skip
            dw_second += own
            image, row, column = split_pixel(p, rows, columns)
            _store_block(dx_base, image, row, column, height, width, k, dx, shifted, WIDTH, WIDTH_PITCH, live)
        else:
            store_tile(dx_base, p, WIDTH_PITCH, k, WIDTH, live, dx)
    parts += (s * tl.num_programs(1) + chunk) * padded + start
    _store_weights(parts, dw, o, k, half, depth, WIDTH)
    if REDUCE:
        _store_weights(parts + gap, dw_second, half + o, k, C, depth, WIDTH)


@kernel
def _finish_reads(
    parts, sums, out, table, table_of_slot, chunks, padded, width,
    COUNT: tl.constexpr, TABLES: tl.constexpr, REDUCE: tl.constexpr, AFFINE: tl.constexpr, C: tl.constexpr,
    BLOCK: tl.constexpr, COLUMNS: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """As `finish_row` of `normalise`, with every slot's parameters where its own table puts them."""
    s = tl.program_id(1).to(tl.int64)
    first = tl.program_id(0) * COLUMNS
    j = first + tl.arange(0, COLUMNS)
    depth = tl.load(state_row(table, table_of_slot, s, COUNT, TABLES))
    end, gap_at, gap = _places(depth, C, REDUCE)
    found = tl.zeros([COLUMNS], tl.float32)
    if first < end:
        total = sum_parts(parts + s * chunks * padded, chunks, padded, j, COLUMNS, ROWS)
        found = tl.where((j < end) & ((j < gap_at) | (j >= gap_at + gap)), total, 0.0)
    if AFFINE:
        gamma, own = aligned(end), sums + s * 2 * BLOCK
        beta = gamma + aligned(C)
        count = tl.where(depth > 0, C, 0)
        found += tl.load(own + BLOCK + j - gamma, mask=(j >= gamma) & (j < gamma + count), other=0.0)
        found += tl.load(own + j - beta, mask=(j >= beta) & (j < beta + count), other=0.0)
    tl.store(out + s * width + j, found, mask=j < width)


def _shared(states, norm: Norm, reduce: bool, gap: int, mode: str, reads) -> dict:
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
        **tables_of(reads),
    }


def _sizes(states, z) -> tuple[int, ...]:
    _, batch, _, height, width = states[0].shape
    rows, columns = z.shape[3:]
    return batch * rows * columns, rows, columns, batch * height * width, height, width


def pointwise(norm: Norm, states, params, z, moments, affine, reduce: bool, gap: int, mode: str, reads) -> None:
    """z `[S, N, C, H', W']` and, unless None, moments `[S, tiles, 2, BLOCK]`; states `[S, N, WIDTH, H, W]` each.

    reads: which of them a slot reads, None where all read all; affine `[S, 2, BLOCK]` gets gamma and beta then.
    """
    sizes = _sizes(states, z)
    tiles = tiles_of(sizes[0], norm.channels)
    shared = _shared(states, norm, reduce, gap, mode, reads)
    launch(
        _pointwise,
        (tiles, z.shape[0]),
        *(tuple(states), params, z, moments, affine, shared.pop("table"), shared.pop("table_of_slot")),
        *(*sizes, params.stride(0), tiles),
        AFFINE=affine is not None,
        MOMENTS=moments is not None,
        TILE=norm.tile,
        num_warps=8 if norm.tile * norm.block > 4096 or norm.tile > 64 else 4,
        **shared,
    )


def _backward_tile(norm: Norm) -> int:
    """Pixels that a program takes at once: two products share its registers."""
    return 32 if norm.block <= 64 else 16


def chunks(norm: Norm, pixels: int) -> int:
    """Parts of the weights' gradient, per slot."""
    return chunked(triton.cdiv(pixels, _backward_tile(norm)))[1]


def pointwise_backward(
    norm: Norm, states, grads, gy, z, factors, affine, params, sums, parts, reduce, gap, mode, reads
) -> None:
    """grads, like states, and parts `[S, chunks, padded]` of the weights' gradient; affine: the rows in which `norm`
    finds gamma and beta."""
    sizes = _sizes(states, z)
    tile = _backward_tile(norm)
    each, count = chunked(triton.cdiv(sizes[0], tile))
    shared = _shared(states, norm, reduce, gap, mode, reads)
    outputs = norm.channels - norm.channels // 2 if reduce else norm.channels
    # left to itself, the assembler spills a few registers of it to fit one program more on a multiprocessor
    roomy = {} if reads is None else {"maxnreg": 255}
    launch(
        _pointwise_backward,
        (len(states) * triton.cdiv(shared["WIDTH"], shared["INNER"]), count, z.shape[0]),
        *(tuple(states), tuple(grads), gy, z, factors, affine, params, sums, parts),
        *(shared.pop("table"), shared.pop("table_of_slot")),
        *(*sizes, params.stride(0), affine.stride(0), parts.shape[2]),
        GAMMA=norm.gamma,
        BETA=norm.beta,
        BATCH=norm.batch,
        TILE=tile,
        EACH=each,
        OUTPUTS=channel_block(outputs),
        num_stages=1,  # more would cost the registers that the products need
        num_warps=8 if norm.block > 64 else 4,
        **roomy,
        **shared,
    )


def finish_reads(norm: Norm, parts, sums, out, reduce: bool, affine: bool, count: int, reads) -> None:
    """Gradients `out [S, row]` of the parameters of slots that read some of `count` states."""
    launch(
        _finish_reads,
        (triton.cdiv(out.shape[1], COLUMNS), out.shape[0]),
        *(parts, sums, out, reads.table, reads.of_slot, parts.shape[1], parts.shape[2], out.shape[1]),
        COUNT=count,
        TABLES=tables_of(reads)["TABLES"],
        REDUCE=reduce,
        AFFINE=affine,
        C=norm.channels,
        BLOCK=norm.block,
        COLUMNS=COLUMNS,
        ROWS=32,
    )
