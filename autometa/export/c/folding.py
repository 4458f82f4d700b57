"""Normalisation by statistics that are known beforehand, multiplied into the weights before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from autometa.export.c.graph import Affine, Conv, Graph, Instruction, Map, Norm, Relu, identifier
from autometa.export.plan import Plan
from autometa.meta.bn_modes import Statistics


@dataclass(frozen=True)
class Folded:
    """A graph without normalisations; constants: by their name in C, float32, as the device reads them."""

    graph: Graph
    constants: Mapping[str, Tensor]


def fold(graph: Graph, plan: Plan, values: Mapping[str, Tensor], statistics: Statistics) -> Folded:
    """values: parameters by name; statistics: of every normalisation of the network."""
    constants = {name: piece.of(values).double() for name, piece in graph.pieces.items()}
    done = list(graph.instructions)
    for norm in graph.norms():
        factor, shift = _line(norm, plan, values, statistics)
        at = done.index(norm)
        makers = [i for i, step in enumerate(done[:at]) if step.result == norm.source]
        if all(isinstance(done[i], Conv) and not done[i].depthwise for i in makers):
            for i in makers:
                done[i] = _into(done[i], norm, factor, shift, constants)
            del done[at]
        else:
            names = [f"{identifier(norm.name)}_{part}" for part in ("factor", "shift")]
            constants |= dict(zip(names, (factor, shift), strict=True))
            done[at] = Affine(norm.source, norm.result, *names, norm.add)
    graph = replace(graph, instructions=tuple(_rectified(done, graph.outputs)))
    return Folded(graph, {name: value.to(torch.float32) for name, value in constants.items()})


def statistics_of(norm: Norm, plan: Plan, statistics: Statistics) -> Tensor:
    """Mean and variance `[2, C]`."""
    number, *of_op = plan.places[norm.name]
    found = statistics[number]
    assert found is not None, "recorded of every op that normalises"
    return found.detach().cpu()[0][tuple(of_op)]


def _line(norm: Norm, plan: Plan, values: Mapping[str, Tensor], statistics: Statistics) -> tuple[Tensor, Tensor]:
    """Factor and shift, float64."""
    mean, variance = statistics_of(norm, plan, statistics).double()
    factor = norm.scale / (variance + norm.eps).sqrt() * values.get(f"{norm.name}bn_gamma", torch.ones(())).double()
    beta = values.get(f"{norm.name}bn_beta", torch.zeros(())).double()
    return factor, norm.scale * beta - mean * factor


def _into(step: Conv, norm: Norm, factor: Tensor, shift: Tensor, constants: dict[str, Tensor]) -> Conv:
    """The convolution with the normalisation inside."""
    own = slice(step.offset, step.offset + step.outs)
    constants[step.weight] = (constants[step.weight].reshape(step.outs, -1) * factor[own, None]).flatten()
    bias = step.bias
    if not step.add:
        given = constants[bias] * factor[own] if bias else 0
        bias = bias or f"{step.weight}_bias"
        constants[bias] = shift[own] + given
    return replace(step, result=norm.result, bias=bias, add=step.add or norm.add)


def _rectified(done: list[Instruction], outputs: tuple[Map, ...]) -> list[Instruction]:
    """With every ReLU that alone reads what a convolution writes last inside that convolution."""
    for step in [step for step in done if isinstance(step, Relu)]:
        readers = [other for other in done if getattr(other, "source", None) == step.source]
        makers = [i for i, other in enumerate(done) if other.result == step.source]
        last: dict[int, int] = {}  # of each range of channels, by its first
        for i in makers:
            if getattr(done[i], "outs", step.source.channels) == step.source.channels:
                last.clear()
            last[getattr(done[i], "offset", 0)] = i
        if len(readers) > 1 or step.source in outputs or not all(isinstance(done[i], Conv) for i in last.values()):
            continue
        for i in makers:
            done[i] = replace(done[i], result=step.result)
        for i in last.values():
            done[i] = replace(done[i], relu=True)
        done.remove(step)
    return done
