"""Random nodes for the tests of `mixed_op`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from autometa.ops import PRIMITIVES, backend, mixed_op
from autometa.ops.mixed_op import EDGE, OFFSET, PRIMITIVE, STATE, STRIDE
from autometa.ops.primitives import BY_CODE, aligned
from tests.ops.arenas import instruction_set
from tests.ops.triton_device import DEVICE
from tests.tolerances import assert_agree

METANAS = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "conv_1x5_5x1",
    "conv_3x3",
    "sep_conv_3x3",
    "dil_conv_3x3",
)
ALL = tuple(PRIMITIVES)


@dataclass(frozen=True)
class Node:
    """Arguments of `mixed_op`; every instance reads state 0 where its stride is that of the node, else state 1."""

    states: list[Tensor]
    params: Tensor
    op_weight: Tensor
    input_weight: Tensor
    table: Tensor
    gy: Tensor
    affine: bool = False

    def run(self, **options) -> tuple[Tensor, Tensor | None]:
        return mixed_op(
            self.states,
            self.params,
            self.op_weight,
            self.input_weight,
            self.table,
            affine=self.affine,
            **options,
        )

    def gradients(self, **options) -> tuple[Tensor, ...]:
        """y, then gradients of `sum(y * gy)` for states, params, op and input weights."""
        leaves = [
            x.clone().requires_grad_(True) for x in (*self.states, self.params, self.op_weight, self.input_weight)
        ]
        count = len(self.states)
        node = replace(
            self,
            states=leaves[:count],
            params=leaves[count],
            op_weight=leaves[count + 1],
            input_weight=leaves[count + 2],
        )
        y, _ = node.run(**options)
        found = torch.autograd.grad(y, leaves, self.gy, allow_unused=True) if y.requires_grad else [None] * len(leaves)
        return (y.detach(), *(torch.zeros_like(x) if g is None else g for x, g in zip(leaves, found, strict=True)))

    def to(self, dtype: torch.dtype) -> Node:
        names = ("params", "op_weight", "input_weight", "gy")
        converted = {name: getattr(self, name).to(dtype) for name in names}
        return replace(self, states=[x.to(dtype) for x in self.states], **converted)

    def slot(self, s: int) -> Node:
        """The node of one slot alone."""
        return self.slots(slice(s, s + 1))

    def slots(self, chosen) -> Node:
        return replace(
            self,
            states=[x[chosen] for x in self.states],
            params=self.params[chosen],
            op_weight=self.op_weight[chosen],
            input_weight=self.input_weight[chosen],
            gy=self.gy[chosen],
        )


def parameter_slices(names: tuple[str, ...], channels: int, strides: list[int], affine: bool) -> list[slice]:
    """Columns of each instance's parameters."""
    found, offset = [], 0
    for name, stride in zip(names, strides, strict=True):
        width = sum(aligned(p.size) for p in PRIMITIVES[name].parameters(channels, stride, affine))
        found.append(slice(offset, offset + width))
        offset += width
    return found


