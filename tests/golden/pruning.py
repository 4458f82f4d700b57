"""Item 6: temperatures, weights on their way to 0, genotypes, and what remains of the network."""

from __future__ import annotations

import re

import numpy as np
import torch
from torch import Tensor

from autometa.nas.one_shot.network import OneShotNetwork
from autometa.nas.one_shot.pruned import genotype_of, remaining, remaining_weights
from autometa.nas.relax.soft_pruning import temperature
from autometa.nas.spaces.genotype import CellGenotype
from autometa.ops import PRIMITIVES
from tests.golden.fixture import NO_OPS, Engine, Fixture, Group, Unit, UsageError
from tests.golden.names import SUFFIX_OF_KIND

PAPER_NETWORK = dict(channels=28, ways=20, image_shape=(1, 28, 28))


def units(fixture: Fixture, engine: Engine) -> list[Unit]:
    """Schedules, then weights, genotypes and remaining weights of every draw."""
    return _SoftPruning(fixture, engine).units()


class _SoftPruning:
    def __init__(self, fixture: Fixture, engine: Engine) -> None:
        self.fixture, self.engine = fixture, engine
        names = tuple(fixture.text("primitives"))
        if any(name not in PRIMITIVES for name in names):
            raise UsageError(f"{fixture.path}: 'primitives' names an unknown primitive")
        self.pairwise = OneShotNetwork(**PAPER_NETWORK, primitives=names)
        self.top2 = OneShotNetwork(**PAPER_NETWORK, primitives=names, pairwise=False)
        self.t_max, self.t_min = fixture.number("t_max"), fixture.number("t_min")
        self.lengths = [int(s) for s in fixture.under("temperature/") if re.fullmatch(r"\d+", s)]

    def units(self) -> list[Unit]:
        stored = {f"temperature/{s}": self.fixture[f"temperature/{s}"] for s in self.lengths}
        schedule = {key: np.array(self.schedule(s)) for key, s in zip(stored, self.lengths, strict=True)}
        found = [Unit("temperature", lambda: schedule, (Group("schedules", stored, "vector"),), NO_OPS)]
        for r in range(self.fixture.number("n_draws")):
            logits = self._logits(f"draw{r}/alpha")
            found += [self._weights(r, logits), self._genotypes(r, logits), self._remaining(r, logits)]
        return found

    def schedule(self, steps: int) -> list[float]:
        return [temperature(s, steps, self.t_max, self.t_min) for s in range(steps)]

    def _logits(self, prefix: str) -> dict[str, list[np.ndarray]]:
        nodes = range(self.pairwise.nodes)
        return {
            f"{sort}_{kind}": [self.fixture[f"{prefix}/{sort}_{kind}/{i}"] for i in nodes]
            for sort in ("op", "pair")
            for kind in SUFFIX_OF_KIND.values()
        }

    def _weights(self, r: int, logits: dict[str, list[np.ndarray]]) -> Unit:
        keys = {
            f"w{s}/{kind}/{i}": (s, kind, i)
            for s in self.lengths
            for kind in logits
            for i in range(self.pairwise.nodes)
        }
        expected = {key: self.fixture[f"draw{r}/{key}"] for key in keys}

        def compute() -> dict[str, Tensor]:
            found = {}
            for key, (s, kind, i) in keys.items():
                value = self.engine.tensor(logits[kind][i])
                found[key] = torch.stack([torch.softmax(value / t, dim=-1) for t in self.schedule(s)])
            return found

        return Unit(f"draw{r}", compute, (Group("weights", expected, "vector"),), NO_OPS)

    def _phi(self, network: OneShotNetwork, logits: dict[str, list[np.ndarray]]) -> Tensor:
        values = {e.name: torch.zeros(e.shape, dtype=torch.float64) for e in network.layout.entries}
        for kind, suffix in SUFFIX_OF_KIND.items():
            values[f"alpha.{kind}"] = torch.from_numpy(np.concatenate(logits[f"op_{suffix}"]))
            if network.pairwise:
                values[f"pair.{kind}"] = torch.from_numpy(np.concatenate(logits[f"pair_{suffix}"]))
        return network.layout.pack(values, self.engine.dtype)[None]

    def _genotypes(self, r: int, logits: dict[str, list[np.ndarray]]) -> Unit:
        words = {"genotype": ("inputs", "op_index", "ops"), "genotype_top2": ("inputs", "op_index")}
        keys = [f"{g}/{kind}_{word}" for g, used in words.items() for kind in ("normal", "reduce") for word in used]
        expected = {key: self.fixture[f"draw{r}/{key}"] for key in keys}

        def compute() -> dict[str, np.ndarray]:
            found = {}
            for name, network in (("genotype", self.pairwise), ("genotype_top2", self.top2)):
                genotype = genotype_of(network, self._phi(network, logits), 0)
                for kind, cell in (("normal", genotype.normal), ("reduce", genotype.reduction)):
                    found |= {f"{name}/{kind}_{word}": value for word, value in self._taken_apart(cell).items()}
            return found

        return Unit(f"draw{r}", compute, (Group("genotypes", expected, "exact"),), NO_OPS)

    def _taken_apart(self, cell: CellGenotype) -> dict[str, np.ndarray]:
        ops = [[name for name, _ in node] for node in cell.nodes]
        return {
            "inputs": np.array([[state for _, state in node] for node in cell.nodes]),
            "op_index": np.array([[self.pairwise.primitives.index(name) for name in node] for node in ops]),
            "ops": np.array(ops, dtype=str),
        }

    def _remaining(self, r: int, logits: dict[str, list[np.ndarray]]) -> Unit:
        stored = self.fixture[f"draw{r}/remaining_weights"]

        def compute() -> dict[str, np.ndarray]:
            shares = self.pairwise.shares(self._phi(self.pairwise, logits), self.t_min)
            counts = [
                remaining_weights(self.pairwise, remaining(self.pairwise, shares, 0, h)) for h in stored[:, 0].tolist()
            ]
            return {"remaining_weights": np.array(counts, dtype=np.float64)}

        group = Group("remaining weights", {"remaining_weights": stored[:, 1]}, "exact")
        return Unit(f"draw{r}", compute, (group,), NO_OPS)
