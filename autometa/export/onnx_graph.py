"""An exported program as an ONNX model: one ONNX node for each aten op, a `Scan` for the loop.

PyTorch's own exporter (2.13) gives the same answers, but takes 2 to 26 s of a core (here 0.02 to 0.2 s), needs
another package and writes files 2 to 5 times as large; these graphs use few ops.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from autometa.errors import InputError
from autometa.export.onnx_ops import IDENTITIES, Form, form_of

OPSET = 18
IR_VERSION = 8
"""Read by onnxruntime from 1.14 on."""


def onnx_library():
    """The package `onnx`. Raises `InputError` where it is not installed."""
    try:
        import onnx
    except ImportError as error:
        raise InputError("the ONNX format needs onnx: pip install 'autometa-nas[onnx]'") from error
    return onnx


def onnx_model(program: torch.export.ExportedProgram, outputs: Sequence[str], metadata: dict[str, str]):
    """The `ModelProto` of a program; outputs: their names.

    Raises `NotImplementedError` for an op that no graph of this package has.
    """
    onnx = onnx_library()
    graph = Graph(onnx)
    signature = program.graph_signature
    held = {**signature.inputs_to_buffers, **signature.inputs_to_lifted_tensor_constants}
    given = []
    for node in program.graph.find_nodes(op="placeholder"):
        if node.name in held:
            name = held[node.name]
            value = program.state_dict[name] if name in program.state_dict else program.constants[name]
            graph.hold(node, value, name)
        else:
            given.append(graph.declared(node, node.name))
            graph.names[node] = node.name
    found = graph.walk(program.graph_module)
    results = []
    for value, name in zip(found, outputs, strict=True):
        graph.emit("Identity", [graph.name(value)], [name])
        results.append(graph.declared(value, name))
    made = onnx.helper.make_graph(graph.nodes, "autometa", given, results, list(graph.initializers.values()))
    opset = [onnx.helper.make_opsetid("", OPSET)]
    model = onnx.helper.make_model(made, opset_imports=opset, ir_version=IR_VERSION, producer_name="autometa")
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    return model


class Graph:
    """The nodes of one graph; a loop's body shares the initializers of the graph around it and sees its values."""

    def __init__(self, onnx, around: Graph | None = None, prefix: str = "") -> None:
        self.onnx, self.prefix = onnx, prefix
        self.nodes: list = []
        self.names: dict[Node, str | list[str]] = {}
        self.constants: dict[Node, tuple[Tensor, str]] = {}
        self.initializers: dict[str, Any] = {} if around is None else around.initializers

    def hold(self, node: Node, value: Tensor, name: str) -> None:
        """A value known now; an initializer when something reads it."""
        self.constants[node] = (value.detach(), name)

    def name(self, value: Node) -> str:
        """What a tensor is called in the graph."""
        if value in self.constants:
            self.names[value] = self.constant(*self.constants.pop(value))
        return self.names[value]

    def constant(self, value: Tensor, name: str) -> str:
        """An initializer of this name."""
        if name not in self.initializers:
            array = value.cpu().contiguous().numpy()
            self.initializers[name] = self.onnx.numpy_helper.from_array(array, name)
        return name

    def integers(self, values: Sequence[int]) -> str:
        """An initializer of these int64 values."""
        return self.constant(torch.tensor(list(values), dtype=torch.int64), f"int64[{','.join(map(str, values))}]")

    def number(self, value: float, dtype: torch.dtype) -> str:
        """A scalar initializer."""
        return self.constant(torch.tensor(value, dtype=dtype), f"{str(dtype).removeprefix('torch.')}({value!r})")

    def form(self, form: Form, name: str, like: torch.dtype) -> str | list[str]:
        """Append a form; its numbers are of the dtype `like`. Returns its name, or those of its outputs."""
        op, inputs, attributes, parts = (*form, *({}, ())[len(form) - 2 :])
        given = [self._input(value, f"{name}.{k}", like) for k, value in enumerate(inputs) if value is not None]
        outputs = [f"{name}.{part}" for part in parts]
        self.emit(op, given, outputs or [name], **{key: self._attribute(value) for key, value in attributes.items()})
        return outputs or name

    def _input(self, value: Any, name: str, like: torch.dtype) -> str:
        if isinstance(value, Node):
            return self.name(value)
        if isinstance(value, tuple):
            return self.form(value, name, like)
        return self.integers(value) if isinstance(value, list) else self.number(value, like)

    def _attribute(self, value: Any) -> Any:
        if isinstance(value, torch.dtype):
            return self.type_of(value)
        return self.onnx.numpy_helper.from_array(value.numpy()) if isinstance(value, Tensor) else value

    def emit(self, op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> str:
        """Append a node, named after its first result; returns that."""
        self.nodes.append(self.onnx.helper.make_node(op, list(inputs), list(outputs), name=outputs[0], **attributes))
        return outputs[0]

    def type_of(self, dtype: torch.dtype) -> int:
        """ONNX's number of a dtype."""
        return self.onnx.helper.np_dtype_to_tensor_dtype(torch.empty(0, dtype=dtype).numpy().dtype)

    def declared(self, node: Node, name: str):
        """The type and shape of a graph's input or output; a length that may vary is called n."""
        value = node.meta["val"]
        shape = [n if isinstance(n, int) else "n" for n in value.shape]
        return self.onnx.helper.make_tensor_value_info(name, self.type_of(value.dtype), shape)

    def walk(self, module: GraphModule) -> list[Node]:
        """Translate a graph whose inputs are named already; returns what it puts out."""
        for node in module.graph.nodes:
            if node.op == "output":
                return list(node.args[0])
            if node.op == "get_attr":
                value = getattr(module, node.target)
                if isinstance(value, Tensor):
                    self.hold(node, value, self.prefix + node.target)
            elif node.op == "call_function":
                self._translate(module, node)
        raise ValueError("a graph without an output")

    def _translate(self, module: GraphModule, node: Node) -> None:
        target, known = str(node.target), [n in self.constants for n in node.all_input_nodes]
        if node.target is operator.getitem:
            if node.args[0] in self.names:
                self.names[node] = self.names[node.args[0]][node.args[1]]
        elif node.target is torch.ops.higher_order.scan:
            self._scan(module, node)
        elif target == "aten._assert_tensor_metadata.default":
            return
        elif all(known) and target.startswith("aten."):
            arguments = torch.fx.node.map_arg((node.args, node.kwargs), lambda n: self.constants[n][0])
            value = node.target(*arguments[0], **arguments[1])
            self.hold(node, value, self.prefix + node.name)
        elif target in IDENTITIES:
            self.names[node] = self.name(node.args[0])
        else:
            values = (n.meta.get("val") for n in node.all_input_nodes)
            like = next((value.dtype for value in values if isinstance(value, Tensor)), None)
            self.names[node] = self.form(form_of(node), self.prefix + node.name, like)

    def _scan(self, module: GraphModule, node: Node) -> None:
        """(body, initial state, what is walked along its first axis, values from outside) as a `Scan`."""
        body, initial, walked, outer = node.args[:4]
        inner = Graph(self.onnx, self, f"{self.prefix}{node.name}.")
        body_module = getattr(module, body.target)
        places, declared = body_module.graph.find_nodes(op="placeholder"), []
        for place, value in zip(places, [*initial, *walked, *outer], strict=True):
            own = len(declared) < len(initial) + len(walked)
            inner.names[place] = inner.prefix + place.name if own else self.name(value)
            if own:
                declared.append(inner.declared(place, inner.names[place]))
        results = []
        for k, value in enumerate(inner.walk(body_module)):
            name = inner.emit("Identity", [inner.name(value)], [f"{inner.prefix}result{k}"])
            results.append(inner.declared(value, name))
        graph = self.onnx.helper.make_graph(inner.nodes, f"{self.prefix}{node.name}", declared, results)
        outputs = [f"{self.prefix}{node.name}.{k}" for k in range(len(results))]
        inputs = [self.name(value) for value in (*initial, *walked)]
        self.emit("Scan", inputs, outputs, body=graph, num_scan_inputs=len(walked))
        self.names[node] = outputs
