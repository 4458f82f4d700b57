"""Items 1 and 2: single operations, and the weighted sum of seven."""

from __future__ import annotations

import numpy as np
import torch

from autometa.ops import PRIMITIVES, mixed_op
from autometa.ops.primitives import aligned
from tests.golden.fixture import Engine, Fixture, Group, Unit, UsageError, gradients, pack, running


def primitive_units(fixture: Fixture, engine: Engine) -> list[Unit]:
    """One unit per case of `primitive_<name>.npz`."""
    name = fixture.name.removeprefix("primitive_")
    if name not in PRIMITIVES:
        raise UsageError(f"{fixture.path}: {name!r} is no primitive; known: {', '.join(PRIMITIVES)}")
    return [_primitive_case(fixture, engine, name, case) for case in fixture.first_parts()]


def mixed_units(fixture: Fixture, engine: Engine) -> list[Unit]:
    """Two units per case of `mixed_op.npz`: all operations, and those above the threshold."""
    names = fixture.text("primitives")
    unknown = [name for name in names if name not in PRIMITIVES]
    if unknown:
        raise UsageError(f"{fixture.path}: {unknown[0]!r} is no primitive; known: {', '.join(PRIMITIVES)}")
    units = []
    for case in fixture.first_parts():
        units += _mixed_case(fixture, engine, names, case)
    return units


def stride_of(fixture: Fixture, case: str) -> int:
    """Stride of a case `s<stride>_n<size>`."""
    parts = case.split("_")
    if len(parts) != 2 or parts[0][:1] != "s" or not parts[0][1:].isdigit() or parts[1][:1] != "n":
        raise UsageError(f"{fixture.path}: {case!r} is no case of the form s<stride>_n<size>")
    return int(parts[0][1:])


def _primitive_case(fixture: Fixture, engine: Engine, name: str, case: str) -> Unit:
    stride, primitive = stride_of(fixture, case), PRIMITIVES[name]
    x, gy = fixture[f"{case}/x"], fixture[f"{case}/gy"]
    roles = [p.role for p in primitive.parameters(x.shape[1], stride, False)]
    values = {role: fixture[f"{case}/param/{role}"] for role in roles}
    stages = primitive.stages(stride)
    prefixes = ["bn"] if stages == 1 else [f"stage{k}_bn" for k in range(stages)]
    after = [f"after/{prefix}_running_{what}" for prefix in prefixes for what in ("mean", "var")]

    def compute():
        leaves = {role: engine.leaf(value) for role, value in values.items()}
        image = engine.leaf(x)
        one = torch.ones(1, 1, dtype=engine.dtype, device=engine.device)
        table = torch.tensor([[[0, 0, primitive.code, stride, 0]]], device=engine.device)
        params = pack(list(leaves.values())) if leaves else one.new_zeros(1, 16)
        y, statistics = mixed_op([image[None]], params, one, one, table, want_statistics=True)
        found = {"y": y[0], "param_order": np.array(roles, dtype=str)}
        dx, *rest = gradients(y[0], engine.tensor(gy), [image, *leaves.values()])
        found |= {"dx": dx} | {f"dparam/{role}": g for role, g in zip(roles, rest, strict=True)}
        count = y.numel() // y.shape[2]
        for stage, prefix in enumerate(prefixes):
            mean, variance = running(*statistics[0, 0, stage], count)
            found |= {f"after/{prefix}_running_mean": mean, f"after/{prefix}_running_var": variance}
        return found

    keys = {"param_order": ["param_order"], "y": ["y"], "dx": ["dx"], "dparam": [f"dparam/{r}" for r in roles]}
    return Unit(case, compute, _groups(fixture, case, keys | {"after": after}))


def _groups(fixture: Fixture, case: str, keys: dict[str, list[str]]) -> tuple[Group, ...]:
    return tuple(
        Group(name, {key: fixture[f"{case}/{key}"] for key in found}, "primitive")
        for name, found in keys.items()
        if found
    )


def _mixed_case(fixture: Fixture, engine: Engine, names: list[str], case: str) -> list[Unit]:
    stride = stride_of(fixture, case)
    x, gy, w = (fixture[f"{case}/{key}"] for key in ("x", "gy", "w"))
    rows, shapes, offset = [], [], 0
    for k, name in enumerate(names):
        rows.append([0, 0, PRIMITIVES[name].code, stride, offset])
        for p in PRIMITIVES[name].parameters(x.shape[1], stride, False):
            shapes.append(f"op{k}_{name}/{p.role}")
            offset += aligned(p.size)
    values = {key: fixture[f"{case}/param/{key}"] for key in shapes}
    threshold = fixture[f"{case}/pruned/threshold"]

    def evaluate(pruned: bool):
        leaves = [engine.leaf(value) for value in values.values()]
        image, weight = engine.leaf(x), engine.leaf(w)
        used = weight
        if pruned:
            used = torch.where(weight > engine.tensor(threshold), weight, torch.zeros_like(weight))
        table = torch.tensor([rows], device=engine.device)
        one = torch.ones(1, 1, dtype=engine.dtype, device=engine.device)
        y, _ = mixed_op([image[None]], pack(leaves), used[None], one, table)
        dx, dw, *rest = gradients(y[0], engine.tensor(gy), [image, weight, *leaves])
        found = {"y": y[0], "dx": dx, "dw": dw, "param_order": np.array(shapes, dtype=str)}
        return found | {f"dparam/{key}": g for key, g in zip(shapes, rest, strict=True)}

    keys = {"param_order": ["param_order"]} | {k: [k] for k in ("y", "dx", "dw")}
    everything = _groups(fixture, case, keys | {"dparam": [f"dparam/{key}" for key in shapes]})
    remaining = _groups(fixture, f"{case}/pruned", {k: [k] for k in ("y", "dx", "dw")})
    return [
        Unit(case, lambda: evaluate(False), everything),
        Unit(f"{case}/pruned", lambda: evaluate(True), remaining),
    ]
