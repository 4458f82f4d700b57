"""The classifier: features are means over height and width, or all values in the order channel, height, width."""

from __future__ import annotations

import triton
import triton.language as tl

from autometa.kernels.launch import kernel, launch
from autometa.kernels.state_table import NO_TABLE, aligned, place_of, state_row, tables_of

COLUMNS = 128


@triton.jit
def _feature_place(f, area, pitch, FLATTEN: tl.constexpr):
    """Where a feature's first value stands in an image."""
    if FLATTEN:
        return f % area * pitch + f // area
    else:
        return f


@triton.jit
def _width_and_bias(
    table, table_of_slot, s, width, classes, bias, COUNT: tl.constexpr, TABLES: tl.constexpr
):  # fmt: skip
    """Features of a slot, and the column of its first bias."""
    if TABLES != NO_TABLE:
        width = tl.load(state_row(table, table_of_slot, s, COUNT, TABLES))
        bias = aligned(width * classes)
    return width, bias


@kernel
def _head(
    states, parameters, features, logits, table, table_of_slot, sizes, batch, width, classes, bias, stride,
    COUNT: tl.constexpr, TABLES: tl.constexpr, FLATTEN: tl.constexpr, CLASSES: tl.constexpr, FEATURES: tl.constexpr,
    PIXELS: tl.constexpr,
):  # fmt: skip
    n, s = tl.program_id(0), tl.program_id(1).to(tl.int64)
    k = tl.arange(0, CLASSES)
    features += (s * batch + n) * width
    width, bias = _width_and_bias(table, table_of_slot, s, width, classes, bias, COUNT, TABLES)
    parameters += s * stride
    total = tl.load(parameters + bias + k, mask=k < classes, other=0.0)
    start = 0
    for j in tl.static_range(COUNT):
        channels, area = sizes[2 * j], sizes[2 * j + 1]
        pitch = (channels + 3) // 4 * 4
        x = states[j] + (s * batch + n) * area * pitch
        count = channels * area if FLATTEN else channels
        end = count
        if TABLES != NO_TABLE:
            start = place_of(state_row(table, table_of_slot, s, COUNT, TABLES), j)
            end = tl.where(start < 0, 0, count)  # what is not read costs nothing
        for first in range(0, end, FEATURES):
            f = first + tl.arange(0, FEATURES)
            live = f < count
            at = x + _feature_place(f, area, pitch, FLATTEN)
            if FLATTEN:
                value = tl.load(at, mask=live, other=0.0)
            else:
                value = tl.zeros([FEATURES], tl.float32)
                for pixel in range(0, area, PIXELS):
                    p = pixel + tl.arange(0, PIXELS)
                    there = (p < area)[:, None] & live[None, :]
                    value += tl.sum(tl.load(at[None, :] + (p * pitch)[:, None], mask=there, other=0.0), axis=0)
                value /= area
            tl.store(features + start + f, value, mask=live)
            at = parameters + (k * width)[:, None] + (start + f)[None, :]
            w = tl.load(at, mask=(k < classes)[:, None] & live[None, :], other=0.0)
            total += tl.sum(w * value[None, :], axis=1)
        start += count
    tl.store(logits + (s * batch + n) * classes + k, total, mask=k < classes)


@triton.jit
def _gradients_of_states(
    grads, grad, parameters, table, table_of_slot, sizes, s, n, batch, width, classes, stride,
    COUNT: tl.constexpr, TABLES: tl.constexpr, FLATTEN: tl.constexpr, CLASSES: tl.constexpr, FEATURES: tl.constexpr,
    PIXELS: tl.constexpr,
):  # fmt: skip
    k = tl.arange(0, CLASSES)
    g = tl.load(grad + (s * batch + n) * classes + k, mask=k < classes, other=0.0)
    start = 0
    for j in tl.static_range(COUNT):
        channels, area = sizes[2 * j], sizes[2 * j + 1]
        pitch = (channels + 3) // 4 * 4
        dx = grads[j] + (s * batch + n) * area * pitch
        count = channels * area if FLATTEN else channels
        known = count
        if TABLES != NO_TABLE:
            start = place_of(state_row(table, table_of_slot, s, COUNT, TABLES), j)
            known = tl.where(start < 0, 0, count)
        for first in range(0, count, FEATURES):
            f = first + tl.arange(0, FEATURES)
            live = f < count
            at = parameters + s * stride + (k * width)[:, None] + (start + f)[None, :]
            w = tl.load(at, mask=(k < classes)[:, None] & (f < known)[None, :], other=0.0)
            value = tl.sum(w * g[:, None], axis=0)
            if TABLES != NO_TABLE:
                value = tl.where(f < known, value, 0.0)
            at = dx + _feature_place(f, area, pitch, FLATTEN)
            if FLATTEN:
                tl.store(at, value, mask=live)
            else:
                value /= area
                for pixel in range(0, area, PIXELS):
                    p = pixel + tl.arange(0, PIXELS)
                    there = (p < area)[:, None] & live[None, :]
                    spread = tl.broadcast_to(value[None, :], [PIXELS, FEATURES])
                    tl.store(at[None, :] + (p * pitch)[:, None], spread, mask=there)
        start += count


