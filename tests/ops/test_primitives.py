"""The vocabulary: parameters, sizes, counts, and each primitive against its formula written out per slot."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from autometa.ops import PRIMITIVES
from autometa.ops.folding import cat_channels, fold, unfold
from autometa.ops.primitives import BY_CODE, Shape, aligned, read_parameters
from tests.ops.node_case import ALL, parameter_slices, random_node
from tests.tolerances import assert_agree

STRIDES = pytest.mark.parametrize("stride", [1, 2])


def normalised(x):
    mean = x.mean(dim=(0, 2, 3), keepdim=True)
    variance = ((x - mean) ** 2).mean(dim=(0, 2, 3), keepdim=True)
    return (x - mean) / torch.sqrt(variance + 1e-5)


def separable(x, w, kernel, dilation, stride):
    padding = dilation * (kernel - 1) // 2
    y = F.conv2d(torch.relu(x), w[0], None, stride, padding, dilation, groups=x.shape[1])
    return normalised(F.conv2d(y, w[1]))


def pair(x, w, kernel, stride):
    y = F.conv2d(torch.relu(x), w[0], None, stride, (0, kernel // 2))
    return normalised(F.conv2d(y, w[1], None, 1, (kernel // 2, 0)))


def skip(x, w, stride):
    if stride == 1:
        return x
    r = torch.relu(x)
    shifted = r[:, :, (r.shape[2] + 1) % 2 :, (r.shape[3] + 1) % 2 :]
    return normalised(torch.cat([F.conv2d(r, w[0], None, 2), F.conv2d(shifted, w[1], None, 2)], dim=1))


FORMULAS = {
    "none": lambda x, w, s: torch.zeros_like(x[:, :, ::s, ::s]),
    "skip_connect": skip,
    "max_pool_3x3": lambda x, w, s: normalised(F.max_pool2d(F.pad(x, (1, 1, 1, 1), value=-torch.inf), 3, s)),
    "avg_pool_3x3": lambda x, w, s: normalised(F.avg_pool2d(x, 3, s, 1) / F.avg_pool2d(torch.ones_like(x), 3, s, 1)),
    "conv_3x3": lambda x, w, s: separable(x, w, 3, 1, s),
    "dil_conv_3x3": lambda x, w, s: separable(x, w, 3, 2, s),
    "dil_conv_5x5": lambda x, w, s: separable(x, w, 5, 2, s),
    "sep_conv_3x3": lambda x, w, s: separable(separable(x, w[:2], 3, 1, s), w[2:], 3, 1, 1),
    "sep_conv_5x5": lambda x, w, s: separable(separable(x, w[:2], 5, 1, s), w[2:], 5, 1, 1),
    "conv_1x5_5x1": lambda x, w, s: pair(x, w, 5, s),
    "conv_7x1_1x7": lambda x, w, s: pair(x, w, 7, s),
    "full_conv_3x3": lambda x, w, s: normalised(F.conv2d(torch.relu(x), w[0], None, s, 1)),
}


def test_every_primitive_has_a_formula():
    assert tuple(FORMULAS) == ALL and len(ALL) == 12


@STRIDES
@pytest.mark.parametrize("size", [(6, 6), (7, 5)])
@pytest.mark.parametrize("name", ALL)
def test_formula(name, size, stride):
    node = random_node((name,), slots=2, batch=3, size=size, stride=stride)
    one = torch.ones(2, 1, dtype=torch.float64)
    alone = type(node)(
        states=node.states[:1],
        params=node.params,
        op_weight=one,
        input_weight=one,
        table=node.table[:, :1],
        gy=node.gy,
    )
    y, _ = alone.run()
    for s in range(2):
        weights, offset = [], 0
        for p in PRIMITIVES[name].parameters(4, stride, False):
            weights.append(node.params[s, offset : offset + p.size].view(p.shape))
            offset += aligned(p.size)
        assert_agree(y[s], FORMULAS[name](node.states[0][s], weights, stride), "formula", torch.float64)


@STRIDES
@pytest.mark.parametrize("name", ALL)
def test_codes_shapes_and_multiply_accumulates(name, stride):
    primitive = PRIMITIVES[name]
    assert BY_CODE[primitive.code] is primitive
    plain, affine = (primitive.parameters(6, stride, flag) for flag in (False, True))
    assert len(affine) == len(plain) + 2 * (0 if name == "none" else primitive.stages(stride))
    size = (5, 4)
    counted = 0
    for p in plain:
        # The first of a pair of convolutions and the depthwise ones already work at the output's size.
        counted += p.size * size[0] * size[1]
    assert primitive.macs(6, *size, stride) == counted


def test_parameters_of_neighbours_are_not_read():
    columns = parameter_slices(("conv_3x3", "sep_conv_3x3"), 5, [1, 1], True)
    assert all(c.start % 16 == 0 and c.stop % 16 == 0 for c in columns) and columns[0].stop == columns[1].start


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(1, 3), st.integers(0, 20))
@settings(max_examples=30, deadline=None)
def test_read_parameters(sizes, slots, extra):
    """Views at multiples of 16, and a gradient that leaves the gaps at 0."""
    shapes = [Shape(f"p{k}", (n,)) for k, n in enumerate(sizes)]
    width = sum(aligned(n) for n in sizes) + extra
    row = torch.arange(slots * width, dtype=torch.float64).view(slots, width).requires_grad_(True)
    found, offset = read_parameters(row, shapes), 0
    expected = torch.zeros(slots, width, dtype=torch.float64)
    for value, n in zip(found, sizes, strict=True):
        assert torch.equal(value, row[:, offset : offset + n])
        expected[:, offset : offset + n] = 1.0
        offset += aligned(n)
    (grad,) = torch.autograd.grad(sum(value.sum() for value in found), row)
    assert torch.equal(grad, expected)


def test_fold_and_unfold_share_memory():
    x = unfold(fold(torch.randn(3, 2, 4, 5, 6)), 3)
    assert fold(x).data_ptr() == x.data_ptr()
    parts = [unfold(fold(torch.randn(3, 2, c, 5, 6)), 3) for c in (2, 3)]
    joined = cat_channels(parts)
    assert torch.equal(joined, torch.cat(parts, dim=2))
    assert fold(joined).data_ptr() == joined.data_ptr()
