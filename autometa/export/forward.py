"""The forward pass of a plan in plain PyTorch: what torch traces into a graph, without any op of this package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from autometa.export.plan import Convolution, Node, Op, Plan, Preprocessing, State
from autometa.ops.conv_block import ConvBlock
from autometa.ops.primitives import PRIMITIVES, conv, factorised_reduction

Parameters = Mapping[str, Tensor]
"""Name of each entry of the layout -> its values, without the slot axis."""


class Norm(Protocol):
    """Normalises `x [N, C, H, W]` at the place of this name: `scale * (gamma * (x - mean) / sqrt(var + eps) + beta)`,
    gamma and beta being the parameters `NAMEbn_gamma` and `NAMEbn_beta` where there are such."""

    def __call__(self, name: str, x: Tensor, eps: float, scale: float | None = None) -> Tensor: ...


EPS = 1e-5
"""Of cells (DARTS)."""


def logits(plan: Plan, images: Tensor, parameters: Parameters, norm: Norm) -> Tensor:
    """images `[N, C, H, W]` in 0 .. 1 -> logits `[N, ways]`."""
    states = _States()
    for step in plan.steps:
        if isinstance(step, Convolution):
            x = images if step.source is None else states[step.source]
            states[step.result] = _conv_block(step.name, step.block, x, parameters, norm)
        elif isinstance(step, Preprocessing):
            states[step.result] = _preprocess(step, states, parameters, norm)
        else:
            states[step.result] = _node(step, states, parameters, norm)
    found = [states[state] for state in plan.head]
    features = [x.flatten(1) if plan.flatten else x.mean(dim=(2, 3)) for x in found]
    return F.linear(_joined(features), parameters["head.weight"], parameters["head.bias"])


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _conv_block(name: str, block: ConvBlock, x: Tensor, parameters: Parameters, norm: Norm) -> Tensor:
    top, bottom = block.pads(x.shape[2])
    left, right = block.pads(x.shape[3])
    padding = (top, left)
    if (top, left) != (bottom, right):
        x, padding = F.pad(x, (left, right, top, bottom)), (0, 0)
    bias = parameters[f"{name}.conv_bias"] if block.bias else None
    x = F.conv2d(x, parameters[f"{name}.conv_weight"], bias, block.stride, padding)
    if block.norm:
        x = norm(f"{name}.", x, block.eps)
    if block.pool:
        x = F.max_pool2d(x, 2, ceil_mode=block.pool_ceil)
    return torch.relu(x) if block.relu else x


class _States(dict[State, Tensor]):
    """Activations, and what ReLU makes of them, computed once."""

    def __init__(self) -> None:
        self._relu: dict[State, Tensor] = {}

    def relu(self, state: State) -> Tensor:
        if state not in self._relu:
            self._relu[state] = torch.relu(self[state])
        return self._relu[state]


def _preprocess(step: Preprocessing, states: _States, parameters: Parameters, norm: Norm) -> Tensor:
    x = _joined([states.relu(source) for source in step.sources])
    if step.reduce:
        halves = (parameters[f"{step.name}.pointwise_{half}"] for half in "ab")
        x = factorised_reduction(x, *halves, 1)
    else:
        x = conv(x, parameters[f"{step.name}.pointwise"], 1)
    return norm(f"{step.name}.", x, EPS)


def _node(step: Node, states: _States, parameters: Parameters, norm: Norm) -> Tensor:
    total = None
    for op in step.ops:
        y = _op(op, states, parameters, norm)
        total = y if total is None else total + y
    if total is None:
        return torch.zeros_like(states[step.like][:, :, :: step.stride, :: step.stride])
    return total


def _op(op: Op, states: _States, parameters: Parameters, norm: Norm) -> Tensor:
    primitive, x = PRIMITIVES[op.primitive], states[op.source]
    stages = primitive.convolutions(x.shape[1], op.stride)
    if not stages:
        return x if op.scale is None else x * op.scale
    for i, weights in enumerate(stages):
        own = [parameters[f"{op.name}.{shape.role}"] for shape in weights]
        relu_x = None
        if weights:
            relu_x = torch.relu(x) if i else states.relu(op.source)
        z = primitive.run(x, relu_x, own, 1, 1 if i else op.stride)
        x = norm(op.norms[i], z, EPS, op.scale if i == len(stages) - 1 else None)
    return x
