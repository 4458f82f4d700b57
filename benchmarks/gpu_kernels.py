"""Ops alone, forward and backward, as graphs on rotated inputs: GB/s and FLOP/s beside the device's ceilings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from autometa.nas.spaces.cells import METANAS_PRIMITIVES, one_shot_cell, op_table
from autometa.ops import ConvBlock, conv_block, mixed_op, preprocess
from autometa.ops.backend import libraries, precision
from autometa.ops.preprocess import preprocess_parameters
from autometa.ops.primitives import PRIMITIVES, aligned
from benchmarks.gpu_measure import GPU, Clock, graphed, interleaved, points, release, rotated

SLOTS, BATCH, CHANNELS, INPUTS = 10, 20, 28, 3


@dataclass
class Kernel:
    """An op on made-up inputs. forward() gives its output and the leaves; macs: of one forward; floats: the least it
    moves in a forward (inputs, stored results twice, output) and in a backward (these again, and the gradients)."""

    forward: Callable[[], tuple[Tensor, list[Tensor]]]
    macs: float
    floats: tuple[float, float]


def _normal(*shape: int) -> Tensor:
    return torch.randn(*shape, device=GPU)


def _map(channels: int, size: int) -> Tensor:
    """An activation in channels-last memory, as the ops put out."""
    return _normal(SLOTS, BATCH, size, size, channels).permute(0, 1, 4, 2, 3).requires_grad_(True)


def node(primitives: tuple[str, ...], size: int, reduction: bool = False) -> Kernel:
    """A node of a search cell with three inputs."""
    cell = one_shot_cell(primitives, INPUTS - 1)
    table, width = op_table(cell, INPUTS - 2, CHANNELS, reduction, False)
    sizes = [size if j < 2 or not reduction else -(-size // 2) for j in range(INPUTS)]
    states = [_map(CHANNELS, n) for n in sizes]
    params = (0.1 * _normal(SLOTS, max(width, 16))).requires_grad_(True)
    weights = torch.softmax(_normal(SLOTS, len(primitives) * INPUTS), dim=1).requires_grad_(True)
    inputs = torch.rand(SLOTS, INPUTS, device=GPU).requires_grad_(True)
    leaves = [*states, params, weights, inputs]
    out = -(-size // 2) if reduction else size
    macs = stored = 0.0
    for instance in cell.nodes[INPUTS - 2]:
        primitive, stride = PRIMITIVES[instance.primitive], cell.stride(instance, reduction)
        macs += SLOTS * BATCH * primitive.macs(CHANNELS, out, out, stride)
        stored += primitive.stages(stride)
    one = SLOTS * BATCH * CHANNELS * out * out
    read = sum(x.numel() for x in states)
    return Kernel(
        lambda: (mixed_op(states, params, weights, inputs, table)[0], leaves),
        macs,
        (read + 2 * stored * one + one, one + 2 * stored * one + 2 * read),
    )


def preparation(size: int, reduce: bool) -> Kernel:
    """A cell's preprocessing of three states."""
    width = sum(aligned(p.size) for p in preprocess_parameters(INPUTS * CHANNELS, CHANNELS, reduce, False))
    states, params = [_map(CHANNELS, size) for _ in range(INPUTS)], (0.1 * _normal(SLOTS, width)).requires_grad_(True)
    out = -(-size // 2) if reduce else size
    one, read = SLOTS * BATCH * CHANNELS * out * out, sum(x.numel() for x in states)
    macs = float(one * INPUTS * CHANNELS)
    return Kernel(
        lambda: (preprocess(states, params, CHANNELS, reduce=reduce)[0], [*states, params]),
        macs,
        (read + 3 * one, 2 * read + 3 * one),
    )


def block(shape: ConvBlock, size: int) -> Kernel:
    """A full convolution with BN."""
    x = _map(shape.c_in, size)
    params = (0.1 * _normal(SLOTS, sum(aligned(p.size) for p in shape.parameters()))).requires_grad_(True)
    out = shape.output(size)
    one = SLOTS * BATCH * shape.c_out * out * out
    macs = float(one * shape.c_in * shape.kernel**2)
    return Kernel(
        lambda: (conv_block(x, params, shape)[0], [x, params]), macs, (x.numel() + 3 * one, 2 * x.numel() + 3 * one)
    )


STRIDED = ConvBlock(64, 64, stride=2, padding="same", bias=True, relu=True, eps=1e-3)
KERNELS: dict[str, Callable[[], Kernel]] = {
    "node, 28x28": lambda: node(METANAS_PRIMITIVES, 28),
    "node, 14x14": lambda: node(METANAS_PRIMITIVES, 14),
    "node, 28x28 to 14x14": lambda: node(METANAS_PRIMITIVES, 28, True),
    "node, 84x84": lambda: node(METANAS_PRIMITIVES, 84),
    **{f"{name}, 28x28": lambda name=name: node((name,), 28) for name in METANAS_PRIMITIVES},
    "preprocess, 28x28": lambda: preparation(28, False),
    "preprocess, 28x28 to 14x14": lambda: preparation(28, True),
    "stem 1 to 84, 28x28": lambda: block(ConvBlock(1, 84), 28),
    "conv block 64 to 64, 14x14 to 7x7": lambda: block(STRIDED, 14),
}


def measure(name: str, mode: str, clock: Clock, sets: int = 2) -> dict[str, float]:
    """Percentiles in ms of the forward and of both passes, and the rates of each; backward is the difference."""
    with precision(mode), libraries(mode):
        made = [KERNELS[name]() for _ in range(sets)]
        incoming = torch.randn_like(made[0].forward()[0].detach())

        def both(kernel: Kernel) -> None:
            y, leaves = kernel.forward()
            torch.autograd.grad(y, leaves, incoming, allow_unused=True)

        calls = {
            "forward": rotated([graphed(lambda k=k: k.forward()) for k in made]),
            "both": rotated([graphed(lambda k=k: both(k)) for k in made]),
        }
    times = {name: points(found) for name, found in interleaved(calls, 9, clock).items()}
    kernel = made[0]
    forward = times["forward"]["p50_ms"]
    backward = max(times["both"]["p50_ms"] - forward, 1e-6)
    found = {"mode": mode, "forward_ms": forward, "backward_ms": backward, **times["both"]}
    for pass_, ms, work, floats in zip(
        ("forward", "backward"), (forward, backward), (2, 4), kernel.floats, strict=True
    ):
        found[f"{pass_}_tflops_per_s"] = work * kernel.macs / ms / 1e9
        found[f"{pass_}_gb_per_s"] = 4 * floats / ms / 1e6
    del made, calls, kernel
    release()
    return found
