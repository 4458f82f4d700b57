"""Fixtures of names that the folder does not hold: inputs are made up, results are filled in by the checker itself.

They show that every form of file is recognised, that all its arrays are read, and that a wrong number is seen; that the
numbers themselves are right is shown by the stored files.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from autometa.nas.networks.discrete import DiscreteNetwork
from autometa.nas.one_shot.network import OneShotNetwork
from autometa.nas.spaces.cells import METANAS_PRIMITIVES, one_shot_cell
from autometa.nas.spaces.genotype import CellGenotype, Genotype
from tests.golden.checking import units_of_fixture
from tests.golden.fixture import Engine, Fixture
from tests.golden.names import dag_names, logit_names, network_parameters
from tests.tolerances import array


class _Blank(np.ndarray):
    """Stands for an array that is still to be computed."""

    key: str


class _Unfinished(Fixture):
    """Gives a blank where an array is missing."""

    def __init__(self, path: Path, arrays: dict[str, np.ndarray]) -> None:
        self.path, self.name = path, path.stem
        self._arrays, self._read = arrays, set()

    def __getitem__(self, key: str) -> np.ndarray:
        if key in self._arrays:
            return super().__getitem__(key)
        blank = np.zeros(()).view(_Blank)
        blank.key = key
        return blank


def write(folder: Path, name: str, inputs: dict[str, np.ndarray]) -> Path:
    """Complete a file from its inputs and save it."""
    path = folder / f"{name}.npz"
    fixture, engine = _Unfinished(path, {k: np.asarray(v) for k, v in inputs.items()}), Engine()
    units, _ = units_of_fixture(fixture, engine)
    results = {}
    for unit in units:
        found = unit.compute()
        for group in unit.groups:
            blanks = {label: blank.key for label, blank in group.expected.items() if isinstance(blank, _Blank)}
            results |= {key: array(found[label]) for label, key in blanks.items()}
    np.savez(path, **inputs, **results)
    return path


class Maker:
    """Random inputs from a seed."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def normal(self, *shape: int, scale: float = 1.0) -> np.ndarray:
        return scale * self.rng.standard_normal(shape)

    def shares(self, *shape: int) -> np.ndarray:
        raw = np.exp(self.normal(*shape))
        return raw / raw.sum(axis=-1, keepdims=True)

    def parameters(self, found) -> dict[str, np.ndarray]:
        return {f"param/{p.name}": self.normal(*p.shape, scale=0.5) + ("gamma" in p.ours) for p in found}

    def primitive(self, stride: int, size: int, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
        case, out = f"s{stride}_n{size}", -(-size // stride)
        found = {f"{case}/x": self.normal(3, 4, size, size), f"{case}/gy": self.normal(3, 4, out, out)}
        return found | {f"{case}/param/{role}": self.normal(*shape) for role, shape in shapes.items()}

    def cell(self, reduction: bool, after_reduction: bool) -> dict[str, np.ndarray]:
        cell, channels, size = one_shot_cell(METANAS_PRIMITIVES, 3), 4, 4 if reduction else 8
        pre = {"preproc1.net.1.weight": (channels, 5, 1, 1), "preproc0.net.1.weight": (channels, 6, 1, 1)}
        if after_reduction:
            del pre["preproc0.net.1.weight"]
            pre |= {f"preproc0.conv{k}.weight": (channels // 2, 6, 1, 1) for k in (1, 2)}
        side = 16 if after_reduction else 8
        found = {
            "primitives": np.array(METANAS_PRIMITIVES),
            "n_nodes": 3,
            "reduction": int(reduction),
            "prev_reduction": int(after_reduction),
            "s0": self.normal(3, 6, side, side),
            "s1": self.normal(3, 5, 8, 8),
            "gy": self.normal(3, 3 * channels, size, size),
        }
        for i, pairs in enumerate((1, 3, 6)):
            found |= {f"w_ops/{i}": self.shares(2 + i, 7), f"w_pair/{i}": self.shares(pairs)}
        found |= {f"param/{name}": self.normal(*shape) for name, shape in pre.items()}
        return found | self.parameters(dag_names(cell, 0, channels, reduction, True, ""))

    def supernet(self, channels: int, shape: tuple[int, int, int], pairwise: bool, cases) -> dict[str, np.ndarray]:
        network = OneShotNetwork(channels, 5, shape, pairwise=pairwise)
        found = {
            "x": self.normal(2, *shape),
            "y": np.array([1, 4]),
            "primitives": np.array(METANAS_PRIMITIVES),
            "n_layers": 4,
            "n_nodes": 3,
            "reduction_layers": np.array([1, 3]),
            "init_channels": channels,
        }
        found |= self.parameters(network_parameters(network.network, search=True))
        found |= {f"alpha/{p.name}": self.normal(*p.shape, scale=0.1) for p in logit_names(network)}
        for case, temperature in cases.items():
            found |= {f"{case}/temperature": temperature, f"{case}/prune_threshold": 0.0}
            found[f"{case}/unused"] = np.array([], dtype=str)
        return found

    def discrete(self, layers: int) -> dict[str, np.ndarray]:
        nodes = (("skip_connect", 0), ("conv_7x1_1x7", 1)), (("none", 2), ("dil_conv_5x5", 0))
        nodes += ((("sep_conv_5x5", 3), ("max_pool_3x3", 1)),)
        cells = {"normal": CellGenotype(nodes, (2, 3, 4)), "reduce": CellGenotype(nodes[::1], (2, 3, 4))}
        network = DiscreteNetwork(Genotype(cells["normal"], cells["reduce"]), 4, 5, (1, 12, 12), layers, (1, 3))
        found = {
            "x": self.normal(3, 1, 12, 12),
            "y": np.array([0, 2, 4]),
            "reduction_layers": np.array([1, 3]),
            "init_channels": 4,
            "n_layers": layers,
        }
        for kind, cell in cells.items():
            found[f"genotype/{kind}_ops"] = np.array([[name for name, _ in node] for node in cell.nodes])
            found[f"genotype/{kind}_inputs"] = np.array([[state for _, state in node] for node in cell.nodes])
            found[f"genotype/{kind}_concat"] = np.array(cell.concat)
        return found | self.parameters(network_parameters(network.network, search=False))

    def meta_gradients(self, norm: bool) -> dict[str, np.ndarray]:
        found = {"inner_lr": 0.2, "inner_steps": 2, "param/head_weight": self.normal(5, 16, scale=0.3)}
        for k, c_in in ((1, 1), (2, 4)):
            found |= {f"param/conv{k}_weight": self.normal(4, c_in, 3, 3), f"param/conv{k}_bias": self.normal(4)}
            if norm:
                found |= {f"param/bn{k}_gamma": 1 + self.normal(4, scale=0.2), f"param/bn{k}_beta": self.normal(4)}
        found["param/head_bias"] = self.normal(5)
        for t in (0, 1):
            for part in ("support", "query"):
                found |= {f"task{t}/x_{part}": self.normal(10, 1, 8, 8), f"task{t}/y_{part}": np.arange(10) // 2}
        return found
