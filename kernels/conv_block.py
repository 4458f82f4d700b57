"""A full convolution, forward and backward; what stands behind it is in `normalise`.

Images of few channels (NARROW) are read through any strides, all taps and channels of a pixel as one row of a product.
Wider inputs are maps, read tap by tap, with weights packed `[slots, taps, C_IN, BLOCK]`. The gradient of the input goes
by pixels of one residue class modulo the stride, so that every tap it visits is one that counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import triton
import triton.language as tl

from autometa.kernels.common import load_pixels, load_tile, product, split_pixel, store_moments, store_tile
from autometa.kernels.launch import channel_block, dot_precision, kernel, launch
from autometa.kernels.normalise import Norm, before_norm, chunked, load_factors, tiles_of

NARROW = 4  # channels
BACKWARD_TILE = 32


@dataclass(frozen=True)
class Conv:
    """Sizes of a convolution: of its kernel, its stride, padding above and on the left."""

    c_in: int
    c_out: int
    kernel: int
    stride: int
    top: int
    left: int

    @property
    def narrow(self) -> bool:
        return self.c_in <= NARROW

    @property
    def weights(self) -> int:
        return self.c_out * self.c_in * self.kernel**2

    @property
    def inner(self) -> int:
        """Inputs that a product takes at once: of all taps, or channels of one."""
        return min(32, channel_block(self.c_in * self.kernel**2 if self.narrow else self.c_in))

    @property
    def blocks(self) -> int:
        """Such products, over all inputs of one output."""
        if self.narrow:
            return triton.cdiv(self.c_in * self.kernel**2, self.inner)
        return self.kernel**2 * triton.cdiv(self.c_in, self.inner)

    @property
    def options(self) -> dict:
        names = {"C_IN": self.c_in, "KERNEL": self.kernel, "STRIDE": self.stride, "NARROW": self.narrow}
        return {**names, "IN_PITCH": -(-self.c_in // 4) * 4, "INNER": self.inner}


@kernel
def _pack(
    parameters, packed, stride,
    C_IN: tl.constexpr, C: tl.constexpr, TAPS: tl.constexpr, BLOCK: tl.constexpr, SIZE: tl.constexpr,
):  # fmt: skip
    s = tl.program_id(1).to(tl.int64)
    i = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    o, c, tap = i % BLOCK, i // BLOCK % C_IN, i // (BLOCK * C_IN)
    live = tap < TAPS
    w = tl.load(parameters + s * stride + (o * C_IN + c) * TAPS + tap, mask=live & (o < C), other=0.0)
    tl.store(packed + s * TAPS * C_IN * BLOCK + i, w.to(packed.dtype.element_ty), mask=live)


@triton.jit
def _read(
    x, strides, block, image, row, column, height, width, top, left, live,
    C_IN: tl.constexpr, KERNEL: tl.constexpr, STRIDE: tl.constexpr, NARROW: tl.constexpr, IN_PITCH: tl.constexpr,
    INNER: tl.constexpr,
):  # fmt: skip
    """Inputs `[pixels, INNER]` number `block` of outputs at (image, row, column), 0 in the padding."""
    if NARROW:
        k = block * INNER + tl.arange(0, INNER)
        c, tap = k // (KERNEL * KERNEL), k % (KERNEL * KERNEL)
        down = (row * STRIDE - top)[:, None] + (tap // KERNEL)[None, :]
        right = (column * STRIDE - left)[:, None] + (tap % KERNEL)[None, :]
        inside = (down >= 0) & (down < height) & (right >= 0) & (right < width)
        inside = inside & live[:, None] & (c < C_IN)[None, :]
        at = image.to(tl.int64)[:, None] * strides[1] + c.to(tl.int64)[None, :] * strides[2]
        at += down.to(tl.int64) * strides[3] + right.to(tl.int64) * strides[4]
        return tl.load(x + at, mask=inside, other=0.0)
    else:
        tap = block // tl.cdiv(C_IN, INNER)
        c = block % tl.cdiv(C_IN, INNER) * INNER + tl.arange(0, INNER)
        down, right = row * STRIDE - top + tap // KERNEL, column * STRIDE - left + tap % KERNEL
        found, _ = load_pixels(x, image, down, right, height, width, IN_PITCH, c, C_IN, live)
        return found


@kernel
def _convolve(
    x, strides, weights, z, moments, pixels, rows, columns, height, width, top, left, stride, tiles,
    C_IN: tl.constexpr, KERNEL: tl.constexpr, STRIDE: tl.constexpr, NARROW: tl.constexpr, IN_PITCH: tl.constexpr,
    INNER: tl.constexpr, BLOCKS: tl.constexpr, C: tl.constexpr, PITCH: tl.constexpr, MOMENTS: tl.constexpr,
    TILE: tl.constexpr, BLOCK: tl.constexpr, PART: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """weights: rows of parameters where NARROW, else packed ones; stride: of a slot of them."""
    s = tl.program_id(1).to(tl.int64)
    p = tl.program_id(0) * TILE + tl.arange(0, TILE)
    live = p < pixels
    image, row, column = split_pixel(p, rows, columns)
    o = tl.program_id(2) * PART + tl.arange(0, PART)
    x += s * strides[0]
    weights += s * stride
    total = tl.zeros([TILE, PART], tl.float32)
    for block in range(BLOCKS):
        own = _read(
            x, strides, block, image, row, column, height, width, top, left, live,
            C_IN, KERNEL, STRIDE, NARROW, IN_PITCH, INNER,
        )  # fmt: skip
        if NARROW:
            k = block * INNER + tl.arange(0, INNER)
            inputs: tl.constexpr = C_IN * KERNEL * KERNEL
            at = weights + (o * inputs)[:, None] + k[None, :]
            w = tl.trans(tl.load(at, mask=(o < C)[:, None] & (k < inputs)[None, :], other=0.0))
        else:
            c = block % tl.cdiv(C_IN, INNER) * INNER + tl.arange(0, INNER)
            at = weights + ((block // tl.cdiv(C_IN, INNER) * C_IN + c) * BLOCK)[:, None] + o[None, :]
            w = tl.load(at, mask=(c < C_IN)[:, None], other=0.0).to(tl.float32)
        total += product(own, w, PRECISION)
    total = total.to(z.dtype.element_ty).to(tl.float32)
    store_tile(z + s * pixels * PITCH, p, PITCH, o, C, live, total)
    if MOMENTS:
        store_moments(moments + (s * tiles + tl.program_id(0)) * 2 * BLOCK, total, live, o, BLOCK)


@kernel
def _weights_backward(
    x, strides, dz, gy, z, factors, parameters, sums, parts,
    pixels, rows, columns, height, width, top, left, stride, padded,
    C_IN: tl.constexpr, KERNEL: tl.constexpr, STRIDE: tl.constexpr, NARROW: tl.constexpr, IN_PITCH: tl.constexpr,
    INNER: tl.constexpr, C: tl.constexpr, PITCH: tl.constexpr, GAMMA: tl.constexpr, BETA: tl.constexpr,
    BATCH: tl.constexpr, RELU: tl.constexpr, READY: tl.constexpr, TILE: tl.constexpr, EACH: tl.constexpr,
    BLOCK: tl.constexpr, PART: tl.constexpr, BLOCKS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """READY: dz is at hand; else it is computed here, of outputs without a pool."""
    s = tl.program_id(2).to(tl.int64)
    block, chunk = tl.program_id(0) % BLOCKS, tl.program_id(1)
    o = tl.program_id(0) // BLOCKS * PART + tl.arange(0, PART)
    x += s * strides[0]
    centre, inverse, gamma, beta = load_factors(
        factors + s * 2 * BLOCK, parameters + s * stride, o, C, GAMMA, BETA, BLOCK
    )
    dw = tl.zeros([PART, INNER], tl.float32)
    for t in range(EACH):
        p = (chunk * EACH + t) * TILE + tl.arange(0, TILE)
        live = p < pixels
        image, row, column = split_pixel(p, rows, columns)
        if READY:
            own = load_tile(dz + s * pixels * PITCH, p, PITCH, o, C, live)
        else:
            g = load_tile(gy + s * pixels * PITCH, p, PITCH, o, C, live)
            hat = (load_tile(z + s * pixels * PITCH, p, PITCH, o, C, live) - centre[None, :]) * inverse[None, :]
            if RELU:
                g = tl.where(hat * gamma[None, :] + beta[None, :] <= 0, 0.0, g)
            own = before_norm(g, hat, sums + s * 2 * BLOCK, gamma * inverse, pixels, o, C, BATCH, BLOCK)
            own = tl.where(live[:, None] & (o < C)[None, :], own, 0.0)
        read = _read(
            x, strides, block, image, row, column, height, width, top, left, live,
            C_IN, KERNEL, STRIDE, NARROW, IN_PITCH, INNER,
        )  # fmt: skip
        dw += product(tl.trans(own), read, PRECISION)
    if NARROW:
        k = block * INNER + tl.arange(0, INNER)
        inside = k < C_IN * KERNEL * KERNEL
    else:
        c = block % tl.cdiv(C_IN, INNER) * INNER + tl.arange(0, INNER)
        k, inside = c * KERNEL * KERNEL + block // tl.cdiv(C_IN, INNER), c < C_IN
    at = parts + (s * tl.num_programs(1) + chunk) * padded
    at = at + (o * (C_IN * KERNEL * KERNEL))[:, None] + k[None, :]
    tl.store(at, dw, mask=(o < C)[:, None] & inside[None, :])


@kernel
def _inputs_backward(
    packed, dz, dx, batch, pixels, rows, columns, height, width, top, left,
    C_IN: tl.constexpr, KERNEL: tl.constexpr, STRIDE: tl.constexpr, IN_PITCH: tl.constexpr, C: tl.constexpr,
    PITCH: tl.constexpr, TILE: tl.constexpr, BLOCK: tl.constexpr, SPLIT: tl.constexpr, IN_BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """SPLIT: outputs that a product takes at once."""
    s = tl.program_id(2).to(tl.int64)
    first_row, first_column = tl.program_id(1) // STRIDE, tl.program_id(1) % STRIDE
    own_rows, own_columns = tl.cdiv(height - first_row, STRIDE), tl.cdiv(width - first_column, STRIDE)
    p = tl.program_id(0) * TILE + tl.arange(0, TILE)
    live = p < batch * own_rows * own_columns
    image, r, q = split_pixel(p, tl.maximum(own_rows, 1), tl.maximum(own_columns, 1))
    c = tl.arange(0, IN_BLOCK)
    # The first tap that counts, and the output it belongs to.
    down, right = (first_row + top) % STRIDE, (first_column + left) % STRIDE
    row, column = r + (first_row + top) // STRIDE, q + (first_column + left) // STRIDE
    taps_down, taps_right = tl.cdiv(KERNEL - down, STRIDE), tl.cdiv(KERNEL - right, STRIDE)
    packed += s * KERNEL * KERNEL * C_IN * BLOCK
    total = tl.zeros([TILE, IN_BLOCK], tl.float32)
    for i in range(taps_down * taps_right * (BLOCK // SPLIT)):
        tap = i // (BLOCK // SPLIT)
        o = i % (BLOCK // SPLIT) * SPLIT + tl.arange(0, SPLIT)
        m, n = tap // taps_right, tap % taps_right
        own, _ = load_pixels(dz + s * pixels * PITCH, image, row - m, column - n, rows, columns, PITCH, o, C, live)
        at = ((down + m * STRIDE) * KERNEL + right + n * STRIDE) * C_IN
        w = tl.load(packed + ((at + c) * BLOCK)[:, None] + o[None, :], mask=(c < C_IN)[:, None], other=0.0)
        total += product(own, tl.trans(w.to(tl.float32)), PRECISION)
    at = (image * height + first_row + r * STRIDE) * width + first_column + q * STRIDE
    store_tile(dx + s * batch * height * width * IN_PITCH, at, IN_PITCH, c, C_IN, live, total)


def _sizes(conv: Conv, x, z) -> tuple[int, ...]:
    """pixels, rows, columns of the output, height and width of the input, padding."""
    rows, columns = z.shape[3:]
    return z.shape[1] * rows * columns, rows, columns, *x.shape[3:], conv.top, conv.left


def pack(conv: Conv, norm: Norm, params, packed) -> None:
    """packed `[S, taps, C_IN, BLOCK]`, the weights of the first columns of params."""
    launch(
        _pack,
        (triton.cdiv(packed[0].numel(), 1024), packed.shape[0]),
        *(params, packed, params.stride(0)),
        C_IN=conv.c_in,
        C=conv.c_out,
        TAPS=conv.kernel**2,
        BLOCK=norm.block,
        SIZE=1024,
    )


def convolve(conv: Conv, norm: Norm, x, weights, z, moments, mode: str) -> None:
    """z `[S, N, C, H', W']` without bias and, unless None, moments `[S, tiles, 2, BLOCK]`.

    weights: packed ones, or where the images are narrow the rows of parameters.
    """
    sizes = _sizes(conv, x, z)
    tiles = tiles_of(sizes[0], conv.c_out)
    launch(
        _convolve,
        (tiles, z.shape[0], norm.parts),
        *(x, x.stride(), weights, z, moments, *sizes, weights.stride(0), tiles),
        **conv.options,
        BLOCKS=conv.blocks,
        C=conv.c_out,
        PITCH=norm.options["PITCH"],
        MOMENTS=moments is not None,
        TILE=norm.tile,
        BLOCK=norm.block,
        PART=norm.part,
        PRECISION=dot_precision(mode),
        num_warps=8 if norm.tile * norm.part > 4096 or norm.tile > 64 else 4,
        num_stages=2,  # with three, that for compute capability 10.0 spills
        maxnreg=255,  # left to itself, the assembler spills a few to fit one program more
    )


def chunks(pixels: int) -> int:
    """Parts of the weights' gradient, per slot."""
    return chunked(triton.cdiv(pixels, BACKWARD_TILE))[1]


