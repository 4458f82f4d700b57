"""The vocabulary of primitives: parameters and arithmetic of each, and `register` for one more.

Sources: MetaNAS (Elsken et al. 2020, section 4 and its released search space), DARTS (Liu et al. 2019), and for
`full_conv_3x3` Auto-Meta (Kim et al. 2018).  `conv_3x3` is MetaNAS's depthwise-separable convolution.
Every primitive maps C channels to C channels and height n to ceil(n / stride).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from autometa.errors import InputError
from autometa.kernels.op_codes import OP_CODES, OpCode
from autometa.ops import gates
from autometa.ops._native import watched
from autometa.ops._try_primitive import try_primitive
from autometa.ops.folding import cat_channels, fold, unfold

ALIGNMENT = 16


@dataclass(frozen=True)
class Shape:
    """A parameter of a primitive: its role and its shape without the slot axis."""

    role: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Primitive:
    """One operation of the search space; `code` is its number in op-instance tables.

    `convolutions(C, stride)` lists the weights of each normalised stage; `run` evaluates one stage before its
    batch normalisation: `(x, relu_x, weights, slots, stride) -> [N, S*C, H', W']`, all folded.
    `stages(stride)` is the number of batch normalisations.
    """

    name: str
    code: int
    convolutions: Callable[[int, int], tuple[tuple[Shape, ...], ...]]
    run: Callable[..., Tensor]
    macs: Callable[[int, int, int, int], int]

    def stages(self, stride: int) -> int:
        return len(self.convolutions(1, stride))

    def parameters(self, channels: int, stride: int, affine: bool) -> tuple[Shape, ...]:
        """All parameters in order; with `affine`, each stage ends with its gamma and beta."""
        found = []
        stages = self.convolutions(channels, stride)
        for i, weights in enumerate(stages):
            found.extend(weights)
            if affine:
                prefix = f"stage{i}_" if len(stages) > 1 else ""
                found += [Shape(f"{prefix}bn_gamma", (channels,)), Shape(f"{prefix}bn_beta", (channels,))]
        return tuple(found)


def aligned(size: int) -> int:
    """`size` rounded up to the alignment of the arena (16 elements)."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def read_parameters(params: Tensor, shapes: Sequence[Shape]) -> list[Tensor]:
    """Views `[S, ...]` of parameters that stand one after another, each at a multiple of 16.

    One `torch.split`, whose backward is one concatenation, where slices would each fill a whole block.
    """
    widths = []
    for p in shapes:
        widths += [p.size, aligned(p.size) - p.size]
    parts = torch.split(params, [*widths, params.shape[1] - sum(widths)], dim=1)
    return [part.reshape(-1, *p.shape) for part, p in zip(parts[::2], shapes, strict=False)]


