"""Items 7 and 8: the Reptile update and Adam, on an arena of one group or one slot."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from autometa.ops import Rows, adam_, reptile_
from tests.golden.fixture import Engine, Fixture, Group, Unit, UsageError


def _rows(slots: int, row: int, device: str) -> Rows:
    """Those of an arena whose rows are weights alone."""
    zeros = torch.zeros(slots, dtype=torch.int64, device=device)
    return Rows(torch.tensor([[0, row]], device=device), zeros, zeros.clone())


def reptile_units(fixture: Fixture, engine: Engine) -> list[Unit]:
    """One unit per step size."""
    theta, phi = fixture["theta"], fixture["phi"]
    names = fixture.under("theta_new/")
    if not names:
        raise UsageError(f"{fixture.path}: the arrays theta_new/<step size> are missing")

    def compute(name: str) -> dict[str, Tensor]:
        moved = engine.tensor(theta)[None].clone()
        slots, row = phi.shape
        size = torch.tensor([[float(name)]], dtype=torch.float64, device=engine.device)
        finite = torch.ones(slots, dtype=torch.bool, device=engine.device)
        reptile_(moved, engine.tensor(phi), size, finite, _rows(slots, row, engine.device))
        return {"theta_new": moved[0]}

    return [
        Unit(
            f"step size {name}",
            partial(compute, name),
            (Group("theta", {"theta_new": fixture[f"theta_new/{name}"]}, "vector"),),
        )
        for name in names
    ]


def adam_units(fixture: Fixture, engine: Engine) -> list[Unit]:
    """One unit per weight decay."""
    p0, grads = fixture["p0"], fixture["grads"]
    lr, beta1, beta2, eps = (fixture.number(key) for key in ("lr", "beta1", "beta2", "eps"))

    def compute(decay: float) -> dict[str, Tensor]:
        phi = engine.tensor(p0)[None].clone()
        first, second = torch.zeros_like(phi), torch.zeros_like(phi)
        steps = torch.zeros(1, 1, dtype=torch.int64, device=engine.device)
        rate, wd = (torch.tensor([[v]], dtype=torch.float64, device=engine.device) for v in (lr, decay))
        rows = _rows(1, phi.shape[1], engine.device)
        kept = {"p": [], "m": [], "v": []}
        for grad in engine.tensor(grads):
            adam_(
                phi,
                grad[None].contiguous(),
                second,
                steps,
                rate,
                wd,
                rows,
                first=first,
                beta1=beta1,
                beta2=beta2,
                eps=eps,
            )
            for key, value in zip(kept, (phi, first, second), strict=True):
                kept[key].append(value[0].clone())
        return {key: torch.stack(values) for key, values in kept.items()}

    found = []
    for case in fixture.first_parts():
        decay = fixture.number(f"{case}/weight_decay")
        expected = {key: fixture[f"{case}/{key}"] for key in ("p", "m", "v")}
        groups = tuple(Group(key, {key: value}, "vector") for key, value in expected.items())
        found.append(Unit(case, partial(compute, decay), groups))
    return found