def weights_backward(conv: Conv, norm: Norm, x, dz, gy, z, factors, params, sums, parts, mode: str) -> None:
    """parts `[S, chunks, padded]` of the weights' gradient; dz is None where it is not at hand."""
    sizes = _sizes(conv, x, z)
    each, count = chunked(triton.cdiv(sizes[0], BACKWARD_TILE))
    launch(
        _weights_backward,
        (conv.blocks * norm.parts, count, z.shape[0]),
        *(x, x.stride(), dz, gy, z, factors, params, sums, parts, *sizes, params.stride(0), parts.shape[2]),
        **conv.options,
        C=conv.c_out,
        PITCH=norm.options["PITCH"],
        GAMMA=norm.gamma,
        BETA=norm.beta,
        BATCH=norm.batch,
        RELU=norm.relu,
        READY=dz is not None,
        TILE=BACKWARD_TILE,
        EACH=each,
        BLOCK=norm.block,
        PART=norm.part,
        BLOCKS=conv.blocks,
        PRECISION=dot_precision(mode),
        num_stages=1,  # more would cost the registers that the product needs
        num_warps=8 if norm.block > 64 else 4,
    )


def inputs_backward(conv: Conv, norm: Norm, packed, dz, dx, mode: str) -> None:
    """The gradient dx `[S, N, C_IN, H, W]` of the input."""
    slots, batch, _, height, width = dx.shape
    most = batch * triton.cdiv(height, conv.stride) * triton.cdiv(width, conv.stride)
    tile = 64
    launch(
        _inputs_backward,
        (triton.cdiv(most, tile), conv.stride**2, slots),
        *(packed, dz, dx, batch, *_sizes(conv, dx, dz)),
        C_IN=conv.c_in,
        KERNEL=conv.kernel,
        STRIDE=conv.stride,
        IN_PITCH=conv.options["IN_PITCH"],
        C=conv.c_out,
        PITCH=norm.options["PITCH"],
        TILE=tile,
        BLOCK=norm.block,
        SPLIT=min(norm.block, 32),
        IN_BLOCK=channel_block(conv.c_in),
        PRECISION=dot_precision(mode),
    )
