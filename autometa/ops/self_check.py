"""What the Triton kernels compute on this device beside the float64 reference there, on small cases of every op.

A driver, a card or a Triton that miscompiles one op must not spoil a run: that op is left to the reference. What was
found is kept by device, driver and versions, so that a device is asked once.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autometa._version import __version__
from autometa.ops import backend
from autometa.ops._triton import cache_folder
from autometa.ops.conv_block import ConvBlock, conv_block
from autometa.ops.cross_entropy import cross_entropy
from autometa.ops.linear_head import head_parameters, linear_head
from autometa.ops.mixed_op import mixed_op
from autometa.ops.preprocess import preprocess, preprocess_parameters
from autometa.ops.primitives import PRIMITIVES, aligned
from autometa.ops.share import share
from autometa.ops.split_columns import split_columns

FAR = {"fp32": 1e-3, "tf32": 0.05, "bf16": 0.2}
"""How far a result may be from the reference, by the norm of the difference over that of the result: a few times what
rounding gives in each mode (docs/performance.md); what is miscompiled is further."""
SLOTS, BATCH = 2, 3
Run = Callable[[list[Tensor], str], list[Tensor]]
"""From the tensors that have gradients and a backend's name to outputs."""


class Case:
    """One call of an op: shapes of its tensors, and what calls it; values are alike for all devices."""

    def __init__(self, shapes: list[tuple[int, ...]], run: Run, positive: tuple[int, ...] = (), seed: int = 0) -> None:
        self.shapes, self.run, self.positive, self.seed = shapes, run, positive, seed

    def results(self, device: torch.device, dtype: torch.dtype, name: str) -> list[Tensor]:
        """Outputs, then gradients of every tensor, in float64."""
        drawn = torch.Generator().manual_seed(self.seed)
        leaves = [torch.randn(shape, generator=drawn) for shape in self.shapes]
        leaves = [x.abs() + 0.1 if k in self.positive else x for k, x in enumerate(leaves)]
        leaves = [x.to(device, dtype).requires_grad_(True) for x in leaves]
        outputs = self.run(leaves, name)
        incoming = [torch.randn(y.shape, generator=drawn).to(device, dtype) for y in outputs]
        grads = torch.autograd.grad(outputs, leaves, incoming, allow_unused=True)
        found = [*outputs, *(torch.zeros_like(x) if g is None else g for g, x in zip(grads, leaves, strict=True))]
        return [x.detach().double() for x in found]


def _width(parameters: Any) -> int:
    return sum(aligned(p.size) for p in parameters)


