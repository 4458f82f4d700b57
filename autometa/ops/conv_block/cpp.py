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
from autometa.ops.gates import are_paired, slots_together

# sizes: C_out, kernel, stride, padding on top and on the left, height and width of the convolution, of the output.
# flags: bias, norm, relu, pool. paired: whether the second half of the slots decides as the first (ops/gates.py).
_ARGUMENTS = "Tensor x, Tensor params, Tensor? given, SymInt[] sizes, bool[] flags, float eps, bool paired"


def _sizes(block, height: int, width: int) -> list[int]:
    pads = [block.pads(n) for n in (height, width)]
    plain = [(n + sum(p) - block.kernel) // block.stride + 1 for n, p in zip((height, width), pads, strict=True)]
    top, left = (before for before, _ in pads)
    stride = min(block.stride, height + width + block.kernel)  # beyond that it changes nothing
    return [block.c_out, block.kernel, stride, top, left, *plain, block.output(height), block.output(width)]


def _shape(x: Tensor, sizes) -> tuple[int, ...]:
    return (*x.shape[:2], sizes[0], *sizes[-2:])


class _Block:
    """Arguments in the form that the compiled module reads; holds alive what it points to. gate: what the block kept
    whose decisions are taken over, and its parameters."""

    def __init__(self, x, params, given, sizes, flags, eps, gate=(None, None)) -> None:
        slots, batch, *image = x.shape
        params = arena_rows(params)
        self.tensors, self.gate = [x, params, *contiguous(given)], gate
        c_out, *rest = sizes
        sizes = [slots, batch, image[0], c_out, *image[1:], *rest, params.stride(0), params.shape[1]]
        addresses = pointers(*self.tensors)
        self.compiled = run("ConvBlock", addresses, x.stride(), sizes, flags, eps, threads(), pointers(*gate))


def _statistics_shape(x: Tensor, sizes, wanted: bool) -> tuple[int, ...]:
    return (x.shape[0], 2, sizes[0]) if wanted else (0,)


def _fake(x, params, given, sizes, flags, eps, paired, statistics, keep):
    shape = _shape(x, sizes)
    y = params.new_empty_strided(shape, activation_strides(shape))
    return y, params.new_empty(_statistics_shape(x, sizes, statistics)), kept_memory(params, keep)


@register("conv_block", f"({_ARGUMENTS}, bool statistics, bool keep) -> (Tensor, Tensor, Tensor)", fake=_fake)
def _forward(x, params, given, sizes, flags, eps, paired, statistics, keep):
    """The block's output, its statistics (empty if not wanted), and what the backward needs (empty if not kept), half
    by half of paired slots."""
    y, found = activation(*_shape(x, sizes)), numbers(*_statistics_shape(x, sizes, statistics))
    halves, gate, saved, params = slots_together(len(x), paired), (None, None), None, arena_rows(params)
    for number, own in enumerate(halves):
        block = _Block(x[own], params[own], None if given is None else given[own], sizes, flags, eps, gate)
        size = run("conv_block_saved", block.compiled) if keep or paired else 0
        saved = floats(size * len(halves)) if saved is None else saved
        kept = saved[number * size : (number + 1) * size]
        run("conv_block", block.compiled, y[own], kept if size else None, found[own] if statistics else None)
        gate = kept, params[own]
    return y, found, saved if keep else floats(0)


def _fake_backward(gy, saved, y, x, params, given, sizes, flags, eps, paired, want_dx):
    dx = x.new_empty_strided(x.shape, activation_strides(x.shape)) if want_dx else x.new_empty(0)
    return dx, params.new_empty(params.shape)


@register(
    "conv_block_backward",
    f"(Tensor gy, Tensor saved, Tensor? y, {_ARGUMENTS}, bool want_dx) -> (Tensor, Tensor)",
    fake=_fake_backward,
)
def _backward(gy, saved, y, x, params, given, sizes, flags, eps, paired, want_dx):
    """Gradients of x (empty if not wanted) and params."""
    gy, params = as_activation(gy), arena_rows(params)
    dx = activation(*x.shape) if want_dx else numbers(0)
    dparams = floats(params.numel()).view(params.shape)
    gate, halves = (None, None), slots_together(len(x), paired)
    for own, kept in zip(halves, saved.chunk(len(halves)), strict=True):
        block = _Block(x[own], params[own], None if given is None else given[own], sizes, flags, eps, gate)
        of_x, output = dx[own] if want_dx else None, None if y is None else y[own]
        run("conv_block_backward", block.compiled, kept, output, gy[own], of_x, dparams[own])
        gate = kept, params[own]
    return dx, dparams


def _save(ctx, inputs, output) -> None:
    x, params, given, ctx.sizes, ctx.flags, ctx.eps, ctx.paired = inputs[:7]
    _, norm, relu, pool = ctx.flags
    ctx.save_for_backward(output[2], output[0] if norm and not relu and not pool else None, x, params, given)


def _formula(ctx, gy):
    saved, *tensors = ctx.saved_tensors
    want_dx = ctx.needs_input_grad[0]
    dx, dparams = _backward(gy, saved, *tensors, ctx.sizes, ctx.flags, ctx.eps, ctx.paired, want_dx)
    return dx if want_dx else None, dparams


once_differentiable(_forward, _backward, _save, _formula)


def conv_block_cpp(x, params, block, given, want_statistics):
    """The call of the `cpp` backend, see `conv_block`."""
    given = single(given) if block.norm else None
    flags = [block.bias, block.norm, block.relu, block.pool]
    want = want_statistics and block.norm
    sizes, keep = _sizes(block, *x.shape[3:]), recording(x, params)
    y, found, _ = _forward(x, params, given, sizes, flags, block.eps, are_paired(), want, keep)
    return y, found if want else None
