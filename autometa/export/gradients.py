"""Backward passes in ops that every runtime has; PyTorch's own backward ops only PyTorch has.

`DECOMPOSITIONS` is handed to `make_fx`; `batch_norm` differentiates itself.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx import GraphModule

aten = torch.ops.aten
DECOMPOSITIONS = {}
SPATIAL = (0, 2, 3)


def _replaces(op):
    def register(function):
        DECOMPOSITIONS[op] = function
        return function

    return register


@_replaces(aten.convolution_backward.default)
def _convolution_backward(grad, x, weight, bias_sizes, stride, padding, dilation, transposed, _, groups, wanted):
    """Of a 2-d convolution: the input's gradient is a transposed convolution, the weight's one of input and gradient
    in which batch and channels, stride and dilation change places."""
    if transposed:
        raise NotImplementedError("the gradient of a transposed convolution")
    grad_x = grad_weight = grad_bias = None
    if wanted[0]:
        plain = _transposed_sizes(grad, weight, stride, padding, dilation)
        rest = [n - m for n, m in zip(x.shape[2:], plain, strict=True)]
        grad_x = aten.convolution(grad, weight, None, stride, padding, dilation, True, rest, groups)
    if wanted[1]:
        swapped, kernel = _batch_last(x, groups), grad.permute(1, 0, 2, 3)
        found = aten.convolution(swapped, kernel, None, dilation, padding, stride, False, [0, 0], groups)
        for axis in (2, 3):  # with a stride the last rows and columns of the input may have met no weight
            if found.shape[axis] != weight.shape[axis]:
                found = found.narrow(axis, 0, weight.shape[axis])
        grad_weight = found.permute(1, 0, 2, 3)
    if wanted[2]:
        grad_bias = grad.sum(SPATIAL)
    return grad_x, grad_weight, grad_bias


def _batch_last(x: Tensor, groups: int) -> Tensor:
    """`[N, groups * C, H, W]` -> `[C, groups * N, H, W]`."""
    if groups == 1:
        return x.permute(1, 0, 2, 3)
    batch, channels, height, width = x.shape
    parted = x.reshape(batch, groups, channels // groups, height, width).permute(2, 1, 0, 3, 4)
    return parted.reshape(channels // groups, groups * batch, height, width)


def _transposed_sizes(grad, weight, stride, padding, dilation) -> list[int]:
    """Height and width that a transposed convolution gives without output padding."""
    sizes = zip(grad.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    return [(n - 1) * s - 2 * p + d * (k - 1) + 1 for n, k, s, p, d in sizes]


def _spread(parts: Tensor, kernel: Tensor, size, stride, padding) -> Tensor:
    """parts `[N, C, K, h, w]`, K values of every window to where windows of a `[K, 1, kh, kw]` kernel lie in a plane
    of `size`, added up: `[N, C, *size]`."""
    batch, channels, _, height, width = parts.shape
    folded = parts.reshape(batch * channels, -1, height, width)
    rest = [n - m for n, m in zip(size, _transposed_sizes(folded, kernel, stride, padding, (1, 1)), strict=True)]
    crop = [min(r, 0) for r in rest]  # with ceil_mode the last window may stand over the edge
    rest = [max(r, 0) for r in rest]
    found = aten.convolution(folded, kernel, None, stride, padding, (1, 1), True, rest, 1)
    if any(crop):
        found = found[:, :, : size[0], : size[1]]
    return found.reshape(batch, channels, *size)


@_replaces(aten.max_pool2d_with_indices_backward.default)
def _max_pool_backward(grad, x, kernel, stride, padding, dilation, ceil_mode, indices):
    """Each gradient goes to the place in its window that `indices` (of the plane) names."""
    stride = stride or kernel
    size, (kh, kw) = x.shape[2:], kernel
    i, j, top, left = np.ogrid[:kh, :kw, : grad.shape[2], : grad.shape[3]]
    rows, columns = top * stride[0] - padding[0] + i, left * stride[1] - padding[1] + j
    inside = (rows >= 0) & (rows < size[0]) & (columns >= 0) & (columns < size[1])
    places = np.where(inside, rows * size[1] + columns, -1).reshape(kh * kw, *grad.shape[2:])
    indices = indices % (size[0] * size[1])  # ONNX counts through the whole batch
    chosen = (indices.unsqueeze(2) == torch.tensor(places.tolist())).to(grad.dtype)
    one_hot = torch.tensor(np.eye(kh * kw).reshape(kh * kw, 1, kh, kw).tolist(), dtype=grad.dtype)
    return _spread(grad.unsqueeze(2) * chosen, one_hot, size, stride, padding)


@_replaces(aten.avg_pool2d_backward.default)
def _avg_pool_backward(grad, x, kernel, stride, padding, ceil_mode, count_include_pad, divisor_override):
    """Each gradient in equal parts to its window, of which only what lies in the plane counts."""
    if ceil_mode or divisor_override is not None:
        raise NotImplementedError("the gradient of average pooling with ceil_mode or a divisor")
    counts = [kernel[0] * kernel[1]]
    if not count_include_pad:
        axes = zip(grad.shape[2:], x.shape[2:], kernel, stride, padding, strict=True)
        starts = [(np.arange(count) * s - p, n, k) for count, n, k, s, p in axes]
        tall, wide = (np.minimum(first + k, n) - np.maximum(first, 0) for first, n, k in starts)
        counts = np.outer(tall, wide).tolist()
    shares = grad / torch.tensor(counts, dtype=grad.dtype)
    ones = torch.tensor(np.ones((1, 1, *kernel)).tolist(), dtype=grad.dtype)
    return _spread(shares.unsqueeze(2), ones, x.shape[2:], stride, padding)


@_replaces(aten.threshold_backward.default)
def _relu_backward(grad, result, threshold):
    return grad * (result > threshold).to(grad.dtype)


@_replaces(aten.slice_backward.default)
def _slice_backward(grad, sizes, dim, start, end, step):
    """Zeros between and around."""
    dim, count = dim % len(sizes), grad.shape[dim]
    start = min(start + sizes[dim] if start < 0 else start, sizes[dim])
    if step > 1:
        spread = F.pad(grad.unsqueeze(dim + 1), [0, 0] * (len(sizes) - 1 - dim) + [0, step - 1])
        grad = spread.reshape(*sizes[:dim], count * step, *grad.shape[dim + 1 :])
    after = sizes[dim] - start - grad.shape[dim]
    return F.pad(grad, [0, 0] * (len(sizes) - 1 - dim) + [start, after]) if start or after else grad


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
        mean, variance = moments(x)
        inverse = 1 / (variance + eps).sqrt()
        centred, factor = x - mean, inverse * across(gamma)
        ctx.save_for_backward(centred, inverse, factor)
        return centred * factor + across(beta)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        centred, inverse, factor = ctx.saved_tensors
        count = grad.numel() // grad.shape[1]
        total = grad.sum(SPATIAL, keepdim=True)
        along = (grad * centred).sum(SPATIAL, keepdim=True) * inverse
        grad_x = (grad - total / count - centred * (along * inverse / count)) * factor
        return grad_x, along.flatten(), total.flatten(), None


def batch_norm(x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
    """x `[N, C, H, W]` normalised by its own mean and biased variance; gamma, beta `[C]`."""
    return _BatchNorm.apply(x, gamma, beta, eps)


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance `[1, C, 1, 1]` of `[N, C, H, W]`."""
    mean = x.mean(SPATIAL, keepdim=True)
    centred = x - mean
    return mean, (centred * centred).mean(SPATIAL, keepdim=True)


def across(values: Tensor) -> Tensor:
    """`[C]` -> `[1, C, 1, 1]`."""
    return values.reshape(1, -1, 1, 1)


NOTHING = {aten.alias, aten.clone, aten.detach, aten.detach_, aten.lift_fresh_copy}
VIEWS = {aten.view.default, aten._unsafe_view.default}


def tidy(module: GraphModule) -> GraphModule:
    """Without ops that change no value, and with views that hold for any strides."""
    for node in module.graph.nodes:
        if node.target in VIEWS:
            node.target = aten.reshape.default
        elif isinstance(node.target, torch._ops.OpOverload) and node.target.overloadpacket in NOTHING:
            node.replace_all_uses_with(node.args[0])
            module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
    module.recompile()
    return module
