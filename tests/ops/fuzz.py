"""Random calls of every public op, to compare the reference in float64 with the compiled op on the same numbers."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autometa import ops
from autometa.ops.linear_head import head_parameters
from autometa.ops.preprocess import preprocess_parameters
from autometa.ops.primitives import aligned
from tests.ops.arenas import Arena, arena
from tests.ops.node_case import ALL, random_node

SIZES = (1, 1, 2, 3, 5, 7, 8, 9, 16, 17)
MAPS = (1, 1, 2, 3, 4, 5, 7, 9)
EPS = 0.1  # keeps gradients of normalisations over a handful of values well conditioned


@dataclass(frozen=True)
class Call:
    """run(tensors, backend) -> results, of leaves that get a gradient; integer and table arguments are inside it."""

    op: str
    leaves: Sequence[Tensor]
    run: Callable[[Sequence[Tensor], str], Sequence[Tensor | None]]

    def results(self, dtype: torch.dtype, backend: str) -> list[Tensor]:
        """Results and gradients of the leaves where there are any."""
        leaves = [_same_place(x, dtype) for x in self.leaves]
        found = [x for x in self.run(leaves, backend) if x is not None]
        if not any(x.requires_grad for x in leaves):
            return [*found, *(leaves if self.op.endswith("_") else ())]
        made = [x for x in found if x.requires_grad]  # none where there are no slots
        ways = [torch.linspace(-1, 1, x.numel(), dtype=torch.float64).to(dtype).view(x.shape) for x in made]
        grads = torch.autograd.grad(made, leaves, ways, allow_unused=True) if made else [None] * len(leaves)
        zeros = (torch.zeros_like(x) if g is None else g for x, g in zip(leaves, grads, strict=True))
        return [*(x.detach() for x in found), *zeros]


def _same_place(x: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy in this dtype with the strides of x, so that what is not contiguous stays so."""
    made = torch.empty_strided(x.shape, x.stride(), dtype=dtype).copy_(x) if x.numel() else x.to(dtype, copy=True)
    return made.requires_grad_(x.requires_grad)


class Draw:
    """Seeded random arguments; floats are exact in float32."""

    def __init__(self, seed: int) -> None:
        self.choice, self.tensors = random.Random(seed), torch.Generator().manual_seed(seed)

    def one(self, values: Sequence):
        return self.choice.choice(values)

    def flag(self) -> bool:
        return self.choice.random() < 0.5

    def numbers(self, *shape: int, grad: bool = True) -> Tensor:
        """Standard normal, at times not contiguous."""
        x = torch.randn(shape, generator=self.tensors).double()
        if x.dim() > 1 and self.choice.random() < 0.3:
            wide = torch.zeros(*shape[:-1], 2 * shape[-1], dtype=torch.float64)
            x = wide[..., ::2].copy_(x)
        elif x.dim() == 5 and self.choice.random() < 0.3:
            x = x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
        return x.requires_grad_(grad)

    def whole(self, limit: int, *shape: int) -> Tensor:
        return torch.randint(0, limit, shape, generator=self.tensors)

    def batch(self) -> tuple[int, int]:
        """Slots and images of each, at times none."""
        return self.one((0, 1, 1, 2, 3)), self.one((0, 1, 2, 3, 5, 5))

    def map(self) -> tuple[int, int]:
        return self.one(MAPS), self.one(MAPS)

    def statistics(self, *shape: int) -> Tensor:
        """Means and variances `[..., 2, C]`."""
        return (torch.rand(shape, generator=self.tensors) + 0.5).double()

    def arena(self) -> Arena:
        first, second, gap = self.one(SIZES), self.one((0, *SIZES)), self.one((0, 3, 16))
        groups = self.one((1, 2))
        slots = [self.choice.randrange(groups) for _ in range(self.one((0, 1, 2, 7)))]
        bounds = [[gap, gap + first, gap + first + second], [0, second, second]]
        return arena(2 * gap + first + second, bounds, slots, [self.choice.randrange(2) for _ in range(groups)])


