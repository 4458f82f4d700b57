"""The inner loop of a whole network as C: forward by the batch, backward op by op, Adam.

The states between ops are kept for a batch; what lies inside an op is computed again in the backward pass
(checkpointing, Chen et al. 2016), and every parameter is updated as soon as its gradient is there.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from autometa.errors import InputError
from autometa.export.c.code import conv_sizes, literal, place_name, pool_sizes, wrapped
from autometa.export.c.filling import BY_BATCH, BY_FROZEN
from autometa.export.c.graph import Conv, Graph, Instruction, Map, Norm, Pool, Relu, Scaled, Zero, identifier
from autometa.export.c.memory import Placed, lives, placed
from autometa.meta.optimisers import Adam
from autometa.models.model import Model


def suiting(model: Model, weights: str) -> str:
    """How a network learns as it was meta-learned: by prototypes where nothing was adapted or these came before any
    step, as a whole where that can be, else by head."""
    if model.config.learner.by_prototypes or not model.config.learner.inner_loop:
        return "prototypes"
    try:
        check_all(model, weights)
    except InputError:
        return "head"
    return "all"


def check_all(model: Model, weights: str) -> None:
    """Raise `InputError` where the whole network cannot learn on a device."""
    config = model.config
    if weights != "float32":
        raise InputError("gradient steps on the whole network are in float32; take --learn head, or --weights float32")
    if config.adapts_architecture:
        raise InputError(
            "the adaptation of a search network changes its architecture too and cannot run on a device; train the "
            "cell it found (autometa train RUN) and export that run, or take --learn prototypes"
        )
    if not isinstance(config.inner.optimiser(config.learner), Adam) or not config.learner.inner_loop:
        raise InputError(
            f"a network learned by {config.learner.name} has no inner loop of Adam, which a device could run; take "
            "--learn prototypes or head"
        )


@dataclass
class Lines:
    """Lines of C, and the buffers that each one touches."""

    text: list[str] = field(default_factory=list)
    touched: list[list[Hashable]] = field(default_factory=list)

    def add(self, line: str, *buffers: Hashable) -> None:
        self.text.append(wrapped(f"    {line}"))
        self.touched.append(list(buffers))


Beside = tuple[str, Map]
"""`grad`, the gradient of a map; `again`, a map that the backward pass computes again."""


class Training:
    """What `network.c` of `--learn all` holds, of a graph whose ops each have their own ReLU."""

    def __init__(
        self,
        graph: Graph,
        values: Mapping[str, Tensor],
        second: Mapping[str, Tensor],
        batch: int,
        frozen: Tensor | None = None,
    ) -> None:
        """frozen: mean and variance of every normalisation, one behind the other, `[2, channels]`; None where the batch
        has its own."""
        self.graph, self.batch, self.frozen = graph, batch, frozen
        names = {name: (name, piece.of(values), piece.of(second)) for name, piece in graph.pieces.items()}
        for norm in graph.norms():
            for role in ("gamma", "beta"):
                entry = f"{norm.name}bn_{role}"
                if entry in values:
                    names[entry] = (identifier(entry), values[entry], second[entry])
        self.offsets: dict[str, int] = {}
        total = 0
        for key, (_, value, _) in names.items():
            self.offsets[key] = total
            total += value.numel()
        self.names = {key: name for key, (name, _, _) in names.items()}
        self.counts = {key: value.numel() for key, (_, value, _) in names.items()}
        self.start = torch.cat([value.flatten() for _, value, _ in names.values()]).float()
        self.second = torch.cat([value.flatten() for _, _, value in names.values()]).float()
        self.firsts: dict[str, int] = {}
        self.channels = 0
        for norm in graph.norms():
            self.firsts[norm.name] = self.channels
            self.channels += norm.result.channels
        self.forward, self.backward = Lines(), Lines()
        self.written: set[Beside] = set()
        self.again: set[Map] = set()
        self.ops: dict[str, str] = {}
        self._forward()
        self._backward()

    @property
    def memory(self) -> Placed:
        """Of the buffers of a batch."""
        touched = [[self.graph.picture], *self.forward.touched, *self.backward.touched]
        buffers = {buffer for one in touched for buffer in one}
        sizes = {b: self.batch * (b if isinstance(b, Map) else b[1]).size for b in buffers}
        return placed(lives(touched, sizes))

    @property
    def scratch(self) -> int:
        """Values of the largest gradient of one op, or of the moments of one map."""
        convs = [step for step in self.graph.instructions if isinstance(step, Conv)]
        sizes = [self.counts[step.weight] + (step.outs if step.bias else 0) for step in convs]
        return max([self.graph.features + 1, *sizes, *(2 * m.channels for m in self.graph.maps())])

    @property
    def macs(self) -> int:
        """Of one step on one picture: forward, forward again, and two products backward."""
        return 4 * self.graph.macs

    def fills(self) -> dict[str, str]:
        memory = self.memory
        places = "\n".join(f"    {_place(b)} = {at}," for b, at in sorted(memory.offsets.items(), key=lambda i: i[1]))
        parameters = "\n".join(f"    {_parameter(self.names[key])} = {at}," for key, at in self.offsets.items())
        return {
            "PLACES": f"enum {{\n{places}\n}};\n",
            "PARAMETERS": f"enum {{\n{parameters}\n}};\n",
            "SIZES_OF_OPS": "\n".join(self.ops.values()) + "\n",
            "FORWARD": "\n".join(self.forward.text),
            "BACKWARD": "\n".join(self.backward.text),
            "PICTURE_AT": str(memory.offsets[self.graph.picture]),
            "ARENA": str(memory.size),
            **(BY_BATCH if self.frozen is None else BY_FROZEN),
        }

    def constants(self) -> dict[str, Tensor]:
        """By their names in C."""
        made = {"am_body_start": self.start, "am_body_second": self.second}
        return made if self.frozen is None else made | {"am_mean": self.frozen[0], "am_variance": self.frozen[1]}

    def _at(self, entry: str) -> str:
        return f"body + {_parameter(self.names[entry])}"

    def _affine(self, norm: Norm) -> list[str]:
        """Pointers to gamma and beta."""
        entries = [f"{norm.name}bn_{role}" for role in ("gamma", "beta")]
        return [self._at(entry) if entry in self.offsets else "NULL" for entry in entries]

    def _sizes(self, step: Conv | Pool) -> str:
        """The name of the sizes of an op, which are written down."""
        name = f"SIZES_{(step.weight if isinstance(step, Conv) else step.result.name).upper()}"
        sizes = conv_sizes(step) if isinstance(step, Conv) else pool_sizes(step)
        kind, _, rest = sizes.partition(" s = ")
        self.ops[name] = f"/* {step.source} -> {step.result} */\nstatic const {kind} {name} = {rest};"
        return f"&{name}"

    def _forward(self) -> None:
        out = self.forward
        for span in self.graph.spans:
            out.add(f"/* {span[-1].result.name}: {span[-1].result} */")
            for step in span:
                self._run(step, out, True)
        offset = 0
        for m in self.graph.outputs:
            width = m.size if self.graph.flatten else m.channels
            call = (
                f"am_copy({{x}}, {m.size}, {{y}});"
                if self.graph.flatten
                else (f"am_means({{x}}, {m.height * m.width}, {m.channels}, {{y}});")
            )
            line = call.format(x=f"{_arena(m)} + i * {m.size}", y=f"features + i * {self.graph.features} + {offset}")
            out.add(f"for (int i = 0; i < n; i++)\n        {line}", m)
            offset += width

    def _here(self, m: Map) -> Map | Beside:
        """Where the backward pass reads a map."""
        return ("again", m) if m in self.again else m

    def _run(self, step: Instruction, out: Lines, first: bool) -> None:
        """One op forward; first: not again in the backward pass, where the batch's statistics are known."""
        y = self._here(step.result)
        if isinstance(step, Zero):
            out.add(f"am_zero({_arena(y)}, n * {step.result.size});", y)
            return
        x, size = self._here(step.source), step.source.size
        if isinstance(step, Conv):
            function = "am_depthwise_all" if step.depthwise else "am_conv_all"
            bias = self._at(step.bias) if step.bias else "NULL"
            place = f"{_arena(y)} + {step.offset}" if step.offset else _arena(y)
            line = f"{function}(n, {self._sizes(step)}, {_arena(x)}, {self._at(step.weight)}, {bias}, {place});"
        elif isinstance(step, Pool):
            line = f"am_{step.kind}_pool_all(n, {self._sizes(step)}, {_arena(x)}, {_arena(y)});"
        elif isinstance(step, Relu):
            line = f"am_relu({_arena(x)}, n * {size}, {_arena(y)});"
        elif isinstance(step, Scaled):
            line = f"am_scaled({_arena(x)}, n * {size}, {literal(step.scale)}, {int(step.add)}, {_arena(y)});"
        else:
            line = self._normalised(step, first, x, y)
        out.add(line, x, y)

    def _normalised(self, step: Norm, first: bool, x: Map | Beside, y: Map | Beside) -> str:
        gamma, beta = self._affine(step)
        pixels, channels = step.source.height * step.source.width, step.source.channels
        at, number = self.firsts[step.name], list(self.firsts).index(step.name)
        rest = f"{gamma}, {beta}, {literal(step.scale)}, {int(step.add)}, {_arena(y)}"
        if first and self.frozen is None:
            call = f"am_normalise(m, n, how, {number}, {at}, {pixels}, {channels}, {literal(step.eps)}"
            return f"if ({call}, {_arena(x)}, {rest}))\n        return;"
        what = f"{_arena(x)}, n * {pixels}, {channels}, mean + {at}, variance + {at}, {literal(step.eps)}"
        return f"am_norm({what}, {rest});"

    def _backward(self) -> None:
        out, offset = self.backward, 0
        for m in self.graph.outputs:
            self._begin(m)
            for_each = "for (int i = 0; i < n; i++)\n        "
            grad = f"m->grad_features + i * {self.graph.features} + {offset}"
            to = f"{_arena(('grad', m))} + i * {m.size}"
            if self.graph.flatten:
                out.add(f"{for_each}am_scaled({grad}, {m.size}, 1.0f, 1, {to});", ("grad", m))
                offset += m.size
            else:
                out.add(f"{for_each}am_means_back({grad}, {m.height * m.width}, {m.channels}, {to});", ("grad", m))
                offset += m.channels
        for span in reversed(self.graph.spans):
            outward = span[-1].result
            if ("grad", outward) not in self.written:
                continue
            out.add(f"/* {outward.name}: {outward} */")
            self.again = {step.result for step in span if step.result != outward}
            for step in span:
                if step.result != outward:
                    self._run(step, out, False)
            for step in reversed(span):
                self._back(step)

    def _begin(self, m: Map) -> None:
        """The gradient of a map begins at 0 where nothing was added to it yet."""
        grad = ("grad", m)
        if grad not in self.written:
            self.written.add(grad)
            self.backward.add(f"am_zero({_arena(grad)}, n * {m.size});", grad)

    def _back(self, step: Instruction) -> None:
        if isinstance(step, Zero):
            return
        out, x, gy = self.backward, step.source, ("grad", step.result)
        if isinstance(step, Norm):
            self._norm_back(step)
            return
        if isinstance(step, Conv):
            self._conv_back(step)
            return
        self._begin(x)
        gx, here = ("grad", x), self._here(x)
        if isinstance(step, Pool):
            sizes = self._sizes(step)
            call = f"am_{step.kind}_pool_back(n, {sizes}, {_arena(here)}, {_arena(gy)}, {_arena(gx)});"
            out.add(call, here, gy, gx)
        elif isinstance(step, Relu):
            out.add(f"am_relu_back({_arena(here)}, {_arena(gy)}, n * {x.size}, {_arena(gx)});", here, gy, gx)
        else:
            out.add(f"am_scaled({_arena(gy)}, n * {x.size}, {literal(step.scale)}, 1, {_arena(gx)});", gy, gx)

    def _norm_back(self, step: Norm) -> None:
        x, gy, gx = step.source, ("grad", step.result), ("grad", step.source)
        self.written.add(gx)
        gamma, beta = self._affine(step)
        pixels, channels, at = x.height * x.width, x.channels, self.firsts[step.name]
        grads = ["m->grad" if gamma != "NULL" else "NULL", f"m->grad + {channels}" if beta != "NULL" else "NULL"]
        here = self._here(x)
        what = (
            f"{_arena(here)}, {_arena(gy)}, n * {pixels}, {channels}, mean + {at}, variance + {at}, {literal(step.eps)}"
        )
        line = f"am_norm_back({what}, {gamma}, {literal(step.scale)}, {_arena(gx)}, {', '.join(grads)});"
        self.backward.add(line, here, gy, gx)
        for pointer, grad in zip((gamma, beta), grads, strict=True):
            if pointer != "NULL":
                self._adam(pointer, grad, channels)

    def _conv_back(self, step: Conv) -> None:
        out, x, gy = self.backward, step.source, ("grad", step.result)
        function = "am_depthwise" if step.depthwise else "am_conv"
        sizes, weight, count = self._sizes(step), self._at(step.weight), self.counts[step.weight]
        grad = f"{_arena(gy)} + {step.offset}" if step.offset else _arena(gy)
        if x != self.graph.picture:
            self._begin(x)
            gx = ("grad", x)
            out.add(f"{function}_back(n, {sizes}, {grad}, {weight}, {_arena(gx)});", gy, gx)
        bias = f"m->grad + {count}" if step.bias else "NULL"
        out.add(f"am_zero(m->grad, {count + (step.outs if step.bias else 0)});")
        here = self._here(x)
        out.add(f"{function}_grad(n, {sizes}, {_arena(here)}, {grad}, m->grad, {bias});", here, gy)
        self._adam(weight, "m->grad", count)
        if step.bias:
            self._adam(self._at(step.bias), bias, step.outs)

    def _adam(self, pointer: str, grad: str, count: int) -> None:
        second = pointer.replace("body", "m->second", 1)
        self.backward.add(f"am_step({pointer}, {second}, {grad}, {count}, correction);")


def _place(buffer: Map | Beside) -> str:
    return place_name(buffer) if isinstance(buffer, Map) else f"{buffer[0].upper()}_{buffer[1].name.upper()}"


def _arena(buffer: Map | Beside) -> str:
    return f"arena + {_place(buffer)}"


def _parameter(name: str) -> str:
    return f"IN_{name.upper()}"
