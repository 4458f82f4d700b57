"""A folded graph as C: the forward pass with a comment and sizes for each op, and the weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from autometa.export.c.graph import Affine, Conv, Graph, Instruction, Map, Pool, Relu, Scaled, Zero
from autometa.export.c.memory import Placed, lives, placed

WIDTH = 118


def numbers(values: Iterable[float | int], kind: str = "float") -> str:
    """Lines of an initialiser."""
    if kind == "float":
        words = [literal(float(v)) for v in values]
    else:
        words = [str(int(v)) for v in values]
    lines, line = [], "   "
    for word in words:
        if len(line) + len(word) + 2 > WIDTH:
            lines.append(line)
            line = "   "
        line += f" {word},"
    return "\n".join([*lines, line])


def wrapped(text: str) -> str:
    """Lines of code, cut between arguments where they are too long."""
    made = []
    for line in text.split("\n"):
        indent = len(line) - len(line.lstrip())
        while len(line) > WIDTH and ", " in line[indent:WIDTH]:
            cut = line.rindex(", ", indent, WIDTH) + 1
            made.append(line[:cut])
            line = " " * (indent + 8) + line[cut + 1 :]
        made.append(line)
    return "\n".join(made)


def literal(value: float) -> str:
    """The shortest text that gives the same float32."""
    import numpy as np

    text = np.format_float_positional if 1e-4 <= abs(value) < 1e7 or value == 0 else np.format_float_scientific
    found = text(np.float32(value), unique=True, trim="0")
    return f"{found}f"


def array(name: str, values: Tensor, kind: str = "float") -> str:
    """A constant array of one axis."""
    return f"const {kind} {name}[{values.numel()}] = {{\n{numbers(values.flatten().tolist(), kind)}\n}};\n"


def roots(graph: Graph) -> dict[Map, Map]:
    """The map in whose place each one stands: an op of single values may write over what nobody reads later."""
    found = {m: m for m in graph.maps()}
    last: dict[Map, int] = {}
    made: dict[Map, int] = {}
    for i, step in enumerate(graph.instructions):
        made.setdefault(step.result, i)
        if not isinstance(step, Zero):
            last[step.source] = i
    for m in graph.outputs:
        last[m] = len(graph.instructions)
    ends = dict(last)  # of what stands in a place, by its root
    for i, step in enumerate(graph.instructions):
        if isinstance(step, Relu | Affine | Scaled) and not step_adds(step) and made[step.result] == i:
            root = found[step.source]
            if ends[root] == i and root.size >= step.result.size and step.result.size == step.source.size:
                found[step.result] = root
                ends[root] = last.get(step.result, i)
    return found


def step_adds(step: Instruction) -> bool:
    """Whether it adds onto its result."""
    return bool(getattr(step, "add", False))


def plan_memory(graph: Graph, alignment: int = 1) -> tuple[dict[Map, Map], Placed]:
    """Which maps share a place, and where that is, in values."""
    own = roots(graph)
    touched: list[Sequence[Map]] = [[graph.picture]]
    for step in graph.instructions:
        source = [] if isinstance(step, Zero) else [own[step.source]]
        touched.append([*source, own[step.result]])
    touched.append([own[m] for m in graph.outputs])
    sizes = {m: m.size for m in graph.maps()}
    return own, placed(lives(touched, sizes), alignment)


class Writer:
    """Writes the forward pass; the int8 form writes other arguments."""

    kind = "float"
    suffix = ""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.own, self.memory = plan_memory(graph)

    def at(self, m: Map) -> str:
        return f"arena + {place_name(m)}"

    def places(self) -> str:
        lines = [f"    {place_name(m)} = {self.memory.offsets[self.own[m]]}, /* {m} */" for m in self.graph.maps()]
        return "enum {\n" + "\n".join(lines) + "\n};\n"

    def body(self) -> str:
        lines = [f"    am_pixels{self.suffix}(picture, {self.graph.picture.size}, {self.at(self.graph.picture)});"]
        for step in self.graph.instructions:
            lines.append(self._step(step))
        lines.append(self._features())
        return wrapped("\n".join(lines))

    def _step(self, step: Instruction) -> str:
        if isinstance(step, Conv):
            return self._conv(step)
        if isinstance(step, Pool):
            sizes = pool_sizes(step)
            maps = f"{self.at(step.source)}, {self.at(step.result)}"
            call = f"am_{step.kind}_pool{self.suffix}(&s, {maps});"
            return block(f"{step.result.name}: {step.kind} pool {step.kernel} x {step.kernel}", step, sizes, call)
        if isinstance(step, Affine):
            return f"    /* {step.result.name}: {step.result} */\n    {self.affine(step)}"
        if isinstance(step, Relu):
            return f"    am_relu{self.suffix}({self.at(step.source)}, {step.result.size}, {self.at(step.result)});"
        if isinstance(step, Scaled):
            return f"    /* {step.result.name}: {step.result} */\n    {self.scaled(step)}"
        return f"    am_zero{self.suffix}({self.at(step.result)}, {step.result.size});"

    def _conv(self, step: Conv) -> str:
        function = "am_depthwise" if step.depthwise else "am_conv"
        what = f"{step.kernel[0]} x {step.kernel[1]}" + (" of each channel" if step.depthwise else "")
        if step.stride > 1:
            what += f", stride {step.stride}"
        if step.dilation > 1:
            what += f", dilation {step.dilation}"
        result = f"{self.at(step.result)}" + (f" + {step.offset}" if step.offset else "")
        call = f"{function}{self.suffix}(&s, {self.at(step.source)}, {self.conv(step)}, {result});"
        return block(f"{step.weight}: {what}", step, conv_sizes(step), call)

    def conv(self, step: Conv) -> str:
        """Arguments between input and result."""
        return f"{step.weight}, {step.bias or 'NULL'}"

    def affine(self, step: Affine) -> str:
        pixels = step.result.height * step.result.width
        what = f"{pixels}, {step.result.channels}, {step.factor}, {step.shift}, {int(step.add)}"
        return f"am_affine({self.at(step.source)}, {what}, {self.at(step.result)});"

    def scaled(self, step: Scaled) -> str:
        return (
            f"am_scaled({self.at(step.source)}, {step.result.size}, {literal(step.scale)}, {int(step.add)}, "
            f"{self.at(step.result)});"
        )

    def output(self, m: Map, features: str) -> str:
        if self.graph.flatten:
            return f"am_copy({self.at(m)}, {m.size}, {features});"
        return f"am_means({self.at(m)}, {m.height * m.width}, {m.channels}, {features});"

    def _features(self) -> str:
        lines, offset = [], 0
        for m in self.graph.outputs:
            lines.append(f"    {self.output(m, f'features + {offset}' if offset else 'features')}")
            offset += m.size if self.graph.flatten else m.channels
        return "\n".join(lines)


def block(title: str, step: Conv | Pool, sizes: str, call: str) -> str:
    """A scope with the sizes of one op and its call."""
    return (
        f"    {{ /* {title}: {step.source} -> {step.result} */\n        static const {sizes};\n        {call}\n    }}"
    )


def place_name(m: Map) -> str:
    """Of the offset of a map in the arena."""
    return f"AT_{m.name.upper()}"


def conv_sizes(step: Conv) -> str:
    """An initialised `am_conv_sizes`."""
    x, y = step.source, step.result
    fields = [
        f".height = {x.height}, .width = {x.width}, .channels = {x.channels}",
        f".out_height = {y.height}, .out_width = {y.width}, .outs = {step.outs}, .pixel = {y.channels}",
        f".kernel_height = {step.kernel[0]}, .kernel_width = {step.kernel[1]}, .stride = {step.stride}, "
        f".dilation = {step.dilation}",
        f".top = {step.padding[0]}, .left = {step.padding[1]}, .add = {int(step.add)}, .relu = {int(step.relu)}",
    ]
    inner = ",\n            ".join(fields)
    return f"am_conv_sizes s = {{\n            {inner}\n        }}"


def pool_sizes(step: Pool) -> str:
    """An initialised `am_pool_sizes`."""
    x, y = step.source, step.result
    return (
        f"am_pool_sizes s = {{\n            .height = {x.height}, .width = {x.width}, .channels = {x.channels},\n"
        f"            .out_height = {y.height}, .out_width = {y.width},\n"
        f"            .kernel = {step.kernel}, .stride = {step.stride}, .padding = {step.padding}\n        }}"
    )


def weights_source(constants: Mapping[str, Tensor], kinds: Mapping[str, str] | None = None) -> tuple[str, str]:
    """Declarations and definitions."""
    kinds = kinds or {}
    declared = "\n".join(
        f"extern const {kinds.get(name, 'float')} {name}[{value.numel()}];" for name, value in constants.items()
    )
    made = "\n".join(array(name, value, kinds.get(name, "float")) for name, value in constants.items())
    return declared, made