def _node(names: tuple[str, ...], channels: int, size: int, stride: int, affine: bool = False) -> Case:
    """Each primitive once from a state with the stride and once from one without."""
    rows, offset, out = [], 0, -(-size // stride)
    for edge, step in ((0, stride), (1, 1)):
        for name in names:
            rows.append([edge, edge, PRIMITIVES[name].code, step, offset])
            offset += _width(PRIMITIVES[name].parameters(channels, step, affine))
    table, count = torch.tensor([rows]), len(rows)
    shapes = [
        (SLOTS, BATCH, channels, size, size),
        (SLOTS, BATCH, channels, out, out),
        (SLOTS, max(offset, 16)),
        (SLOTS, count),
        (SLOTS, 2),
    ]

    def run(x: list[Tensor], name: str) -> list[Tensor]:
        return [mixed_op(x[:2], 0.5 * x[2], x[3], x[4], table, affine=affine, backend=name)[0]]

    return Case(shapes, run, positive=(3, 4))


def _preparation(reduce: bool, affine: bool) -> Case:
    def run(x: list[Tensor], name: str) -> list[Tensor]:
        return [preprocess(x[:2], x[2], 6, reduce=reduce, affine=affine, backend=name)[0]]

    return Case([*[(SLOTS, BATCH, 5, 7, 6)] * 2, (SLOTS, _width(preprocess_parameters(10, 6, reduce, affine)))], run)


def _block(size: int, block: ConvBlock) -> Case:
    def run(x: list[Tensor], name: str) -> list[Tensor]:
        return [conv_block(x[0], x[1], block, backend=name)[0]]

    return Case([(SLOTS, BATCH, block.c_in, size, size), (SLOTS, _width(block.parameters()))], run)


def _head(flatten: bool) -> Case:
    features = 5 * 12 if flatten else 5

    def run(x: list[Tensor], name: str) -> list[Tensor]:
        return [linear_head(x[:1], x[1], 7, flatten=flatten, backend=name)]

    return Case([(SLOTS, BATCH, 5, 3, 4), (SLOTS, _width(head_parameters(features, 7)))], run)


def _entropy(classes: int) -> Case:
    def run(x: list[Tensor], name: str) -> list[Tensor]:
        labels = (torch.arange(SLOTS * BATCH, device=x[0].device) % classes).view(SLOTS, BATCH)
        return [cross_entropy(x[0], labels, backend=name)]

    return Case([(SLOTS, BATCH, classes)], run)


def _sharing(readers: int) -> Case:
    return Case([(SLOTS, BATCH, 5, 4, 3)], lambda x, name: [*share(2 * x[0], readers, backend=name)])


def _columns(widths: list[int]) -> Case:
    return Case([(SLOTS, sum(widths))], lambda x, name: [*split_columns(2 * x[0], widths, backend=name)])


_POOLS = ("max_pool_3x3", "avg_pool_3x3", "skip_connect")
_SEPARABLE = ("sep_conv_3x3", "dil_conv_3x3")
_FULL = ("conv_1x5_5x1", "conv_3x3")
CASES: dict[str, list[Case]] = {
    "mixed_op": [
        *(_node(names, 5, 6, stride) for names in (_POOLS, _SEPARABLE, _FULL) for stride in (1, 2)),
        _node(_POOLS + _SEPARABLE + _FULL, 28, 9, 1),
        _node(_SEPARABLE, 5, 5, 1, affine=True),
    ],
    "preprocess": [_preparation(reduce, affine) for reduce in (False, True) for affine in (False, True)],
    "conv_block": [
        _block(7, ConvBlock(1, 6)),
        _block(6, ConvBlock(8, 6, stride=2, padding="same", bias=True, relu=True)),
        _block(7, ConvBlock(6, 6, padding="same", bias=True, relu=True, pool=True)),
    ],
    "linear_head": [_head(False), _head(True)],
    "cross_entropy": [_entropy(5), _entropy(20)],
    "share": [_sharing(2), _sharing(3)],
    "split_columns": [_columns([16, 48, 32]), _columns([1040, 16])],
}
Table = dict[str, dict[str, str | None]]
"""Op -> mode -> why its kernels are not to be trusted, None where they passed."""


def check(op: str, device: torch.device, mode: str) -> str | None:
    """Why the op's Triton kernels are not to be trusted on this device in a mode, or None."""
    for number, case in enumerate(CASES[op]):
        try:
            expected = case.results(device, torch.float64, "reference")
            with backend.precision(mode):
                found = case.results(device, torch.float32, "triton")
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever a compiler or a driver says is the answer
            return f"case {number + 1} fails: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        off = max(map(_distance, found, expected))
        if not off <= FAR[mode]:
            return f"case {number + 1} is {off:.1e} from the reference, at most {FAR[mode]:.0e} is rounding"
    return None


def _distance(found: Tensor, expected: Tensor) -> float:
    if found.shape != expected.shape:
        return float("inf")
    return float((found - expected).norm() / expected.norm().clamp_min(1e-3))


def work(device: torch.device, mode: str) -> Iterator[None]:
    """The kernels' calls of all cases, one after another: what is to be compiled before them."""
    with backend.precision(mode):
        for cases in CASES.values():
            for case in cases:
                case.results(device, torch.float32, "triton")
                yield


def about(device: torch.device) -> dict[str, Any]:
    """What a result holds for."""
    import triton

    versions = {"autometa": __version__, "torch": torch.__version__, "triton": triton.__version__}
    if device.type != "cuda":
        return {"device": device.type, **versions}
    at = torch.cuda.get_device_properties(device)
    return {"device": at.name, "capability": f"{at.major}.{at.minor}", "driver": _driver(), **versions}


def _driver() -> str:
    with suppress(OSError):
        return Path("/sys/module/nvidia/version").read_text(encoding="utf-8").strip()
    return "unknown"


def _place(device: torch.device) -> Path | None:
    folder, _ = cache_folder()
    name = hashlib.sha256(json.dumps(about(device), sort_keys=True).encode()).hexdigest()[:24]
    return None if folder is None else folder / "self-check" / f"{name}.json"


def known(device: torch.device) -> Table:
    """What was found before, of this device, driver and versions."""
    place = _place(device)
    with suppress(OSError, ValueError, AttributeError, TypeError, KeyError):
        found = json.loads(place.read_text(encoding="utf-8"))["table"]
        if all(isinstance(row, dict) and set(row) <= set(FAR) for row in found.values()):
            return found
    return {}


def keep(device: torch.device, table: Mapping[str, Mapping[str, str | None]]) -> None:
    """Write it down, where anything can be written."""
    place = _place(device)
    if place is None:
        return
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=place.parent, delete=False, encoding="utf-8") as file:
            json.dump({"about": about(device), "table": table}, file, indent=1)
        os.replace(file.name, place)


def examined(device: torch.device, modes: tuple[str, ...]) -> Table:
    """The table of these modes; what is not known yet is found out now, and kept."""
    table = {op: dict(row) for op, row in known(device).items()}
    due = [(op, mode) for op in CASES for mode in modes if mode not in table.get(op, {})]
    for op, mode in due:
        table.setdefault(op, {})[mode] = check(op, device, mode)
    if due:
        keep(device, table)
    return table


def trust(device: torch.device, mode: str, told: Callable[[str], None]) -> Table:
    """Leave to the reference what does not pass in a mode, after one notice; the table."""
    table = examined(device, (mode,))
    failed = {op: reason for op, row in table.items() if (reason := row.get(mode))}
    for op, reason in failed.items():
        backend.distrust(op, "triton", mode, f"its kernels do not pass the self-check here: {reason}")
    if failed:
        name = about(device)["device"]
        reasons = "; ".join(f"{op}: {reason}" for op, reason in failed.items())
        told(f"kernels that compute wrongly on {name} give way to the reference ({reasons}); see: autometa doctor")
    return table
