"""The compiled backend of `conv_stack`.

For its backward it keeps of every block what `conv_block` keeps, and its output; of the head its features.
"""

from __future__ import annotations

from functools import lru_cache

from torch import Tensor

from autometa.ops._memory import activation, activation_strides, floats, numbers
from autometa.ops._native import arena_rows, kept_memory, once_differentiable, recording, register, run, threads
from autometa.ops.conv_block.cpp import _sizes
from autometa.ops.gates import are_paired, slots_together

# sizes and flags: those of `conv_block`, block after block.
# paired: whether the second half of the slots decides as the first (ops/gates.py).
_ARGUMENTS = (
    "Tensor x, Tensor params, SymInt[] sizes, bool[] flags, float[] eps, SymInt classes, bool flatten, bool paired"
)


@lru_cache(maxsize=64)
def _described(blocks, height: int, width: int):
    """sizes, flags and eps of blocks on images of this size."""
    sizes, flags = [], []
    for block in blocks:
        sizes += _sizes(block, height, width)
        flags += [block.bias, block.norm, block.relu, block.pool]
        height, width = block.output(height), block.output(width)
    return tuple(sizes), tuple(flags), tuple(block.eps for block in blocks)


@lru_cache(maxsize=64)
def _shapes(image, sizes, flags, eps, classes: int, flatten: bool):
    """The stack as the compiled module sees it: shapes alone, so that it serves every call that has them."""
    return run("ConvStack", image, sizes, flags, eps, classes, flatten)


class _Stack:
    """Arguments in the form that the compiled module reads; holds alive what it points to. gate: what the stack kept
    whose decisions are taken over, and its parameters."""

    def __init__(self, x, params, sizes, flags, eps, classes, flatten, gate=(None, None)) -> None:
        self.params = params = arena_rows(params)
        self.gate = saved, deciding = gate[0], None if gate[1] is None else arena_rows(gate[1])
        self.shapes = _shapes(tuple(x.shape), tuple(sizes), tuple(flags), tuple(eps), classes, flatten)
        row = 0 if deciding is None else deciding.stride(0)
        self.input = run(
            "StackInput", x, x.stride(), params, params.stride(0), params.shape[1], threads(), saved, deciding, row
        )


def _fake(x, params, sizes, flags, eps, classes, flatten, paired, keep):
    return params.new_empty(*x.shape[:2], classes), kept_memory(params, keep)


@register("conv_stack", f"({_ARGUMENTS}, bool keep) -> (Tensor, Tensor)", fake=_fake)
def _forward(x, params, sizes, flags, eps, classes, flatten, paired, keep):
    """Logits, and what the backward needs (empty if not kept), half by half."""
    logits, settings = numbers(*x.shape[:2], classes), (sizes, flags, eps, classes, flatten)
    halves, gate, saved = slots_together(len(x), paired), (None, None), None
    for number, own in enumerate(halves):
        stack = _Stack(x[own], params[own], *settings, gate)
        size = stack.shapes.saved if keep or paired else 0
        saved = floats(size * len(halves)) if saved is None else saved
        kept = saved[number * size : (number + 1) * size]
        run("conv_stack", stack.shapes, stack.input, kept if size else None, logits[own])
        gate = kept, params[own]
    return logits, saved if keep else floats(0)


def _fake_backward(grad, saved, x, params, sizes, flags, eps, classes, flatten, paired, want_dx):
    dx = x.new_empty_strided(x.shape, activation_strides(x.shape)) if want_dx else x.new_empty(0)
    return dx, params.new_empty(params.shape)


@register(
    "conv_stack_backward",
    f"(Tensor grad, Tensor saved, {_ARGUMENTS}, bool want_dx) -> (Tensor, Tensor)",
    fake=_fake_backward,
)
def _backward(grad, saved, x, params, sizes, flags, eps, classes, flatten, paired, want_dx):
    """Gradients of x (empty if not wanted) and params."""
    grad, settings = grad.contiguous(), (sizes, flags, eps, classes, flatten)
    dx = activation(*x.shape) if want_dx else numbers(0)
    dparams = floats(params.numel()).view(params.shape)
    gate, halves = (None, None), slots_together(len(x), paired)
    for own, kept in zip(halves, saved.chunk(len(halves)), strict=True):
        stack = _Stack(x[own], params[own], *settings, gate)
        of_x = dx[own] if want_dx else None
        run("conv_stack_backward", stack.shapes, stack.input, kept, grad[own], of_x, dparams[own])
        gate = kept, params[own]
    return dx, dparams


def _save(ctx, inputs, output) -> None:
    x, params, *ctx.settings = inputs[:8]
    ctx.save_for_backward(output[1], x, params)


def _formula(ctx, grad):
    want_dx = ctx.needs_input_grad[0]
    dx, dparams = _backward(grad, *ctx.saved_tensors, *ctx.settings, want_dx)
    return dx if want_dx else None, dparams


once_differentiable(_forward, _backward, _save, _formula)


def conv_stack_cpp(x: Tensor, params: Tensor, blocks, classes: int, flatten: bool) -> Tensor:
    """The call of the `cpp` backend, see `conv_stack`."""
    described = _described(tuple(blocks), *x.shape[3:])
    return _forward(x, params, *described, classes, flatten, are_paired(), recording(x, params))[0]
