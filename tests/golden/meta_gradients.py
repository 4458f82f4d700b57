"""Item 9: MAML, FOMAML and ANIL; every task is a slot."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from autometa.meta.maml import WholeSet, meta_gradient
from autometa.nas.networks.conv_network import ConvNetwork
from autometa.ops import ConvBlock, cross_entropy
from tests.golden.fixture import NO_OPS, Engine, Fixture, Group, Unit, UsageError

Variant = tuple[bool, bool]
VARIANTS = {"maml": (True, False), "fomaml": (False, False), "anil": (True, True), "anil_first_order": (False, True)}
"""Whether the gradient is exact, and whether the inner loop changes the head alone."""
SECOND_ORDER = "it asks for a second derivative"


def units(fixture: Fixture, engine: Engine) -> list[Unit]:
    """One unit per algorithm that the file holds."""
    return _MetaGradients(fixture, engine).units()


class _MetaGradients:
    def __init__(self, fixture: Fixture, engine: Engine) -> None:
        self.fixture, self.engine = fixture, engine
        self.norm = fixture.name.endswith("_bn")
        self.tasks = sorted({part for part in fixture.first_parts() if part.startswith("task")})
        if not self.tasks:
            raise UsageError(f"{fixture.path}: holds no task")
        self.data = {
            key: np.stack([fixture[f"{task}/{key}"] for task in self.tasks])
            for key in ("x_support", "y_support", "x_query", "y_query")
        }
        self.lr, self.steps = fixture.number("inner_lr"), fixture.number("inner_steps")
        self.network = self._network()
        self.names = {_golden_name(e.name): e.name for e in self.network.layout.entries}
        self.params = {name: fixture[f"param/{name}"] for name in self.names}

    def _network(self) -> ConvNetwork:
        shapes = self.fixture["param/conv1_weight"].shape, self.fixture["param/conv2_weight"].shape
        settings = dict(norm=True, pool=True) if self.norm else dict(norm=False, stride=2)
        blocks = tuple(ConvBlock(s[1], s[0], kernel=s[2], bias=True, relu=True, **settings) for s in shapes)
        return ConvNetwork(blocks, self.fixture["param/head_bias"].shape[0], self.data["x_support"].shape[2:])

    def units(self) -> list[Unit]:
        order = {"param_order": np.array(list(self.names), dtype=str)}
        group = Group("param_order", {"param_order": self.fixture["param_order"]}, "exact")
        found = [Unit("settings", lambda: order, (group,), NO_OPS)]
        return found + [self._unit(name, variant) for name, variant in VARIANTS.items()]

    def _unit(self, name: str, variant: Variant) -> Unit:
        keys = {
            "support losses": ["support_losses"],
            "query": ["query_logits", "query_loss"],
            "adapted": [],
            "meta-gradient": [f"meta_grad/{p}" for p in self.names],
        }
        stored = f"{self.tasks[0]}/{name}/adapted1/head_bias" in self.fixture
        steps = range(1, self.steps + 1) if stored or variant[0] else ()
        adapted = [p for p in self.names if not variant[1] or p.startswith("head")]
        keys["adapted"] = [f"adapted{t}/{p}" for t in steps for p in adapted]
        zero = (
            frozenset(f"{t}/meta_grad/conv{k}_bias" for t in self.tasks for k in (1, 2)) if self.norm else frozenset()
        )
        groups = tuple(
            Group(
                group,
                {f"{t}/{key}": self.fixture[f"{t}/{name}/{key}"] for t in self.tasks for key in found},
                "meta-gradient",
                zero,
            )
            for group, found in keys.items()
            if found
        )
        reason = SECOND_ORDER if variant[0] else None
        return Unit(name, partial(self.compute, variant, tuple(steps)), groups, reason)

    def compute(self, variant: Variant, steps: tuple[int, ...]) -> dict[str, Tensor]:
        data = {key: self.engine.tensor(value) for key, value in self.data.items()}
        values = {ours: torch.from_numpy(self.params[name]) for name, ours in self.names.items()}
        row = self.network.layout.pack(values, torch.float64).to(self.engine.device, self.engine.dtype)
        phi = row.expand(len(self.tasks), -1).contiguous()

        second_order, head_alone = variant
        mask = self.network.layout.columns("head").to(row.device, row.dtype) if head_alone else 1.0

        def run(count: int):
            return meta_gradient(
                lambda p, x, y, t: cross_entropy(self.network.logits(p, x), y),
                phi,
                WholeSet(data["x_support"], data["y_support"]),
                (data["x_query"], data["y_query"]),
                steps=count,
                lr=self.lr * mask,
                second_order=second_order,
            )

        whole = run(self.steps)
        logits = self.network.logits(whole.adapted, data["x_query"])
        rows = {f"adapted{t}": run(t).adapted for t in steps} | {"meta_grad": whole.gradient}
        found = {}
        for s, task in enumerate(self.tasks):
            found |= {f"{task}/support_losses": whole.support_losses[:, s], f"{task}/query_loss": whole.query_loss[s]}
            found[f"{task}/query_logits"] = logits[s]
            for prefix, value in rows.items():
                by_name = self.network.layout.unpack(value[s])
                found |= {f"{task}/{prefix}/{name}": by_name[ours] for name, ours in self.names.items()}
        return found


def _golden_name(ours: str) -> str:
    """`conv0.bn_gamma` -> `bn1_gamma`, `head.weight` -> `head_weight`."""
    block, role = ours.split(".")
    if block == "head":
        return f"head_{role}"
    sort, what = role.split("_")
    return f"{sort}{int(block.removeprefix('conv')) + 1}_{what}"
