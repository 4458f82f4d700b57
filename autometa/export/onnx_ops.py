"""The ONNX form of each aten op that exported graphs have.

A form is (ONNX op, inputs, attributes, names of its outputs where they are several). An input is a tensor of the graph,
None for one that is left out at the end, a number, a list of whole numbers, or a form of its own. Shapes are those that
tracing found; -1 stands for the one that may vary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch.fx import Node

Form = tuple[Any, ...]
FORMS: dict[str, Callable[[SimpleNamespace], Form]] = {}
"""Name of an op -> its form, of its arguments by name; besides them `node` and its shape, `traced`."""
IDENTITIES = {f"aten.{op}.default" for op in ("alias", "clone", "contiguous", "detach", "lift_fresh_copy")}


def form_of(node: Node) -> Form:
    """The form of a node. Raises `NotImplementedError` where there is none."""
    if str(node.target) not in FORMS:
        raise NotImplementedError(f"no ONNX form of {node.target}")
    found = {}
    for k, argument in enumerate(node.target._schema.arguments):
        default = argument.default_value if argument.has_default_value() else None
        found[argument.name] = node.args[k] if k < len(node.args) else node.kwargs.get(argument.name, default)
    value = node.meta["val"]
    shape = [n if isinstance(n, int) else -1 for n in value.shape] if isinstance(value, torch.Tensor) else None
    return FORMS[str(node.target)](SimpleNamespace(**found, node=node, traced=shape))


def _form(*targets: str) -> Callable[[Callable], Callable]:
    def register(function: Callable[[SimpleNamespace], Form]) -> Callable:
        FORMS.update({f"aten.{target}": function for target in targets})
        return function

    return register


def _pair(values: int | Sequence[int]) -> list[int]:
    return [values, values] if isinstance(values, int) else list(values) * (2 if len(values) == 1 else 1)


def _axes(tensor: Node, axes: Sequence[int]) -> list[int]:
    return [axis % tensor.meta["val"].dim() for axis in axes]


def _binary(op: str, a: SimpleNamespace) -> Form:
    if getattr(a, "alpha", 1) != 1:
        raise NotImplementedError(f"{a.node.target} with alpha")
    return op, [a.self, a.other]


for _op, _target in {"Relu": "relu", "Sqrt": "sqrt", "Reciprocal": "reciprocal", "Neg": "neg"}.items():
    _form(f"{_target}.default")(lambda a, op=_op: (op, [a.self]))
for _op, _target in {"Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "Equal": "eq", "Greater": "gt"}.items():
    _form(f"{_target}.Tensor", f"{_target}.Scalar")(lambda a, op=_op: _binary(op, a))
_form("remainder.Scalar")(lambda a: ("Mod", [a.self, a.other]))
for _op, _target in {"ReduceSum": "sum.dim_IntList", "ReduceMean": "mean.dim"}.items():
    _form(_target)(lambda a, op=_op: (op, [a.self, _axes(a.self, a.dim)], {"keepdims": int(a.keepdim)}))
_form("to.dtype", "to.dtype_layout", "_to_copy.default")(lambda a: ("Cast", [a.self], {"to": a.node.meta["val"].dtype}))
_form("view.default", "reshape.default", "_unsafe_view.default", "flatten.using_ints", "unsqueeze.default")(
    lambda a: ("Reshape", [a.self, a.traced])
)
_form("expand.default")(lambda a: ("Expand", [a.self, a.traced]))
_form("permute.default")(lambda a: ("Transpose", [a.self], {"perm": _axes(a.self, a.dims)}))
_form("t.default")(lambda a: ("Transpose", [a.self], {"perm": [1, 0]}))
_form("linear.default")(lambda a: ("Gemm", [a.input, a.weight, a.bias], {"transB": 1}))
_form("addmm.default")(lambda a: ("Gemm", [a.mat1, a.mat2, a.self]))
_form("mm.default")(lambda a: ("MatMul", [a.self, a.mat2]))
_form("softmax.int", "_softmax.default")(lambda a: ("Softmax", [a.self], {"axis": a.dim}))
_form("max_pool2d.default")(lambda a: ("MaxPool", [a.self], _window(a)))
_form("max_pool2d_with_indices.default")(lambda a: ("MaxPool", [a.self], _window(a), ("values", "places")))
_form("cat.default")(lambda a: ("Concat", a.tensors, {"axis": a.dim}))
_form("split_with_sizes.default")(
    lambda a: ("Split", [a.self, a.split_sizes], {"axis": a.dim}, range(len(a.split_sizes)))
)
_form("index_select.default")(lambda a: ("Gather", [a.self, a.index], {"axis": a.dim}))
_form("zeros_like.default")(
    lambda a: ("ConstantOfShape", [("Shape", [a.self])], {"value": torch.zeros(1, dtype=a.node.meta["val"].dtype)})
)


@_form("conv2d.default", "convolution.default")
def _convolution(a):
    options = {"strides": _pair(a.stride), "dilations": _pair(a.dilation), "group": a.groups}
    options["pads"] = _pair(a.padding) * 2
    if getattr(a, "transposed", False):
        return "ConvTranspose", [a.input, a.weight, a.bias], {"output_padding": _pair(a.output_padding), **options}
    return "Conv", [a.input, a.weight, a.bias], options


@_form("batch_norm.default")
def _batch_norm(a):
    if a.training:
        raise NotImplementedError("batch normalisation by the batch's own statistics")
    return "BatchNormalization", [a.input, a.weight, a.bias, a.running_mean, a.running_var], {"epsilon": a.eps}


def _window(a: SimpleNamespace) -> dict[str, Any]:
    found = {"kernel_shape": _pair(a.kernel_size), "strides": _pair(a.stride or a.kernel_size)}
    return found | {"pads": _pair(a.padding) * 2, "ceil_mode": int(a.ceil_mode)}


@_form("avg_pool2d.default")
def _average_pool(a):
    return "AveragePool", [a.self], {"count_include_pad": int(a.count_include_pad), **_window(a)}


@_form("slice.Tensor")
def _slice(a):
    end = min(2**63 - 1 if a.end is None else a.end, 2**31 - 1)
    return "Slice", [a.self, [a.start or 0], [end], [a.dim], [a.step]]


@_form("constant_pad_nd.default", "pad.default")
def _pad(a):
    if getattr(a, "mode", "constant") != "constant":
        raise NotImplementedError(f"padding of mode {a.mode}")
    before, after = a.pad[::2][::-1], a.pad[1::2][::-1]
    unpadded = [0] * (len(a.traced) - len(before))
    return "Pad", [a.self, [*unpadded, *before, *unpadded, *after], float(a.value or 0)]


@_form("sort.default")
def _sort(a):
    count = a.self.meta["val"].shape[a.dim]
    return "TopK", [a.self, [count]], {"axis": a.dim, "largest": int(a.descending)}, ("values", "indices")
