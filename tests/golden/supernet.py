"""Item 4: the whole search network."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
import torch

from autometa.nas.one_shot.network import OneShotNetwork
from autometa.ops import PRIMITIVES, cross_entropy
from autometa.ops.folding import cat_channels
from tests.golden.fixture import NO_OPS, Engine, Fixture, Group, Unit, UsageError
from tests.golden.names import Parameter, logit_names, network_parameters

UNDERFLOW = 1e-30


def units(fixture: Fixture, engine: Engine) -> list[Unit]:
    """One unit per case."""
    return _SearchNetwork(fixture, engine).units()


class _SearchNetwork:
    def __init__(self, fixture: Fixture, engine: Engine) -> None:
        self.fixture, self.engine = fixture, engine
        primitives = tuple(fixture.text("primitives"))
        if any(name not in PRIMITIVES for name in primitives):
            raise UsageError(f"{fixture.path}: 'primitives' names an unknown primitive")
        self.x, self.y = fixture["x"], fixture["y"]
        self.network = OneShotNetwork(
            channels=fixture.number("init_channels"),
            ways=fixture["param/net.linear.bias"].shape[0],
            image_shape=self.x.shape[1:],
            cells=fixture.number("n_layers"),
            reductions=tuple(fixture["reduction_layers"].tolist()),
            nodes=fixture.number("n_nodes"),
            primitives=primitives,
            pairwise=not fixture.name.endswith("_plain"),
        )
        self.weights = network_parameters(self.network.network, search=True)
        self.logits = logit_names(self.network)
        self.phi = self._row()

    def _row(self) -> torch.Tensor:
        values = {p.ours: torch.from_numpy(self.fixture[f"param/{p.name}"]) for p in self.weights}
        for name in dict.fromkeys(p.ours for p in self.logits):
            parts = [self.fixture[f"alpha/{p.name}"] for p in self.logits if p.ours == name]
            values[name] = torch.from_numpy(np.concatenate(parts))
        return self.network.layout.pack(values, torch.float64).to(self.engine.device, self.engine.dtype)[None]

    def units(self) -> list[Unit]:
        names = np.array([p.name for p in self.weights], dtype=str)
        multiplier = np.array(self.network.network.stem_multiplier)
        expected = {key: self.fixture[key] for key in ("param_order", "stem_multiplier")}
        found = {"param_order": names, "stem_multiplier": multiplier}
        settings = Unit("settings", lambda: found, (Group("param_order, stem", expected, "exact"),), NO_OPS)
        cases = [key.removesuffix("/temperature") for key in self.fixture.under("") if key.endswith("/temperature")]
        return [settings, *(self._case(case) for case in cases)]

    def _case(self, case: str) -> Unit:
        temperature = self.fixture.number(f"{case}/temperature")
        threshold = self.fixture.number(f"{case}/prune_threshold")
        stored = {name: self.fixture[f"{case}/{name}"] for name in ("logits", "loss")}
        grad = {f"grad/{p.name}": self.fixture[f"{case}/grad/{p.name}"] for p in [*self.weights, *self.logits]}
        unused = self.fixture.text(f"{case}/unused")
        depth = self._depth(threshold)
        groups = [
            Group("logits, loss", stored),
            Group(
                "gradients of weights",
                {f"grad/{p.name}": grad[f"grad/{p.name}"] for p in self.weights},
                depth,
                frozenset(f"grad/{name}" for name in unused),
            ),
            Group(
                "gradients of logits",
                {f"grad/{p.name}": grad[f"grad/{p.name}"] for p in self.logits},
                depth,
                frozenset(f"grad/{p.name}" for p in self.logits if p.shape == (1,)),
            ),
            Group("unused", {"unused": np.array(sorted(unused), dtype=str)}, "exact"),
        ]
        activations = self.fixture.under(f"{case}/activation/")
        if activations:
            expected = {f"activation/{name}": self.fixture[f"{case}/activation/{name}"] for name in activations}
            groups.append(Group("activations", expected))
        return Unit(case, partial(self.compute, temperature, threshold, grad), tuple(groups))

    def _depth(self, threshold: float) -> str:
        if re.match(r"supernet_28(_|$)", self.fixture.name) is None:
            return "supernet_84 gradient"
        return "supernet_28 gradient, pruned" if threshold > 0 else "supernet_28 gradient"

    def compute(self, temperature: float, threshold: float, stored: dict[str, np.ndarray]) -> dict:
        engine, phi, kept = self.engine, self.phi.clone().requires_grad_(True), {}
        logits = self.network.logits(
            phi, engine.tensor(self.x)[None], temperature=temperature, threshold=threshold, activations=kept
        )
        loss = cross_entropy(logits, engine.tensor(self.y)[None])
        (grad,) = torch.autograd.grad(loss.sum(), phi)
        by_name = self.network.layout.unpack(grad[0])
        found = {f"grad/{p.name}": by_name[p.ours] for p in self.weights} | self._logit_gradients(by_name)
        unused = [p.name for p in self.weights if self._took_no_part(p, found, stored)]
        found |= {"logits": logits[0], "loss": loss[0], "unused": np.array(sorted(unused), dtype=str)}
        return found | {f"activation/{name}": cat_channels(states)[0] for name, states in kept.items()}

    def _logit_gradients(self, by_name: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        found = {}
        for ours in dict.fromkeys(p.ours for p in self.logits):
            own = [p for p in self.logits if p.ours == ours]
            parts = by_name[ours].split([p.shape[0] for p in own])
            found |= {f"grad/{p.name}": part for p, part in zip(own, parts, strict=True)}
        return found

    def _took_no_part(self, p: Parameter, found: dict, stored: dict[str, np.ndarray]) -> bool:
        """Gradient exactly 0, and not because a tiny weight underflows in a narrower dtype."""
        tiny = 0 < np.abs(stored[f"grad/{p.name}"]).max() < UNDERFLOW and self.engine.dtype != torch.float64
        return not tiny and not bool(found[f"grad/{p.name}"].any())