def mixed_op(draw: Draw) -> Call:
    slots, batch = draw.batch()
    names = tuple(draw.choice.sample(ALL, draw.one((1, 2, 4))))
    channels, stride, affine = draw.one((2, 3, 8, 9, 17)), draw.one((1, 2)), draw.flag()
    node = random_node(
        names, slots=slots, batch=batch, channels=channels, size=draw.map(), stride=stride, affine=affine,
        dtype=torch.float32, seed=draw.whole(1000, 1).item(),
    ).to(torch.float64)  # fmt: skip
    count = len(node.states)
    op_weight = node.op_weight * (torch.rand(node.op_weight.shape, generator=draw.tensors) > 0.2)
    leaves = [draw.numbers(*x.shape) for x in node.states]
    leaves += [x.clone().requires_grad_() for x in (node.params, op_weight, node.input_weight)]
    given = draw.statistics(slots, op_weight.shape[1], 2, 2, channels) if draw.flag() else None

    def run(x, backend):
        own = None if given is None else given.to(x[0].dtype)
        return ops.mixed_op(
            x[:count], *x[count:], node.table, affine=affine, eps=EPS, given=own, want_statistics=True, backend=backend
        )

    return Call("mixed_op", leaves, run)


def preprocess(draw: Draw) -> Call:
    (slots, batch), (height, width) = draw.batch(), draw.map()
    channels, reduce, affine, depth = draw.one(SIZES[2:]), draw.flag(), draw.flag(), draw.one(SIZES)
    states = [draw.numbers(slots, batch, depth, height, width) for _ in range(draw.one((1, 2, 3)))]
    shapes = preprocess_parameters(depth * len(states), channels, reduce, affine)
    params = draw.numbers(slots, sum(aligned(p.size) for p in shapes) + draw.one((0, 5)))

    def run(x, backend):
        return ops.preprocess(
            x[:-1], x[-1], channels, reduce=reduce, affine=affine, eps=EPS, want_statistics=True, backend=backend
        )

    return Call("preprocess", [*states, params], run)


def _block(draw: Draw, c_in: int, norm: bool | None = None) -> ops.ConvBlock:
    return ops.ConvBlock(
        c_in, draw.one(SIZES), kernel=draw.one((1, 3, 3, 5)), stride=draw.one((1, 2)), eps=EPS,
        padding=draw.one(("half", "same")), bias=draw.flag(), norm=draw.flag() if norm is None else norm,
        relu=draw.flag(), pool=draw.flag(), pool_ceil=True,
    )  # fmt: skip


def conv_block(draw: Draw) -> Call:
    (slots, batch), block = draw.batch(), _block(draw, draw.one(SIZES))
    x = draw.numbers(slots, batch, block.c_in, *draw.map())
    given = draw.statistics(slots, 2, block.c_out) if block.norm and draw.flag() else None

    def run(x, backend):
        own = None if given is None else given.to(x[0].dtype)
        return ops.conv_block(*x, block, given=own, want_statistics=True, backend=backend)

    return Call("conv_block", [x, draw.numbers(slots, block.columns + draw.one((0, 5)))], run)


def conv_stack(draw: Draw) -> Call:
    (slots, batch), size, classes = draw.batch(), draw.map(), draw.one((1, 2, 5))
    blocks = [_block(draw, draw.one((1, 3)), True)]
    for _ in range(draw.one((0, 1, 2))):
        blocks.append(_block(draw, blocks[-1].c_out, True))
    out, flatten = list(size), draw.flag()
    for block in blocks:
        out = [block.output(n) for n in out]
    features = blocks[-1].c_out * (out[0] * out[1] if flatten else 1)
    columns = sum(block.columns for block in blocks)
    columns += sum(aligned(p.size) for p in head_parameters(features, classes))
    leaves = [draw.numbers(slots, batch, blocks[0].c_in, *size), draw.numbers(slots, columns)]

    def run(x, backend):
        return [ops.conv_stack(*x, blocks, classes, flatten=flatten, backend=backend)]

    return Call("conv_stack", leaves, run)


def linear_head(draw: Draw) -> Call:
    (slots, batch), classes, flatten = draw.batch(), draw.one((1, 2, 5, 63)), draw.flag()
    states = [draw.numbers(slots, batch, draw.one(SIZES), *draw.map()) for _ in range(draw.one((1, 2)))]
    features = sum(
        x[0, 0].numel() if flatten else x.shape[2] for x in (torch.empty(1, 1, *s.shape[2:]) for s in states)
    )
    params = draw.numbers(slots, sum(aligned(p.size) for p in head_parameters(features, classes)))
    return Call(
        "linear_head",
        [*states, params],
        lambda x, backend: [ops.linear_head(x[:-1], x[-1], classes, flatten=flatten, backend=backend)],
    )


def cross_entropy(draw: Draw) -> Call:
    (slots, batch), classes = draw.batch(), draw.one((1, 2, 5, 63))
    batch = max(batch, 1)
    labels = draw.whole(classes, slots, batch).to(draw.one((torch.int64, torch.int32, torch.uint8)))
    return Call(
        "cross_entropy",
        [draw.numbers(slots, batch, classes)],
        lambda x, backend: [ops.cross_entropy(*x, labels, backend=backend)],
    )


