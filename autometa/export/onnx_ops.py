"""The ONNX form of each aten op that exported graphs have.

A handler is `(graph, node, name) -> name`: it appends ONNX nodes to `graph`, whose result has that name, or to a list
of names where the op has several results.  Shapes are those that tracing found; -1 stands for the one that may vary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Node

if TYPE_CHECKING:
    from autometa.export.onnx_graph import Graph

Handler = Callable[["Graph", Node, str], "str | list[str]"]
HANDLERS: dict[str, Handler] = {}
IDENTITIES = {f"aten.{op}.default" for op in ("alias", "clone", "contiguous", "detach", "lift_fresh_copy")}


def _handles(*targets: str) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        HANDLERS.update({f"aten.{target}": handler for target in targets})
        return handler

    return register


def _arguments(node: Node) -> dict[str, Any]:
    """All arguments by name, defaults included."""
    found = {}
    for k, argument in enumerate(node.target._schema.arguments):
        default = argument.default_value if argument.has_default_value() else None
        found[argument.name] = node.args[k] if k < len(node.args) else node.kwargs.get(argument.name, default)
    return found


def _shape(node: Node) -> list[int]:
    return [n if isinstance(n, int) else -1 for n in node.meta["val"].shape]


def _rank(node: Node) -> int:
    return node.meta["val"].dim()


def _pair(values: int | Sequence[int]) -> list[int]:
    return [values, values] if isinstance(values, int) else list(values) * (2 if len(values) == 1 else 1)


def _direct(op: str, *targets: str) -> None:
    """Ops of one tensor without options."""
    _handles(*targets)(lambda graph, node, name: graph.emit(op, [graph.name(node.args[0])], [name]))


for _op, _target in {"Relu": "relu", "Sqrt": "sqrt", "Reciprocal": "reciprocal", "Neg": "neg"}.items():
    _direct(_op, f"{_target}.default")


def _binary(op: str, *targets: str) -> None:
    """Ops of two tensors, or of a tensor and a number."""

    def handler(graph: Graph, node: Node, name: str) -> str:
        if _arguments(node).get("alpha", 1) != 1:
            raise NotImplementedError(f"{node.target} with alpha")
        like = next(a for a in node.args if isinstance(a, Node)).meta["val"].dtype
        return graph.emit(op, [graph.operand(a, like) for a in node.args[:2]], [name])

    _handles(*targets)(handler)


for _op, _target in {"Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "Equal": "eq", "Greater": "gt"}.items():
    _binary(_op, f"{_target}.Tensor", f"{_target}.Scalar")


@_handles("to.dtype", "to.dtype_layout", "_to_copy.default")
def _cast(graph, node, name):
    return graph.emit("Cast", [graph.name(node.args[0])], [name], to=graph.type_of(node.meta["val"].dtype))


@_handles("view.default", "reshape.default", "_unsafe_view.default", "flatten.using_ints", "unsqueeze.default")
def _reshape(graph, node, name):
    return graph.emit("Reshape", [graph.name(node.args[0]), graph.integers(_shape(node))], [name])


@_handles("expand.default")
def _expand(graph, node, name):
    return graph.emit("Expand", [graph.name(node.args[0]), graph.integers(_shape(node))], [name])


@_handles("permute.default")
def _permute(graph, node, name):
    order = [d % _rank(node) for d in node.args[1]]
    return graph.emit("Transpose", [graph.name(node.args[0])], [name], perm=order)


@_handles("t.default")
def _t(graph, node, name):
    return graph.emit("Transpose", [graph.name(node.args[0])], [name], perm=[1, 0])


def _reduction(op: str, *targets: str) -> None:
    def handler(graph: Graph, node: Node, name: str) -> str:
        given = _arguments(node)
        axes = [d % _rank(node.args[0]) for d in given["dim"]]
        inputs = [graph.name(node.args[0]), graph.integers(axes)]
        return graph.emit(op, inputs, [name], keepdims=int(given["keepdim"]))

    _handles(*targets)(handler)


_reduction("ReduceSum", "sum.dim_IntList")
_reduction("ReduceMean", "mean.dim")


@_handles("conv2d.default", "convolution.default")
def _convolution(graph, node, name):
    given = _arguments(node)
    inputs = [graph.name(given[k]) for k in ("input", "weight", "bias") if given[k] is not None]
    pads = _pair(given["padding"]) * 2
    options = dict(strides=_pair(given["stride"]), dilations=_pair(given["dilation"]), group=given["groups"], pads=pads)
    if given.get("transposed"):
        return graph.emit("ConvTranspose", inputs, [name], output_padding=_pair(given["output_padding"]), **options)
    return graph.emit("Conv", inputs, [name], **options)


@_handles("linear.default")
def _linear(graph, node, name):
    return graph.emit("Gemm", [graph.name(a) for a in node.args], [name], transB=1)


@_handles("addmm.default")
def _addmm(graph, node, name):
    bias, a, b = node.args
    return graph.emit("Gemm", [graph.name(a), graph.name(b), graph.name(bias)], [name])


@_handles("mm.default")
def _mm(graph, node, name):
    return graph.emit("MatMul", [graph.name(a) for a in node.args], [name])


@_handles("batch_norm.default")
def _batch_norm(graph, node, name):
    given = _arguments(node)
    if given["training"]:
        raise NotImplementedError("batch normalisation by the batch's own statistics")
    inputs = [graph.name(given[k]) for k in ("input", "weight", "bias", "running_mean", "running_var")]
    return graph.emit("BatchNormalization", inputs, [name], epsilon=given["eps"])


@_handles("softmax.int", "_softmax.default")
def _softmax(graph, node, name):
    return graph.emit("Softmax", [graph.name(node.args[0])], [name], axis=node.args[1])


def _window(node: Node) -> dict[str, Any]:
    given = _arguments(node)
    stride = given["stride"] or given["kernel_size"]
    found = {"kernel_shape": _pair(given["kernel_size"]), "strides": _pair(stride)}
    return found | {"pads": _pair(given["padding"]) * 2, "ceil_mode": int(given["ceil_mode"])}


@_handles("max_pool2d.default")
def _max_pool(graph, node, name):
    return graph.emit("MaxPool", [graph.name(node.args[0])], [name], **_window(node))


@_handles("max_pool2d_with_indices.default")
def _max_pool_with_indices(graph, node, name):
    """ONNX counts places through the whole batch, PyTorch within a plane."""
    graph.emit("MaxPool", [graph.name(node.args[0])], [name, f"{name}.places"], **_window(node))
    plane = math.prod(node.args[0].meta["val"].shape[-2:])
    graph.emit("Mod", [f"{name}.places", graph.number(plane, torch.int64)], [f"{name}.indices"])
    return [name, f"{name}.indices"]


@_handles("avg_pool2d.default")
def _average_pool(graph, node, name):
    padded = int(_arguments(node)["count_include_pad"])
    return graph.emit("AveragePool", [graph.name(node.args[0])], [name], count_include_pad=padded, **_window(node))


@_handles("cat.default")
def _cat(graph, node, name):
    axis = node.args[1] if len(node.args) > 1 else 0
    return graph.emit("Concat", [graph.name(a) for a in node.args[0]], [name], axis=axis)


@_handles("split_with_sizes.default")
def _split(graph, node, name):
    outputs = [f"{name}.{k}" for k in range(len(node.args[1]))]
    axis = node.args[2] if len(node.args) > 2 else 0
    graph.emit("Split", [graph.name(node.args[0]), graph.integers(node.args[1])], outputs, axis=axis)
    return outputs


@_handles("slice.Tensor")
def _slice(graph, node, name):
    given = _arguments(node)
    start = given["start"] or 0
    end = min(2**63 - 1 if given["end"] is None else given["end"], 2**31 - 1)
    values = (start, end, given["dim"], given["step"])
    return graph.emit("Slice", [graph.name(node.args[0]), *(graph.integers([v]) for v in values)], [name])


@_handles("constant_pad_nd.default", "pad.default")
def _pad(graph, node, name):
    given = _arguments(node)
    if given.get("mode", "constant") != "constant":
        raise NotImplementedError(f"padding of mode {given['mode']}")
    before, after = given["pad"][::2][::-1], given["pad"][1::2][::-1]
    kept = [0] * (_rank(node) - len(before))
    pads = graph.integers([*kept, *before, *kept, *after])
    value = graph.number(float(given["value"] or 0), node.meta["val"].dtype)
    return graph.emit("Pad", [graph.name(node.args[0]), pads, value], [name])


@_handles("index_select.default")
def _index_select(graph, node, name):
    x, axis, index = node.args
    return graph.emit("Gather", [graph.name(x), graph.name(index)], [name], axis=axis)


@_handles("sort.default")
def _sort(graph, node, name):
    given = _arguments(node)
    axis = given["dim"]
    count = graph.integers([node.args[0].meta["val"].shape[axis]])
    outputs = [f"{name}.values", f"{name}.indices"]
    graph.emit("TopK", [graph.name(node.args[0]), count], outputs, axis=axis, largest=int(given["descending"]))
    return outputs


@_handles("zeros_like.default")
def _zeros_like(graph, node, name):
    shape = graph.emit("Shape", [graph.name(node.args[0])], [f"{name}.shape"])
    zero = graph.onnx.numpy_helper.from_array(torch.zeros(1, dtype=node.meta["val"].dtype).numpy())
    return graph.emit("ConstantOfShape", [shape], [name], value=zero)
