"""What a forward pass of a plan does, on maps `[height, width, channels]`, one instruction for each op of the C code.

Shapes and parameters come from the package's own definitions: `ConvBlock`, `PRIMITIVES`, `preprocess_parameters`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from autometa.errors import InputError
from autometa.export.forward import EPS
from autometa.export.plan import Convolution, Node, Op, Plan, Preprocessing, State
from autometa.ops.conv_block import ConvBlock
from autometa.ops.primitives import OP_CODES, PRIMITIVES

CODES = {code.name: code for code in OP_CODES}


@dataclass(frozen=True)
class Map:
    """An activation of one picture; its values stand in the order height, width, channel."""

    name: str
    height: int
    width: int
    channels: int

    @property
    def size(self) -> int:
        return self.height * self.width * self.channels

    def __str__(self) -> str:
        return f"{self.height} x {self.width} x {self.channels}"


@dataclass(frozen=True)
class Piece:
    """Values of a parameter as the device wants them: of some input channels, or whole.

    order: `convolution` `[out, height, width, in]`, `depthwise` `[height, width, channel]`, or `plain`.
    """

    entry: str
    order: str
    first: int = 0
    stop: int | None = None

    def of(self, values: Mapping[str, Tensor]) -> Tensor:
        """One axis."""
        value = values[self.entry]
        if self.order == "convolution":
            value = value[:, self.first : self.stop].permute(0, 2, 3, 1)
        elif self.order == "depthwise":
            value = value[:, 0].permute(1, 2, 0)
        return value.flatten()


@dataclass(frozen=True)
class Conv:
    """A convolution to channels `offset .. offset + outs` of its result; `add`: onto what is there. Negative padding
    begins further in."""

    source: Map
    result: Map
    weight: str
    outs: int
    bias: str | None = None
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: tuple[int, int] = (0, 0)
    dilation: int = 1
    depthwise: bool = False
    offset: int = 0
    add: bool = False
    relu: bool = False

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one picture."""
        inputs = 1 if self.depthwise else self.source.channels
        return self.result.height * self.result.width * self.outs * inputs * self.kernel[0] * self.kernel[1]


@dataclass(frozen=True)
class Norm:
    """scale * (gamma * (x - mean) / sqrt(variance + eps) + beta); name: as in `Plan.places`."""

    source: Map
    result: Map
    name: str
    eps: float
    scale: float = 1.0
    add: bool = False


@dataclass(frozen=True)
class Affine:
    """factor * x + shift, per channel."""

    source: Map
    result: Map
    factor: str
    shift: str
    add: bool = False


@dataclass(frozen=True)
class Pool:
    """kind: `max` or `average`, of what lies in the map alone."""

    source: Map
    result: Map
    kind: str
    kernel: int
    stride: int
    padding: int


@dataclass(frozen=True)
class Relu:
    source: Map
    result: Map


@dataclass(frozen=True)
class Scaled:
    """scale * x."""

    source: Map
    result: Map
    scale: float = 1.0
    add: bool = False


@dataclass(frozen=True)
class Zero:
    result: Map


Instruction = Conv | Norm | Affine | Pool | Relu | Scaled | Zero


@dataclass(frozen=True)
class Graph:
    """From a picture to features: all values of the `outputs` one after another, or the means of their channels.

    pieces: by their name in C, what stands in memory of the parameters. ends: behind which instructions an op ends.
    """

    picture: Map
    instructions: tuple[Instruction, ...]
    outputs: tuple[Map, ...]
    flatten: bool
    pieces: Mapping[str, Piece] = field(default_factory=dict)
    ends: tuple[int, ...] = ()

    @property
    def spans(self) -> list[tuple[Instruction, ...]]:
        """The instructions of each op; the last one of an op writes, or adds to, what others read."""
        return [self.instructions[a:b] for a, b in zip((0, *self.ends), self.ends, strict=False)]

    @property
    def features(self) -> int:
        return sum(m.size if self.flatten else m.channels for m in self.outputs)

    @property
    def macs(self) -> int:
        return sum(step.macs for step in self.instructions if isinstance(step, Conv))

    def maps(self) -> list[Map]:
        """All, in the order in which they are made."""
        return list(dict.fromkeys([self.picture, *(step.result for step in self.instructions)]))

    def norms(self) -> list[Norm]:
        return [step for step in self.instructions if isinstance(step, Norm)]

    def head(self, weight: Tensor) -> Tensor:
        """Weights of a last layer `[n, features]` for features in the order of the device."""
        if not self.flatten:
            return weight
        (last,) = self.outputs
        parted = weight.reshape(-1, last.channels, last.height, last.width)
        return parted.permute(0, 2, 3, 1).reshape(len(weight), -1)