def arena_op(draw: Draw) -> Call:
    """One of those that change an arena."""
    own, op = draw.arena(), draw.one(("adam_", "sgd_", "reptile_", "clip_grad_", "finite_slots"))
    phi, grad, more = (own.random(draw.whole(1000, 1).item(), torch.float32).double() for _ in range(3))
    rate, limit = own.per_group(1, 0.01, 0.1), own.per_group(2, 0.5, 3.0)
    steps = draw.whole(9, own.slots, own.kinds)
    theta = torch.randn(own.groups, own.row, generator=draw.tensors).double()
    finite = torch.rand(own.slots, generator=draw.tensors) > 0.3

    def run(x, backend):
        name = {"backend": backend}
        if op == "adam_":
            count = steps.clone()
            ops.adam_(x[0], x[1], x[2], count, rate, rate, own.rows, **name)
            return [count]
        if op == "sgd_":
            return [ops.sgd_(x[0], x[1], rate, rate, own.rows, momentum=0.5, velocity=x[2], **name)]
        if op == "reptile_":
            return [ops.reptile_(x[0], x[1], rate, finite, own.rows, **name)]
        if op == "clip_grad_":
            return [ops.clip_grad_(x[0], limit, own.rows, **name)]
        return [ops.finite_slots(x[0], **name)]

    if draw.flag() and op == "finite_slots" and phi.numel():
        phi[-1, 0] = torch.nan
    leaves = {"adam_": [phi, grad, more.abs()], "sgd_": [phi, grad, more], "reptile_": [theta, phi]}
    return Call(op, leaves.get(op, [phi]), run)


def episode_op(draw: Draw) -> Call:
    """One of those that draw numbers, or pick images by them, equal to the last bit; or that reads ink, to a level."""
    tasks, kinds = draw.whole(2**62, draw.one((0, 1, 7))), ("drop", "batch", "sample", "gather", "augment", "read_ink")
    op, ways, each, size = draw.one(kinds), draw.one((1, 2, 5)), draw.one((0, 1, 3)), draw.one((1, 7, 9))
    starts, seed = torch.arange(0, 7 * 8, 8), draw.choice.randrange(2**32)
    images = draw.whole(256, 48, draw.one((1, 3)), size, size).to(torch.uint8)
    index, turns = draw.whole(48, 2, draw.one((0, 1, 7))), draw.whole(9, 1)
    exempt = torch.rand(draw.one((0, 1, 7)), generator=draw.tensors) > 0.5
    mode, channels = draw.one(("replacement", "passes")), images.shape[1]

    def run(x, backend):
        name = {"seed": seed, "backend": backend}
        if op == "drop":
            return [ops.drop_masks(tasks, exempt, keep=0.75, step=each, batch=ways, **name)]
        if op == "batch":
            return [ops.batch_indices(tasks, n_items=size, batch=ways, steps=each, mode=mode, first_step=2, **name)]
        if op == "sample":
            chosen = torch.arange(6)
            name |= {"group_start": torch.tensor([0, 2, 6])} if each % 2 else {}  # each turned, eight at least
            return ops.sample_tasks(starts, chosen, tasks, rotations=4, ways=ways, shots=each, queries=2, **name)
        if op == "augment":
            shown = (images[:6].float() / 255).view(2, 3, *images.shape[1:])[: len(tasks)]
            place = torch.arange(3 * len(shown)).view(len(shown), 3)
            how = ops.Augment(shift=0.1 * ways, rotation=20.0 * each, thickness=0.5, blur=0.5, noise=0.1, invert=0.5)
            return [ops.augment_images(shown.contiguous(), tasks[: len(shown)], place, how, **name)]
        if op == "read_ink":
            paper = 200 + images[:, 0] // 8  # of noise alone either side is as much ink as the other
            paper[:, each % size, size // 2] = 10
            return [ops.read_ink(paper, backend=backend)]
        scale = torch.full((channels,), 0.5)
        return [ops.gather_images(images, index, turns, scale, scale, backend=backend)]

    return Call(op, [], run)


MAKERS = (mixed_op, mixed_op, preprocess, conv_block, conv_stack, linear_head, cross_entropy, arena_op, episode_op)


def call_of(seed: int) -> Call:
    """The call of this number."""
    return MAKERS[seed % len(MAKERS)](Draw(seed))