@triton.jit
def _gradients_of_row(
    features, grad, out, s, first, batch, pitch, width, classes, bias, row,
    COLUMNS: tl.constexpr, IMAGES: tl.constexpr,
):  # fmt: skip
    """Columns from `first` on; those that are no parameter get 0. pitch: features from image to image."""
    j = first + tl.arange(0, COLUMNS)
    weight = j < classes * width
    member = (j >= bias) & (j < bias + classes)
    k, f = tl.where(weight, j // width, j - bias), j % width
    total = tl.zeros([COLUMNS], tl.float32)
    for n in range(0, batch, IMAGES):
        image = s * batch + n + tl.arange(0, IMAGES)
        live = (n + tl.arange(0, IMAGES) < batch)[:, None]
        g = tl.load(grad + (image * classes)[:, None] + k[None, :], mask=live & (weight | member)[None, :], other=0.0)
        x = tl.load(features + (image * pitch)[:, None] + f[None, :], mask=live & weight[None, :], other=1.0)
        total += tl.sum(g * x, axis=0)
    tl.store(out + s * row + j, total, mask=j < row)


@kernel
def _head_backward(
    grads, grad, features, parameters, out, table, table_of_slot, sizes, batch, pitch, classes, bias, stride, row,
    COUNT: tl.constexpr, TABLES: tl.constexpr, FLATTEN: tl.constexpr, CLASSES: tl.constexpr, FEATURES: tl.constexpr,
    PIXELS: tl.constexpr, COLUMNS: tl.constexpr, IMAGES: tl.constexpr,
):  # fmt: skip
    """The first `batch` programs of a slot take an image each, the others columns of its row."""
    s = tl.program_id(1).to(tl.int64)
    width, bias = _width_and_bias(table, table_of_slot, s, pitch, classes, bias, COUNT, TABLES)
    if tl.program_id(0) < batch:
        _gradients_of_states(
            grads, grad, parameters, table, table_of_slot, sizes, s, tl.program_id(0), batch, width, classes, stride,
            COUNT, TABLES, FLATTEN, CLASSES, FEATURES, PIXELS,
        )  # fmt: skip
    else:
        first = (tl.program_id(0) - batch) * COLUMNS
        _gradients_of_row(features, grad, out, s, first, batch, pitch, width, classes, bias, row, COLUMNS, IMAGES)


def _blocks(classes: int) -> dict:
    class_block = triton.next_power_of_2(classes)
    return {"CLASSES": class_block, "FEATURES": max(16, min(128, 4096 // class_block)), "PIXELS": 32}


def _sizes(states) -> tuple[int, ...]:
    return tuple(n for x in states for n in (x.shape[2], x.shape[3] * x.shape[4]))


def head(states, params, features, logits, bias: int, flatten: bool, reads) -> None:
    """logits `[S, N, K]` and features `[S, N, F]` of maps of any sizes; params `[S, row]`: weights `[K, F]`, at
    column `bias` the biases. reads: which states a slot reads, None where all read all."""
    slots, batch, classes = logits.shape
    tables = tables_of(reads)
    launch(
        _head,
        (batch, slots),
        *(tuple(states), params, features, logits, tables.pop("table"), tables.pop("table_of_slot"), _sizes(states)),
        *(batch, features.shape[2], classes, bias, params.stride(0)),
        COUNT=len(states),
        FLATTEN=flatten,
        **tables,
        **_blocks(classes),
    )


def head_backward(grads, grad, features, params, out, bias: int, flatten: bool, reads) -> None:
    """Gradients of the states and of all columns of params, from that of the logits."""
    slots, batch, classes = grad.shape
    tables = tables_of(reads)
    launch(
        _head_backward,
        (batch + triton.cdiv(out.shape[1], COLUMNS), slots),
        *(tuple(grads), grad, features, params, out, tables.pop("table"), tables.pop("table_of_slot"), _sizes(grads)),
        *(batch, features.shape[2], classes, bias, params.stride(0), out.shape[1]),
        COUNT=len(grads),
        FLATTEN=flatten,
        COLUMNS=COLUMNS,
        IMAGES=32,
        **tables,
        **_blocks(classes),
    )
