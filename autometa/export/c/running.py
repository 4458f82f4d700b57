"""A folded graph run in PyTorch, op by op: what its maps hold."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from autometa.export.c.graph import Affine, Conv, Map, Pool, Relu, Zero


def weight_of(step: Conv, constants: Mapping[str, Tensor]) -> Tensor:
    """As PyTorch wants it, `[out, in, height, width]`."""
    flat, (height, width) = constants[step.weight], step.kernel
    if step.depthwise:
        return flat.reshape(height, width, -1).permute(2, 0, 1)[:, None]
    return flat.reshape(step.outs, height, width, -1).permute(0, 3, 1, 2)


def convolved(step: Conv, x: Tensor, weight: Tensor) -> Tensor:
    """x `[n, C, H, W]` -> `[n, outs, H', W']`, without bias."""
    padding = []
    for n, out, kernel, first in zip(
        (x.shape[3], x.shape[2]),
        (step.result.width, step.result.height),
        reversed(step.kernel),
        reversed(step.padding),
        strict=True,
    ):
        padding += [first, (out - 1) * step.stride + (kernel - 1) * step.dilation + 1 - n - first]
    groups = x.shape[1] if step.depthwise else 1
    return F.conv2d(F.pad(x, padding), weight, None, step.stride, 0, step.dilation, groups)


def pooled(step: Pool, x: Tensor) -> Tensor:
    """x `[n, C, H, W]`; pixels outside do not count."""
    if step.kind == "max":
        return F.max_pool2d(F.pad(x, _sides(step, x), value=-torch.inf), step.kernel, step.stride)
    return window_means(step, x) / window_means(step, torch.ones_like(x))


def window_means(step: Pool, x: Tensor) -> Tensor:
    """Of each window, pixels outside being 0."""
    return F.avg_pool2d(F.pad(x, _sides(step, x)), step.kernel, step.stride)


def _sides(step: Pool, x: Tensor) -> list[int]:
    """Padding as PyTorch wants it."""
    sizes = zip((x.shape[3], x.shape[2]), (step.result.width, step.result.height), strict=True)
    after = [(out - 1) * step.stride + step.kernel - n - step.padding for n, out in sizes]
    return [step.padding, after[0], step.padding, after[1]]


def step_of(step, x: Tensor | None, constants: Mapping[str, Tensor]) -> Tensor:
    """What an instruction puts out or adds, before any ReLU."""
    if isinstance(step, Conv):
        y = convolved(step, x, weight_of(step, constants))
        return y if step.bias is None else y + constants[step.bias][:, None, None]
    if isinstance(step, Pool):
        return pooled(step, x)
    if isinstance(step, Affine):
        return x * constants[step.factor][:, None, None] + constants[step.shift][:, None, None]
    if isinstance(step, Relu):
        return torch.relu(x)
    return x * step.scale


def run(folded, pictures: Tensor) -> dict[Map, list[Tensor]]:
    """pictures `[n, C, H, W]` in 0 .. 1 -> of each map its values after every instruction that wrote it, the last ones
    at the end; those of a part of the channels alone are 0 elsewhere."""
    found: dict[Map, list[Tensor]] = {folded.graph.picture: [pictures]}
    for step in folded.graph.instructions:
        m = step.result
        before = found.setdefault(m, [])
        value = before[-1].clone() if before else pictures.new_zeros(len(pictures), m.channels, m.height, m.width)
        if not isinstance(step, Zero):
            y = step_of(step, found[step.source][-1], folded.constants)
            own = slice(getattr(step, "offset", 0), getattr(step, "offset", 0) + y.shape[1])
            value[:, own] = y + value[:, own] if getattr(step, "add", False) else y
            if getattr(step, "relu", False):
                value[:, own] = torch.relu(value[:, own])
        before.append(value)
    return found
