"""Item 5: a discrete network, its gradients, its running statistics, and a forward pass with those."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from autometa.nas.networks.cell_network import CellNetwork
from autometa.nas.networks.discrete import DiscreteNetwork
from autometa.nas.spaces.genotype import CellGenotype, Genotype
from autometa.ops import cross_entropy
from autometa.slots.statistics import Given, Recorder
from tests.golden.fixture import NO_OPS, Engine, Fixture, Group, Unit, UsageError, running
from tests.golden.names import network_parameters


def units(fixture: Fixture, engine: Engine) -> list[Unit]:
    """Training mode, and the settings."""
    return _Discrete(fixture, engine).units()


def genotype_in(fixture: Fixture) -> Genotype:
    """The genotype whose arrays are in the file."""
    cells = []
    for kind in ("normal", "reduce"):
        ops, inputs, concat = (fixture[f"genotype/{kind}_{what}"].tolist() for what in ("ops", "inputs", "concat"))
        try:
            nodes = tuple(tuple(zip(*pair, strict=True)) for pair in zip(ops, inputs, strict=True))
            cells.append(CellGenotype(nodes, tuple(concat)))
        except (ValueError, TypeError) as error:
            raise UsageError(f"{fixture.path}: the genotype of the {kind} cell is not valid: {error}") from None
    return Genotype(*cells)


class _Discrete:
    def __init__(self, fixture: Fixture, engine: Engine) -> None:
        self.fixture, self.engine = fixture, engine
        self.x, self.y = fixture["x"], fixture["y"]
        self.network = DiscreteNetwork(
            genotype_in(fixture),
            channels=fixture.number("init_channels"),
            ways=fixture["param/linear.bias"].shape[0],
            image_shape=self.x.shape[1:],
            cells=fixture.number("n_layers"),
            reductions=tuple(fixture["reduction_layers"].tolist()),
        )
        self.parameters = network_parameters(self.network.network, search=False)
        values = {p.ours: torch.from_numpy(fixture[f"param/{p.name}"]) for p in self.parameters}
        self.phi = self.network.layout.pack(values, torch.float64).to(engine.device, engine.dtype)[None]

    def units(self) -> list[Unit]:
        order = np.array([p.name for p in self.parameters], dtype=str)
        layers = np.array(int(self.fixture.name.rsplit("_L", 1)[1]))
        expected = {key: self.fixture[key] for key in ("param_order", "n_layers")}
        found = {"param_order": order, "n_layers": layers}
        after = [key for place in self.normalisations() for key in _after_keys(place)]
        groups = (
            Group("logits, loss", {key: self.fixture[key] for key in ("logits", "loss")}),
            Group(
                "gradients",
                {f"grad/{p.name}": self.fixture[f"grad/{p.name}"] for p in self.parameters},
                "discrete gradient",
            ),
            Group("running statistics", {key: self.fixture[key] for key in after}),
            Group("logits_eval", {"logits_eval": self.fixture["logits_eval"]}),
        )
        return [
            Unit("settings", lambda: found, (Group("param_order, layers", expected, "exact"),), NO_OPS),
            Unit("training", self.compute, groups),
        ]

    def normalisations(self) -> list[str]:
        """Names of all BN in the fixture's words."""
        return [p.name.removesuffix(".weight") for p in self.parameters if p.ours.endswith("bn_gamma")]

    def compute(self) -> dict[str, Tensor]:
        x, recorder = self.engine.tensor(self.x)[None], Recorder()
        phi = self.phi.clone().requires_grad_(True)
        logits = self.network.logits(phi, x, recorder)
        loss = cross_entropy(logits, self.engine.tensor(self.y)[None])
        (grad,) = torch.autograd.grad(loss.sum(), phi)
        by_name = self.network.layout.unpack(grad[0])
        kept = after_one_forward(self.network.network, recorder.kept, x.shape[1])
        found = {"logits": logits[0], "loss": loss[0]}
        found |= {f"grad/{p.name}": by_name[p.ours] for p in self.parameters}
        found["logits_eval"] = self.network.logits(self.phi, x, Given(kept))[0]
        return found | self._running(kept)

    def _running(self, kept: list[Tensor]) -> dict[str, Tensor]:
        cells = self.network.network.normal, self.network.network.reduction
        nodes = len(cells[0].nodes)
        found = {}
        for p in self.parameters:
            if not p.ours.endswith("bn_gamma"):
                continue
            place = p.ours.split(".")
            if place[0] == "stem":
                values = kept[0][0]
            else:
                first = 1 + p.fields["cell"] * (2 + nodes)
                if place[1].startswith("pre"):
                    values = kept[first + int(place[1][3:])][0]
                else:
                    stage = 1 if place[3].startswith("stage1") else 0
                    values = kept[first + 2 + p.fields["node"]][0, p.fields["edge"], stage]
            found |= dict(zip(_after_keys(p.name.removesuffix(".weight")), values, strict=True))
        return found


def _after_keys(place: str) -> tuple[str, str]:
    return f"after/{place}.running_mean", f"after/{place}.running_var"


def after_one_forward(network: CellNetwork, kept: list[Tensor], batch: int) -> list[Tensor]:
    """Recorded batch statistics, in the order of a forward pass, turned into running ones after it."""
    _, height, width = network.image_shape
    counts = [batch * height * width]
    for c in range(network.cells):
        counts += [batch * height * width] * 2
        if c in network.reductions:
            height, width = -(-height // 2), -(-width // 2)
        counts += [batch * height * width] * len(network.cell(c).nodes)
    found = []
    for statistics, count in zip(kept, counts, strict=True):
        mean, variance = statistics.unbind(dim=-2)
        found.append(torch.stack(running(mean, variance, count), dim=-2))
    return found