def identifier(name: str) -> str:
    """A name of the package as one in C."""
    return name.strip("._").replace(".", "_")


def graph_of(plan: Plan, image_shape: tuple[int, int, int], values: Mapping[str, Tensor], shared: bool = True) -> Graph:
    """values: of the parameters by name, for their shapes; shared: a state's ReLU is computed once for all that read
    it, else by each op for itself.

    Raises `InputError` for a primitive that is not autometa's own.
    """
    return _Builder(plan, image_shape, values, shared).graph()


class _Builder:
    def __init__(
        self, plan: Plan, image_shape: tuple[int, int, int], values: Mapping[str, Tensor], shared: bool
    ) -> None:
        channels, height, width = image_shape
        self.plan, self.values, self.shared = plan, values, shared
        self.ends: list[int] = []
        self.picture = Map("picture", height, width, channels)
        self.done: list[Instruction] = []
        self.pieces: dict[str, Piece] = {}
        self.states: dict[State, Map] = {}
        self.rectified: dict[State, Map] = {}

    def graph(self) -> Graph:
        for step in self.plan.steps:
            if isinstance(step, Convolution):
                source = self.picture if step.source is None else self.states[step.source]
                self.states[step.result] = self._block(step.name, step.block, source)
            elif isinstance(step, Preprocessing):
                self.states[step.result] = self._preprocessing(step)
            else:
                self.states[step.result] = self._node(step)
            if not self.ends or self.ends[-1] != len(self.done):
                self.ends.append(len(self.done))
        outputs = tuple(self.states[state] for state in self.plan.head)
        return Graph(self.picture, tuple(self.done), outputs, self.plan.flatten, self.pieces, tuple(self.ends))

    def _piece(self, entry: str, order: str, first: int = 0, stop: int | None = None) -> str:
        name = identifier(entry) + (f"_from{first}" if first else "")
        self.pieces[name] = Piece(entry, order, first, stop)
        return name

    def _relu(self, state: State) -> Map:
        if state not in self.rectified or not self.shared:
            source = self.states[state]
            number = "" if self.shared else len(self.done)
            self.rectified[state] = replace(source, name=f"{source.name}_relu{number}")
            self.done.append(Relu(source, self.rectified[state]))
        return self.rectified[state]

    def _block(self, name: str, block: ConvBlock, x: Map) -> Map:
        pads = block.pads(x.height), block.pads(x.width)
        sides = [
            (n + sum(pad) - block.kernel) // block.stride + 1 for n, pad in zip((x.height, x.width), pads, strict=True)
        ]
        base = identifier(name)
        y = Map(f"{base}_convolved" if block.norm else f"{base}_sum", *sides, block.c_out)
        bias = self._piece(f"{name}.conv_bias", "plain") if block.bias else None
        weight = self._piece(f"{name}.conv_weight", "convolution")
        how = dict(kernel=(block.kernel,) * 2, stride=block.stride, padding=(pads[0][0], pads[1][0]))
        self.done.append(Conv(x, y, weight, block.c_out, bias, **how))
        if block.norm:
            z = replace(y, name=base if not block.relu else f"{base}_normal")
            self.done.append(Norm(y, z, f"{name}.", block.eps))
            y = z
        if block.relu:  # before the pool, which changes nothing
            z = replace(y, name=f"{base}_relu" if block.pool else base)
            self.done.append(Relu(y, z))
            y = z
        if block.pool:
            height, width = (-(-n // 2) if block.pool_ceil else n // 2 for n in sides)
            z = Map(f"{base}_pooled", height, width, block.c_out)
            self.done.append(Pool(y, z, "max", 2, 2, 0))
            y = z
        return y

    def _reduction(self, x: Map, entries: list[str], widths: list[int], y: Map, first: int, stop: int, add: bool):
        """Both halves of a factorised reduction, of some input channels of their weights."""
        offset = 0
        for i, (entry, width) in enumerate(zip(entries, widths, strict=True)):
            shift = [-(1 - n % 2) if i else 0 for n in (x.height, x.width)]
            weight = self._piece(entry, "convolution", first, stop)
            self.done.append(Conv(x, y, weight, width, stride=2, padding=(shift[0], shift[1]), offset=offset, add=add))
            offset += width

    def _preprocessing(self, step: Preprocessing) -> Map:
        sources = [self._relu(source) for source in step.sources]
        roles = ["pointwise_a", "pointwise_b"] if step.reduce else ["pointwise"]
        entries = [f"{step.name}.{role}" for role in roles]
        widths = [len(self.values[entry]) for entry in entries]
        stride = 2 if step.reduce else 1
        base = identifier(step.name)
        y = Map(f"{base}_sum", -(-sources[0].height // stride), -(-sources[0].width // stride), sum(widths))
        first = 0
        for x in sources:
            stop = first + x.channels
            if step.reduce:
                self._reduction(x, entries, widths, y, first, stop, first > 0)
            else:
                weight = self._piece(entries[0], "convolution", first, stop)
                self.done.append(Conv(x, y, weight, y.channels, add=first > 0))
            first = stop
        z = replace(y, name=base)
        self.done.append(Norm(y, z, f"{step.name}.", EPS))
        return z

    def _node(self, step: Node) -> Map:
        like = self.states[step.like]
        sides = (-(-n // step.stride) for n in (like.height, like.width))
        y = Map(f"cell{step.result[0]}_state{step.result[1]}", *sides, like.channels)
        if not step.ops:
            self.done.append(Zero(y))
        for i, op in enumerate(step.ops):
            self._op(op, y, i > 0)
            self.ends.append(len(self.done))
        return y

    def _op(self, op: Op, y: Map, add: bool) -> None:
        if op.primitive not in CODES:
            raise InputError(f"{op.primitive} is a primitive of your own, which has no form in C; train without it")
        code, x = CODES[op.primitive], self.states[op.source]
        stages = PRIMITIVES[op.primitive].convolutions(x.channels, op.stride)
        scale = 1.0 if op.scale is None else op.scale
        if not stages:
            self.done.append(Scaled(x, y, scale, add))
            return
        base = identifier(op.name)
        for i, weights in enumerate(stages):
            entries, stride = [f"{op.name}.{shape.role}" for shape in weights], 1 if i else op.stride
            z = replace(y, name=f"{base}_sum{i}")
            if code.kind in ("maximum", "average"):
                self.done.append(Pool(x, z, "max" if code.kind == "maximum" else "average", 3, stride, 1))
            elif code.kind == "identity":
                widths = [shape.shape[0] for shape in weights]
                self._reduction(self._relu(op.source), entries, widths, z, 0, x.channels, False)
            else:
                if i:
                    rectified = replace(x, name=f"{x.name}_relu")
                    self.done.append(Relu(x, rectified))
                else:
                    rectified = self._relu(op.source)
                self._convolutions(code, rectified, entries, [w.shape for w in weights], stride, z, f"{base}_mid{i}")
            last = i == len(stages) - 1
            x = y if last else replace(y, name=f"{base}_stage{i}")
            self.done.append(Norm(z, x, op.norms[i], EPS, scale if last else 1.0, add and last))

    def _convolutions(self, code, x: Map, entries, shapes, stride: int, z: Map, middle: str) -> None:
        """Of one stage, one after another."""
        for j, (entry, shape) in enumerate(zip(entries, shapes, strict=True)):
            result = z if j == len(entries) - 1 else replace(z, name=middle)
            depthwise = code.kind == "separable" and j == 0
            dilation = code.dilation if depthwise else 1
            kernel = (shape[2], shape[3])
            weight = self._piece(entry, "depthwise" if depthwise else "convolution")
            self.done.append(
                Conv(
                    x,
                    result,
                    weight,
                    shape[0],
                    kernel=kernel,
                    stride=1 if j else stride,
                    padding=(dilation * (kernel[0] - 1) // 2, dilation * (kernel[1] - 1) // 2),
                    dilation=dilation,
                    depthwise=depthwise,
                )
            )
            x = result


def ordered(features: Tensor, graph: Graph) -> Tensor:
    """Features `[n, F]` of the package in the order of the device."""
    return graph.head(features) if graph.flatten else features.to(torch.float32)
