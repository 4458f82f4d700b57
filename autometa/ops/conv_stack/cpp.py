"""The compiled backend of `conv_stack`.

For its backward it keeps of every block what `conv_block` keeps, and its output; of the head its features.
"""

from __future__ import annotations

from functools import lru_cache

from torch import Tensor

from autometa.ops._memory import activation, activation_strides, floats, numbers
from autometa.ops._native import arena_rows, kept_memory, once_differentiable, recording, register, run, threads
from autometa.ops.conv_block.cpp import _sizes

# sizes and flags: those of `conv_block`, block after block.
_ARGUMENTS = "Tensor x, Tensor params, SymInt[] sizes, bool[] flags, float[] eps, SymInt classes, bool flatten"


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
    """Arguments in the form that the compiled module reads; holds alive what it points to."""

    def __init__(self, x, params, sizes, flags, eps, classes, flatten) -> None:
        self.params = params = arena_rows(params)
        self.shapes = _shapes(tuple(x.shape), tuple(sizes), tuple(flags), tuple(eps), classes, flatten)
        self.input = run("StackInput", x, x.stride(), params, params.stride(0), params.shape[1], threads())


def _fake(x, params, sizes, flags, eps, classes, flatten, keep):
    return params.new_empty(*x.shape[:2], classes), kept_memory(params, keep)


@register("conv_stack", f"({_ARGUMENTS}, bool keep) -> (Tensor, Tensor)", fake=_fake)
def _forward(x, params, sizes, flags, eps, classes, flatten, keep):
    """Logits, and what the backward needs (empty if not kept)."""
    stack = _Stack(x, params, sizes, flags, eps, classes, flatten)
    saved = floats(stack.shapes.saved if keep else 0)
    logits = numbers(*x.shape[:2], classes)
    run("conv_stack", stack.shapes, stack.input, saved if keep else None, logits)
    return logits, saved


def _fake_backward(grad, saved, x, params, sizes, flags, eps, classes, flatten, want_dx):
    dx = x.new_empty_strided(x.shape, activation_strides(x.shape)) if want_dx else x.new_empty(0)
    return dx, params.new_empty(params.shape)


@register(
    "conv_stack_backward",
    f"(Tensor grad, Tensor saved, {_ARGUMENTS}, bool want_dx) -> (Tensor, Tensor)",
    fake=_fake_backward,
)
def _backward(grad, saved, x, params, sizes, flags, eps, classes, flatten, want_dx):
    """Gradients of x (empty if not wanted) and params."""
    stack, grad = _Stack(x, params, sizes, flags, eps, classes, flatten), grad.contiguous()
    dx = activation(*x.shape) if want_dx else numbers(0)
    dparams = floats(params.numel()).view(params.shape)
    run("conv_stack_backward", stack.shapes, stack.input, saved, grad, dx if want_dx else None, dparams)
    return dx, dparams


def _save(ctx, inputs, output) -> None:
    x, params, *ctx.settings = inputs[:7]
    ctx.save_for_backward(output[1], x, params)


def _formula(ctx, grad):
    want_dx = ctx.needs_input_grad[0]
    dx, dparams = _backward(grad, *ctx.saved_tensors, *ctx.settings, want_dx)
    return dx if want_dx else None, dparams


once_differentiable(_forward, _backward, _save, _formula)


def conv_stack_cpp(x: Tensor, params: Tensor, blocks, classes: int, flatten: bool) -> Tensor:
    """The call of the `cpp` backend, see `conv_stack`."""
    described = _described(tuple(blocks), *x.shape[3:])
    return _forward(x, params, *described, classes, flatten, recording(x, params))[0]