def conv(x: Tensor, weight: Tensor, slots: int, stride: int = 1, padding=0, dilation: int = 1) -> Tensor:
    """Cross-correlation per slot: `x [N, S*Cin, H, W]`, `weight [S, Cout, Cin / groups, kh, kw]`; a single slot's
    weight may lack its first axis."""
    per_slot = x.shape[1] // slots
    groups = slots * (per_slot // weight.shape[-3])
    weight = weight if weight.dim() == 4 else weight.flatten(0, 1)
    if weight.device.type == "cpu" and not watched() and not bool(weight.isfinite().all()):
        return _with_written_padding(x, weight, stride, padding, dilation, groups)
    return F.conv2d(x, weight, None, stride, padding, dilation, groups)


def _with_written_padding(x: Tensor, weight: Tensor, stride: int, padding, dilation: int, groups: int) -> Tensor:
    """The same with zeros written around x, wherever a tap reaches while another is on x, both in the sum and in its
    gradient: 0 times a weight that is not finite is NaN in the compiled kernels, and torch leaves these products out.
    """
    paddings = (padding, padding) if isinstance(padding, int) else padding
    around, inner = [], []
    for size, taps, margin in zip(x.shape[2:], weight.shape[2:], paddings, strict=True):
        reach = dilation * (taps - 1)
        before = stride * -(-max(reach - margin, 0) // stride)  # whole strides, so that the outputs stand as they did
        around = [margin + before, max(reach, margin), *around]
        inner.append((before // stride, (size + 2 * margin - reach - 1) // stride + 1))
    y = F.conv2d(F.pad(x, around), weight, None, stride, 0, dilation, groups)
    (top, height), (left, width) = inner
    return y[:, :, top : top + height, left : left + width]


def factorised_reduction(relu_x: Tensor, a: Tensor, b: Tensor, slots: int) -> Tensor:
    """Half resolution by two strided 1x1 convolutions, the second on the input shifted by one along
    each axis of even length; their outputs interleave per slot: `[N, S*Cout, H', W']`, not yet normalised."""
    height, width = relu_x.shape[-2:]
    shifted = relu_x[:, :, 1 - height % 2 :, 1 - width % 2 :]
    first = conv(_every_second(relu_x), a, slots)
    second = conv(_every_second(shifted), b, slots)
    if slots == 1:
        return torch.cat([first, second], dim=1)
    return fold(cat_channels([unfold(first, slots), unfold(second, slots)]))


def _every_second(x: Tensor) -> Tensor:
    """Rows and columns 0, 2, 4, ..: what a 1x1 convolution of stride 2 reads.  (The backward of a strided 1x1
    convolution, channels-last with few channels, crashes in oneDNN 3.12 with more than one thread.)"""
    return x[:, :, ::2, ::2].contiguous(memory_format=torch.channels_last)


def _separable(kernel: int, dilation: int, stage_names: bool):
    padding = dilation * (kernel - 1) // 2

    def stage(channels: int, prefix: str) -> tuple[Shape, ...]:
        return (
            Shape(f"{prefix}depthwise", (channels, 1, kernel, kernel)),
            Shape(f"{prefix}pointwise", (channels, channels, 1, 1)),
        )

    def convolutions(channels: int, stride: int):
        if stage_names:
            return (stage(channels, "stage0_"), stage(channels, "stage1_"))
        return (stage(channels, ""),)

    def run(x, relu_x, weights, slots, stride):
        y = conv(relu_x, weights[0], slots, stride, padding, dilation)
        return conv(y, weights[1], slots)

    def macs(channels: int, height: int, width: int, stride: int) -> int:
        stages = 2 if stage_names else 1
        return stages * height * width * (channels * kernel * kernel + channels * channels)

    return convolutions, run, macs


def _pair(kernel: int):
    padding = kernel // 2

    def convolutions(channels: int, stride: int):
        wide = Shape("conv_1xk", (channels, channels, 1, kernel))
        return ((wide, Shape("conv_kx1", (channels, channels, kernel, 1))),)

    def run(x, relu_x, weights, slots, stride):
        y = conv(relu_x, weights[0], slots, stride, (0, padding))
        return conv(y, weights[1], slots, 1, (padding, 0))

    def macs(channels: int, height: int, width: int, stride: int) -> int:
        return 2 * height * width * channels * channels * kernel

    return convolutions, run, macs


def _full_conv(kernel: int):
    def convolutions(channels: int, stride: int):
        return ((Shape("weight", (channels, channels, kernel, kernel)),),)

    def run(x, relu_x, weights, slots, stride):
        return conv(relu_x, weights[0], slots, stride, kernel // 2)

    def macs(channels: int, height: int, width: int, stride: int) -> int:
        return kernel * kernel * height * width * channels * channels

    return convolutions, run, macs


def _pool(pool: Callable[[Tensor, int, int], Tensor]):
    def convolutions(channels: int, stride: int):
        return ((),)

    def run(x, relu_x, weights, slots, stride):
        return pool(x, slots, stride)

    return convolutions, run, lambda channels, height, width, stride: 0


def _skip():
    def convolutions(channels: int, stride: int):
        if stride == 1:
            return ()
        sizes = {"pointwise_a": channels // 2, "pointwise_b": channels - channels // 2}
        return (tuple(Shape(role, (size, channels, 1, 1)) for role, size in sizes.items()),)

    def run(x, relu_x, weights, slots, stride):
        return factorised_reduction(relu_x, weights[0], weights[1], slots)

    def macs(channels: int, height: int, width: int, stride: int) -> int:
        return 0 if stride == 1 else height * width * channels * channels

    return convolutions, run, macs


def _none():
    return (lambda channels, stride: ()), None, (lambda channels, height, width, stride: 0)


def _max_pool(x: Tensor, slots: int, stride: int) -> Tensor:
    return gates.max_pool(x, slots, 3, stride, 1)


def _avg_pool(x: Tensor, slots: int, stride: int) -> Tensor:
    return F.avg_pool2d(x, 3, stride, 1, count_include_pad=False)


_BY_KIND: dict[str, Callable[[OpCode], tuple]] = {
    "none": lambda op: _none(),
    "identity": lambda op: _skip(),
    "maximum": lambda op: _pool(_max_pool),
    "average": lambda op: _pool(_avg_pool),
    "separable": lambda op: _separable(op.kernel, op.dilation, op.stages == 2),
    "pair": lambda op: _pair(op.kernel),
    "full": lambda op: _full_conv(op.kernel),
}

PRIMITIVES: dict[str, Primitive] = {
    op.name: Primitive(op.name, code, *_BY_KIND[op.kind](op)) for code, op in enumerate(OP_CODES)
}
BY_CODE: list[Primitive] = list(PRIMITIVES.values())
BUILT_IN = len(BY_CODE)
"""Codes from here on are registered primitives, which no kernel knows."""


def register(
    name: str,
    convolutions: Callable[[int, int], tuple[tuple[Shape, ...], ...]],
    run: Callable[..., Tensor],
    macs: Callable[[int, int, int, int], int],
    *,
    replace: bool = False,
) -> Primitive:
    """Add a primitive of your own to the vocabulary; it runs in plain PyTorch beside the kernels of the others.

    Args:
        name: what genotypes and `--primitives` call it.
        convolutions: (channels, stride) -> the weights of each normalised stage, one or two stages of as many weights.
        run: (x, relu_x, weights, slots, stride) -> one stage before its batch normalisation; x `[N, slots * C, H, W]`,
            its ReLU (None where the stage has no weights), weights `[slots, *shape]` in their order, `conv` works on
            all slots at once; returns `[N, slots * C, ceil(H / stride), ceil(W / stride)]`. The second stage gets
            what the first became, and stride 1.
        macs: (channels, height, width of the output, stride) -> multiply-accumulates of one image.
        replace: take the place of a registered primitive of that name, as when a notebook's cell runs again.

    Raises:
        InputError: a name that is taken, or functions that do not keep to this; tried on small inputs.
    """
    known = PRIMITIVES.get(name)
    if not name.isidentifier():
        raise InputError(f"a primitive's name is letters, digits and underscores, not {name!r}")
    if known is not None and known.code < BUILT_IN:
        raise InputError(f"{name} is a primitive of autometa; give yours another name")
    if known is not None and not replace:
        raise InputError(f"a primitive {name} is registered already; choose another name, or pass replace=True")
    made = Primitive(name, len(BY_CODE) if known is None else known.code, convolutions, run, macs)
    try_primitive(made)
    PRIMITIVES[name] = made
    BY_CODE[made.code :] = [made, *BY_CODE[made.code + 1 :]]
    return made


def registered() -> tuple[str, ...]:
    """Names of the primitives that are not autometa's own."""
    return tuple(primitive.name for primitive in BY_CODE[BUILT_IN:])


def primitive_named(name: str) -> Primitive:
    """The primitive of that name. Raises `InputError` where there is none."""
    if name not in PRIMITIVES:
        known = ", ".join(PRIMITIVES)
        raise InputError(f"there is no primitive {name!r} (known: {known}); load the file that registers it: --plugin")
    return PRIMITIVES[name]