def random_node(
    names: tuple[str, ...] = METANAS,
    *,
    slots: int = 3,
    batch: int = 2,
    channels: int = 4,
    size: tuple[int, int] = (6, 5),
    stride: int = 1,
    dtype: torch.dtype = torch.float64,
    affine: bool = False,
    seed: int = 0,
) -> Node:
    """Each primitive twice: on edge 0 from state 0 with `stride`, on edge 1 from state 1 with stride 1."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    out = tuple(-(-n // stride) for n in size)
    both = (*names, *names)
    strides = [stride] * len(names) + [1] * len(names)
    columns = parameter_slices(both, channels, strides, affine)
    rows = [
        [int(i >= len(names)), int(i >= len(names)), PRIMITIVES[name].code, strides[i], columns[i].start]
        for i, name in enumerate(both)
    ]
    return Node(
        states=[normal(slots, batch, channels, *size), normal(slots, batch, channels, *out)],
        params=0.5 * normal(slots, max(columns[-1].stop, 16)),
        op_weight=torch.softmax(normal(slots, 2, len(names)), dim=2).flatten(1),
        input_weight=0.5 + torch.rand(slots, 2, generator=generator, dtype=torch.float64).to(dtype),
        table=torch.tensor([rows]),
        gy=normal(slots, batch, channels, *out),
        affine=affine,
    )


def parameter_columns(node: Node) -> list[slice]:
    """Columns of every parameter of every row of every table."""
    channels, found = node.states[0].shape[2], []
    for _, _, code, stride, start in node.table.flatten(0, 1).tolist():
        for p in BY_CODE[code].parameters(channels, stride, node.affine) if code >= 0 else ():
            found.append(slice(start, start + p.size))
            start += aligned(p.size)
    return found


def assert_same(node: Node, found, expected) -> None:
    """y and all gradients within the table; columns between parameters get exactly 0."""
    states = len(node.states)
    assert [x.shape for x in found] == [x.shape for x in expected]
    assert_agree(found[0], expected[0], "node, y", torch.float32)
    gaps = torch.ones(node.params.shape[1], dtype=torch.bool)
    for own in parameter_columns(node):
        gaps[own] = False
        assert_agree(found[states + 1][:, own], expected[states + 1][:, own], "node, gradient", torch.float32)
    assert not found[states + 1][:, gaps].any()
    for a, b in zip([*found[1 : states + 1], *found[-2:]], [*expected[1 : states + 1], *expected[-2:]], strict=True):
        assert_agree(a, b, "node, gradient", torch.float32)


def assert_cpp_agrees(node: Node, **options) -> None:
    """Every instruction set against the reference in float64; the node is rounded to float32 first."""
    node = node.to(torch.float32)
    expected = node.to(torch.float64).gradients(backend="reference", **options)
    for name in backend.compiled().isa_names():
        with instruction_set(name):
            assert_same(node, node.gradients(backend="cpp", **options), expected)


def on_triton_device(node: Node) -> Node:
    """The node where Triton kernels run; tables stay."""
    names = ("params", "op_weight", "input_weight", "gy")
    return replace(
        node, states=[x.to(DEVICE) for x in node.states], **{name: getattr(node, name).to(DEVICE) for name in names}
    )


def triton_gradients(node: Node, **options) -> tuple[Tensor, ...]:
    """`gradients` of the Triton kernels, brought to the CPU."""
    options = {k: v.to(DEVICE) if isinstance(v, Tensor) else v for k, v in options.items()}
    return tuple(x.cpu() for x in on_triton_device(node).gradients(backend="triton", **options))


def assert_triton_agrees(node: Node, **options) -> None:
    """The Triton kernels against the reference in float64; the node is rounded to float32 first."""
    node = node.to(torch.float32)
    expected = node.to(torch.float64).gradients(backend="reference", **options)
    assert_same(node, triton_gradients(node, **options), expected)


def damping(node: Node) -> float:
    """An eps that keeps gradients well conditioned: those of normalisations over a handful of values, or of the one
    weight before a normalisation, vanish with eps."""
    _, batch, channels, height, width = node.gy.shape
    return 1.0 if channels == 1 else 1e-5 if batch * height * width >= 30 else 0.1


def strided(x: torch.Tensor) -> torch.Tensor:
    """The same values in every second column, NaN between them."""
    wide = torch.full((*x.shape[:-1], 2 * x.shape[-1]), torch.nan)
    wide[..., ::2] = x
    return wide[..., ::2]


def changed(node: Node, row: int, column: int, value: int) -> Node:
    table = node.table.clone()
    table[0, row, column] = value
    return replace(node, table=table)


# what the message names -> the node
BAD_TABLES = {
    "states 0..1 only": lambda n: changed(n, 1, STATE, 2),
    "must have an instance": lambda n: replace(n, table=torch.full_like(n.table, -1)),
    "instance 3: edge 2 is not in 0..1": lambda n: changed(n, 3, EDGE, 2),
    "instance 2: edge -1": lambda n: changed(n, 2, EDGE, -1),
    "instance 0: primitive 12 is not in 0..11": lambda n: changed(n, 0, PRIMITIVE, len(PRIMITIVES)),
    "instance 4: stride 3": lambda n: changed(n, 4, STRIDE, 3),
    "instance 0: stride 0": lambda n: changed(n, 0, STRIDE, 0),
    "different sizes": lambda n: changed(n, 0, STRIDE, 2),
    "parameters -16..": lambda n: changed(n, 3, OFFSET, -16),
    "lie outside the 127 of its block": lambda n: replace(n, params=n.params[:, :-1]),
    "outside": lambda n: changed(n, 3, OFFSET, 2**40),
}
