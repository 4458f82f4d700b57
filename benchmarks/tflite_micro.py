"""An export in int8 beside TFLite Micro: bytes of the model, of memory, and how often their features agree.

    pip install tflite flatbuffers tflite-micro
    python -m benchmarks.tflite_micro --run RUN

writes the network of a run, with the integers of its export, as a .tflite file and runs both on pictures of its data.
Networks of convolutions alone can be written so: the four-layer net without pools. The wheel holds a runtime for this
computer, with pointers of 64 bits.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch

from autometa.export.c.graph import Conv
from autometa.export.c.project import Device
from autometa.export.c.quantised import MOST, Quantised
from autometa.models.find import choose_start
from autometa.train.frozen import training_pictures
from autometa.train.tasks import Source

PICTURES, ARENA = 100, 1 << 20


def part(name: str) -> Any:
    """A module of the schema."""
    return import_module(f"tflite.{name}")


class Writer:
    """A model of one subgraph, in the order in which flatbuffers are written: what is pointed to comes first."""

    def __init__(self) -> None:
        self.builder = import_module("flatbuffers").Builder(1 << 16)
        self.buffers, self.tensors, self.operators = [self.table("Buffer")], [], []

    def table(self, name: str, **fields: Any) -> int:
        module = part(name)
        module.Start(self.builder)
        for field, value in fields.items():
            getattr(module, f"Add{field}")(self.builder, value)
        return module.End(self.builder)

    def vector(self, name: str, field: str, items: Sequence, push: Callable[[Any], None] | None = None) -> int:
        getattr(part(name), f"Start{field}Vector")(self.builder, len(items))
        for item in reversed(items):
            (push or self.builder.PrependUOffsetTRelative)(item)
        return self.builder.EndVector()

    def tensor(self, shape: Sequence[int], kind: str, scales: Sequence[float], data: np.ndarray | None = None) -> int:
        """Its number; symmetric about 0, a scale for each channel of the first axis or one for all."""
        build = self.builder
        if data is not None:
            self.buffers.append(self.table("Buffer", Data=build.CreateByteVector(data.tobytes())))
        scale = self.vector("QuantizationParameters", "Scale", scales, build.PrependFloat32)
        zero = self.vector("QuantizationParameters", "ZeroPoint", [0] * len(scales), build.PrependInt64)
        how = self.table("QuantizationParameters", Scale=scale, ZeroPoint=zero, QuantizedDimension=0)
        own = self.vector("Tensor", "Shape", shape, build.PrependInt32)
        number = len(self.buffers) - 1 if data is not None else 0
        kind = getattr(part("TensorType").TensorType, kind)
        self.tensors.append(self.table("Tensor", Shape=own, Type=kind, Buffer=number, Quantization=how))
        return len(self.tensors) - 1

    def convolution(self, inputs: Sequence[int], output: int, stride: int) -> None:
        build = self.builder
        read = self.vector("Operator", "Inputs", inputs, build.PrependInt32)
        written = self.vector("Operator", "Outputs", [output], build.PrependInt32)
        relu, same = part("ActivationFunctionType").ActivationFunctionType.RELU, part("Padding").Padding.SAME
        settings = {"Padding": same, "StrideW": stride, "StrideH": stride, "FusedActivationFunction": relu}
        options = self.table("Conv2DOptions", **settings, DilationWFactor=1, DilationHFactor=1)
        kind = part("BuiltinOptions").BuiltinOptions.Conv2DOptions
        how = {"BuiltinOptionsType": kind, "BuiltinOptions": options}
        self.operators.append(self.table("Operator", OpcodeIndex=0, Inputs=read, Outputs=written, **how))

    def finished(self, first: int, last: int) -> bytes:
        build = self.builder
        tensors = self.vector("SubGraph", "Tensors", self.tensors)
        operators = self.vector("SubGraph", "Operators", self.operators)
        ends = [
            self.vector("SubGraph", f"{end}puts", [n], build.PrependInt32) for end, n in (("In", first), ("Out", last))
        ]
        graph = self.table("SubGraph", Tensors=tensors, Operators=operators, Inputs=ends[0], Outputs=ends[1])
        kind = part("BuiltinOperator").BuiltinOperator.CONV_2D
        code = self.table("OperatorCode", BuiltinCode=kind, DeprecatedBuiltinCode=kind, Version=3)
        codes = self.vector("Model", "OperatorCodes", [code])
        graphs, buffers = self.vector("Model", "Subgraphs", [graph]), self.vector("Model", "Buffers", self.buffers)
        build.Finish(self.table("Model", Version=3, OperatorCodes=codes, Subgraphs=graphs, Buffers=buffers), b"TFL3")
        return bytes(build.Output())


def model_of(device: Device, quantised: Quantised) -> bytes:
    """The network of an export, with its integers."""
    writer, scales = Writer(), quantised.scales
    graph = device.folded.graph
    picture = graph.picture
    x = first = writer.tensor([1, picture.height, picture.width, picture.channels], "INT8", [scales[picture]])
    for step in graph.instructions:
        assert isinstance(step, Conv) and step.relu and not step.depthwise, "a network of convolutions alone"
        rows = device.folded.constants[step.weight].double().reshape(step.outs, -1)
        each = (rows.abs().amax(dim=1) / MOST).tolist()
        whole = quantised.constants[step.weight].numpy().astype(np.int8)
        bias = quantised.constants[step.bias].numpy().astype(np.int32)
        weight = writer.tensor([step.outs, *step.kernel, step.source.channels], "INT8", each, whole)
        shift = writer.tensor([step.outs], "INT32", [scales[step.source] * one for one in each], bias)
        y = step.result
        out = writer.tensor([1, y.height, y.width, y.channels], "INT8", [scales[y]])
        writer.convolution([x, weight, shift], out, step.stride)
        x = out
    return writer.finished(first, x)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run")
    start = choose_start(parser.parse_args().run)
    source = Source.open(start.model.config.data)
    seen = training_pictures(start.model.config, source)
    device = Device.of(start.name, start.model, seen, "prototypes", "int8")
    quantised = device.quantised
    assert quantised is not None
    model = model_of(device, quantised)
    runtime = import_module("tflite_micro.python.tflite_micro.runtime")
    interpreter = runtime.Interpreter.from_bytes(model, arena_size=ARENA)
    images = source.store.tensor()[:: max(1, len(source.store.tensor()) // PICTURES)][:PICTURES]
    ours = quantised(images) / quantised.scales[device.folded.graph.outputs[-1]]
    theirs = []
    for image in images:
        interpreter.set_input((image.permute(1, 2, 0)[None] >> 1).numpy().astype(np.int8), 0)
        interpreter.invoke()
        theirs.append(torch.from_numpy(interpreter.get_output(0).astype(np.float32)).flatten())
    apart = (ours.round() - torch.stack(theirs)).abs()
    maps = device.writer().memory.size
    print(f"{len(model):,} bytes of .tflite; of the export {device.flash:,} of constants, {maps:,} of maps")
    same = 100 * float((apart == 0).double().mean())
    print(
        f"features of {len(images)} pictures: {same:.2f}% the same integer, others by at most {int(apart.max())} apart"
    )
    sys.stdout.flush()  # before what the runtime prints by itself
    interpreter.print_allocations()


if __name__ == "__main__":
    main()
