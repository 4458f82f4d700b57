"""The compiled backend of `cell_stack`: losses and their gradient in one pass over the slots."""

from __future__ import annotations

import torch
from torch import Tensor

from autometa.ops._memory import floats, numbers
from autometa.ops._native import arena_rows, run, threads
from autometa.ops.conv_block.cpp import _sizes


def cell_stack_cpp(params, images, labels, programs, of_slot):
    """The call of the `cpp` backend, see `cell_stack`."""
    return _CellStack.apply(params, images, labels, programs, of_slot)


class _CellStack(torch.autograd.Function):
    @staticmethod
    def forward(ctx, params, images, labels, programs, of_slot):
        labels = labels.to(torch.int64).contiguous()
        params = arena_rows(params)
        slots, batch = labels.shape
        stacks = {k: _compiled(programs[k], batch, images.shape[2]) for k in set(of_slot)}
        losses, logits = numbers(slots), numbers(slots, batch, programs[0].ways)
        ctx.grad = floats(params.numel()).view(params.shape) if ctx.needs_input_grad[0] else None
        run(
            "cell_stack", [stacks[k] for k in of_slot], images, images.stride(), labels, params, params.stride(0),
            losses, logits, ctx.grad, params.shape[1], threads(),
        )  # fmt: skip
        ctx.mark_non_differentiable(logits)
        return losses, logits

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g: Tensor, _: Tensor):
        if ctx.grad is None:
            return (None,) * 5
        grad, ones = ctx.grad, bool((g == 1).all())
        return grad if ones else grad * g[:, None], None, None, None, None


def _compiled(program, batch: int, channels: int):
    """The program for batches of this size, made once."""
    if batch not in program.compiled:
        place = {(-1, 0): 0, **{step.result: k + 1 for k, step in enumerate(program.steps)}}
        start, stop = program.columns["stem"]
        stem = [start, stop - start, *_sizes(program.stem, *program.image)]
        steps, head = [_step(program, step, place) for step in program.steps], _step(program, program.head, place)
        image = [batch, channels, *program.image]
        program.compiled[batch] = run("CellStack", image, stem, program.stem.eps, steps, head, program.ways)
    return program.compiled[batch]


def _step(program, step, place):
    """In the order of csrc/bindings_stacks.cpp."""
    if step.table is not None and (step.table.shape[0] != 1 or not step.node):
        raise ValueError("the compiled cell_stack runs programs of one network each")
    start, stop = program.columns[step.block]
    table = step.table.flatten().tolist() if step.node else []
    return step.node, start, stop - start, step.channels, step.reduce, [place[s] for s in step.states], table
