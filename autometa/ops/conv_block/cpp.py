"""The compiled backend of `conv_block`.

For its backward it keeps the statistics and the convolution's output, before bias and normalisation:
`N * H * W * padded_channels(C_out)` floats per slot.  A block with normalisation but neither ReLU nor pool reads its
output instead, which tells the same.
"""

from __future__ import annotations

from torch import Tensor

from autometa.ops._memory import activation, activation_strides, as_activation, floats, numbers
from autometa.ops._native import (
    arena_rows,
    contiguous,
    kept_memory,
    once_differentiable,
    pointers,
    recording,
    register,
    run,
    single,
    threads,
)

# sizes: C_out, kernel, stride, padding on top and on the left, height and width of the convolution, of the output.
# flags: bias, norm, relu, pool.
_ARGUMENTS = "Tensor x, Tensor params, Tensor? given, SymInt[] sizes, bool[] flags, float eps"


def _sizes(block, height: int, width: int) -> list[int]:
    pads = [block.pads(n) for n in (height, width)]
    plain = [(n + sum(p) - block.kernel) // block.stride + 1 for n, p in zip((height, width), pads, strict=True)]
    top, left = (before for before, _ in pads)
    stride = min(block.stride, height + width + block.kernel)  # beyond that it changes nothing
    return [block.c_out, block.kernel, stride, top, left, *plain, block.output(height), block.output(width)]


def _shape(x: Tensor, sizes) -> tuple[int, ...]:
    return (*x.shape[:2], sizes[0], *sizes[-2:])


class _Block:
    """Arguments in the form that the compiled module reads; holds alive what it points to."""

    def __init__(self, x, params, given, sizes, flags, eps) -> None:
        slots, batch, *image = x.shape
        params = arena_rows(params)
        self.tensors = [x, params, *contiguous(given)]
        c_out, *rest = sizes
        sizes = [slots, batch, image[0], c_out, *image[1:], *rest, params.stride(0), params.shape[1]]
        self.compiled = run("ConvBlock", pointers(*self.tensors), x.stride(), sizes, flags, eps, threads())


def _statistics_shape(x: Tensor, sizes, wanted: bool) -> tuple[int, ...]:
    return (x.shape[0], 2, sizes[0]) if wanted else (0,)


def _fake(x, params, given, sizes, flags, eps, statistics, keep):
    shape = _shape(x, sizes)
    y = params.new_empty_strided(shape, activation_strides(shape))
    return y, params.new_empty(_statistics_shape(x, sizes, statistics)), kept_memory(params, keep)


@register("conv_block", f"({_ARGUMENTS}, bool statistics, bool keep) -> (Tensor, Tensor, Tensor)", fake=_fake)
def _forward(x, params, given, sizes, flags, eps, statistics, keep):
    """The block's output, its statistics (empty if not wanted), and what the backward needs (empty if not kept)."""
    block = _Block(x, params, given, sizes, flags, eps)
    saved = floats(run("conv_block_saved", block.compiled) if keep else 0)
    y, found = activation(*_shape(x, sizes)), numbers(*_statistics_shape(x, sizes, statistics))
    run("conv_block", block.compiled, y, saved if keep else None, found if statistics else None)
    return y, found, saved


def _fake_backward(gy, saved, y, x, params, given, sizes, flags, eps, want_dx):
    dx = x.new_empty_strided(x.shape, activation_strides(x.shape)) if want_dx else x.new_empty(0)
    return dx, params.new_empty(params.shape)


@register(
    "conv_block_backward",
    f"(Tensor gy, Tensor saved, Tensor? y, {_ARGUMENTS}, bool want_dx) -> (Tensor, Tensor)",
    fake=_fake_backward,
)
def _backward(gy, saved, y, x, params, given, sizes, flags, eps, want_dx):
    """Gradients of x (empty if not wanted) and params."""
    block, gy = _Block(x, params, given, sizes, flags, eps), as_activation(gy)
    dx = activation(*x.shape) if want_dx else numbers(0)
    dparams = floats(params.numel()).view(params.shape)
    run("conv_block_backward", block.compiled, saved, y, gy, dx if want_dx else None, dparams)
    return dx, dparams


def _save(ctx, inputs, output) -> None:
    x, params, given, ctx.sizes, ctx.flags, ctx.eps = inputs[:6]
    _, norm, relu, pool = ctx.flags
    ctx.save_for_backward(output[2], output[0] if norm and not relu and not pool else None, x, params, given)


def _formula(ctx, gy):
    saved, *tensors = ctx.saved_tensors
    want_dx = ctx.needs_input_grad[0]
    dx, dparams = _backward(gy, saved, *tensors, ctx.sizes, ctx.flags, ctx.eps, want_dx)
    return dx if want_dx else None, dparams


once_differentiable(_forward, _backward, _save, _formula)


def conv_block_cpp(x, params, block, given, want_statistics):
    """The call of the `cpp` backend, see `conv_block`."""
    given = single(given) if block.norm else None
    flags = [block.bias, block.norm, block.relu, block.pool]
    want = want_statistics and block.norm
    y, found, _ = _forward(x, params, given, _sizes(block, *x.shape[3:]), flags, block.eps, want, recording(x, params))
    return y, found if want else None
