"""Weights and activations in eight bits: scales calibrated on training pictures, and the same integers in PyTorch.

All values are symmetric, real value = scale * integer; weights have a scale for each output channel (Krishnamoorthi
2018, arXiv 1806.08342). Sums are int32; a multiplier of 31 bits and a shift bring them to the result's scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from autometa.brief import brief
from autometa.export.c.code import Writer
from autometa.export.c.folding import Folded
from autometa.export.c.graph import Affine, Conv, Graph, Map, Pool, Relu, Scaled, Zero
from autometa.export.c.running import convolved, pooled, run, weight_of, window_means

MOST = 127
PIXEL = 2 / 255
"""Scale of a picture: bytes lose their last bit."""
FRACTION = 16
"""Bits behind the point in factors of maps that are scaled as a whole."""


@brief
@dataclass(frozen=True)
class Quantised:
    """scales: of each map. constants: integers as the device reads them; kinds: their types in C."""

    graph: Graph
    scales: Mapping[Map, float]
    constants: Mapping[str, Tensor]
    kinds: Mapping[str, str]

    @classmethod
    def of(cls, folded: Folded, pictures: Tensor) -> Quantised:
        """pictures: uint8 `[n, C, H, W]` that the ranges are measured on."""
        with torch.no_grad():
            scales = _scales(folded, pictures.float() / 255)
        constants: dict[str, Tensor] = {}
        kinds: dict[str, str] = {}
        for step in folded.graph.instructions:
            for name, (kind, value) in _constants(step, folded.constants, scales).items():
                constants[name], kinds[name] = value, kind
        return cls(folded.graph, scales, constants, kinds)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Features `[n, F]` in the order of the device of uint8 `[n, C, H, W]`, as the C code computes them."""
        found: dict[Map, Tensor] = {self.graph.picture: images.long() >> 1}
        for step in self.graph.instructions:
            m = step.result
            before = found.get(m)
            if before is None:
                before = torch.zeros(len(images), m.channels, m.height, m.width, dtype=torch.int64)
            if isinstance(step, Zero):
                found[m] = before
                continue
            y = self._step(step, found[step.source])
            own = slice(getattr(step, "offset", 0), getattr(step, "offset", 0) + y.shape[1])
            value = before.clone()
            y = y + before[:, own] if getattr(step, "add", False) else y
            value[:, own] = y.clamp(0 if getattr(step, "relu", False) else -MOST, MOST)
            found[m] = value
        parts = []
        for m in self.graph.outputs:
            x, scale = found[m], torch.tensor(self.scales[m], dtype=torch.float32)
            if self.graph.flatten:
                parts.append(x.permute(0, 2, 3, 1).flatten(1) * scale)
            else:
                parts.append(x.sum(dim=(2, 3)) * (scale / (m.height * m.width)))
        return torch.cat(parts, dim=1).float()

    def _step(self, step, x: Tensor) -> Tensor:
        if isinstance(step, Conv):
            y = convolved(step, x.double(), weight_of(step, self.constants).double()).long()
            if step.bias is not None:
                y = y + self.constants[step.bias].long()[:, None, None]
            return _shifted(y, *(self.constants[name].long()[:, None, None] for name in _moved(step)))
        if isinstance(step, Pool):
            return _average(step, x) if step.kind == "average" else pooled(step, x.double()).long()
        if isinstance(step, Relu):
            return x.clamp(min=0)
        half = 1 << (FRACTION - 1)
        if isinstance(step, Affine):
            factor, shift = (self.constants[name].long()[:, None, None] for name in (step.factor, step.shift))
            return (x * factor + shift + half) >> FRACTION
        return (x * self.factor(step) + half) >> FRACTION

    def factor(self, step: Scaled) -> int:
        """What a whole map is multiplied by, with `FRACTION` bits behind the point."""
        return round(step.scale * self.scales[step.source] / self.scales[step.result] * (1 << FRACTION))


def _scales(folded: Folded, pictures: Tensor) -> dict[Map, float]:
    """The largest value of every map, with what was added up so far; what keeps integers as they are keeps scales."""
    found = {m: max(float(v.abs().max()) for v in values) or 1.0 for m, values in run(folded, pictures).items()}
    scales = {m: most / MOST for m, most in found.items()}
    scales[folded.graph.picture] = PIXEL
    for step in folded.graph.instructions:
        if isinstance(step, Relu | Pool):
            scales[step.result] = scales[step.source]
    return scales


def _moved(step: Conv) -> tuple[str, str]:
    """Names of the multipliers and shifts of a convolution."""
    return f"{step.weight}_multiplier", f"{step.weight}_shift"


def _constants(step, given: Mapping[str, Tensor], scales: Mapping[Map, float]) -> dict[str, tuple[str, Tensor]]:
    if isinstance(step, Conv):
        flat = given[step.weight].double()
        rows = flat.reshape(-1, step.outs).T if step.depthwise else flat.reshape(step.outs, -1)
        scale = (rows.abs().amax(dim=1) / MOST).clamp(min=1e-12)
        whole = (rows / scale[:, None]).round().clamp(-MOST, MOST)
        whole = whole.T if step.depthwise else whole
        source = scales[step.source]
        multiplier, shift = torch.frexp(source * scale / scales[step.result])
        moved = (multiplier * 2**31).round().clamp(max=2**31 - 1).long()
        names = _moved(step)
        found = {step.weight: ("int8_t", whole.flatten().long())}
        if step.bias:
            bias = (given[step.bias].double() / (source * scale)).round().clamp(-(2**31) + 1, 2**31 - 1)
            found[step.bias] = ("int32_t", bias.long())
        return found | {names[0]: ("int32_t", moved), names[1]: ("int8_t", (31 - shift.long()).clamp(1, 62))}
    if isinstance(step, Affine):
        to = scales[step.result]
        factor = given[step.factor].double() * scales[step.source] / to * (1 << FRACTION)
        shift = given[step.shift].double() / to * (1 << FRACTION)
        return {step.factor: ("int32_t", factor.round().long()), step.shift: ("int32_t", shift.round().long())}
    return {}


def _shifted(x: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """x * multiplier / 2^shift, rounded."""
    return (x * multiplier + (1 << (shift - 1))) >> shift


def _average(step: Pool, x: Tensor) -> Tensor:
    """Rounded away from 0 at one half."""
    area = step.kernel**2
    total, count = (window_means(step, v) * area for v in (x.double(), torch.ones_like(x, dtype=torch.float64)))
    total, count = total.round().long(), count.round().long()
    return total.sign() * ((2 * total.abs() + count) // (2 * count))


class IntegerWriter(Writer):
    """Writes the forward pass in eight bits."""

    kind = "int8_t"
    suffix = "_int8"

    def __init__(self, quantised: Quantised) -> None:
        super().__init__(quantised.graph)
        self.quantised = quantised

    def conv(self, step: Conv) -> str:
        return f"{super().conv(step)}, {', '.join(_moved(step))}"

    def affine(self, step: Affine) -> str:
        return super().affine(step).replace("am_affine(", "am_affine_int8(", 1)

    def scaled(self, step: Scaled) -> str:
        what = f"{step.result.size}, {self.quantised.factor(step)}, {int(step.add)}"
        return f"am_scaled_int8({self.at(step.source)}, {what}, {self.at(step.result)});"

    def output(self, m: Map, features: str) -> str:
        scale = self.quantised.scales[m]
        if self.graph.flatten:
            return f"am_values_int8({self.at(m)}, {m.size}, {scale:.9g}f, {features});"
        each = scale / (m.height * m.width)
        return f"am_means_int8({self.at(m)}, {m.height * m.width}, {m.channels}, {each:.9g}f, {features});"
