"""Item 3: one search cell, with pair weights and without."""

from __future__ import annotations

import torch

from autometa.nas.relax.soft_pruning import input_weights
from autometa.nas.spaces.cells import Cell, one_shot_cell, op_table
from autometa.ops import PRIMITIVES, mixed_op, preprocess
from autometa.ops.folding import cat_channels
from autometa.ops.preprocess import preprocess_parameters
from tests.golden.fixture import NO_OPS, Engine, Fixture, Group, Unit, UsageError, gradients, pack
from tests.golden.names import dag_names

_PRE = {"pointwise": "net.1.weight", "pointwise_a": "conv1.weight", "pointwise_b": "conv2.weight"}


def units(fixture: Fixture, engine: Engine) -> list[Unit]:
    """The two modes, and the settings that the file's name announces."""
    names = fixture.text("primitives")
    unknown = [name for name in names if name not in PRIMITIVES]
    if unknown:
        raise UsageError(f"{fixture.path}: {unknown[0]!r} is no primitive; known: {', '.join(PRIMITIVES)}")
    kind = fixture.name.removeprefix("cell_")
    reduction, after_reduction = kind.startswith("reduction"), kind.endswith("_after_reduction")
    search = _SearchCell(
        fixture, engine, one_shot_cell(tuple(names), fixture.number("n_nodes")), reduction, after_reduction
    )
    settings = {key: fixture[key] for key in ("reduction", "prev_reduction")}
    announced = {"reduction": torch.tensor(int(reduction)), "prev_reduction": torch.tensor(int(after_reduction))}
    return [
        Unit("settings", lambda: announced, (Group("as the name says", settings, "exact"),), NO_OPS),
        search.unit("pairwise"),
        search.unit("plain"),
    ]


class _SearchCell:
    """The arrays of a file, and the cell computed from them."""

    def __init__(self, fixture: Fixture, engine: Engine, cell: Cell, reduction: bool, after_reduction: bool) -> None:
        self.fixture, self.engine, self.cell = fixture, engine, cell
        self.reduction, self.after_reduction = reduction, after_reduction
        self.inputs = {key: fixture[key] for key in ("s0", "s1")}
        self.gy = fixture["gy"]
        self.channels = self.gy.shape[1] // cell.outputs
        self.w_ops = [fixture[f"w_ops/{i}"] for i in range(len(cell.nodes))]
        self.w_pair = [fixture[f"w_pair/{i}"] for i in range(len(cell.nodes))]
        self.blocks = self._names()
        self.params = {name: fixture[f"param/{name}"] for block in self.blocks.values() for name in block}

    def _names(self) -> dict[str, list[str]]:
        """Block -> names of its parameters in order."""
        blocks = {}
        for p in (0, 1):
            shapes = preprocess_parameters(1, self.channels, self.after_reduction and p == 0, False)
            blocks[f"pre{p}"] = [f"preproc{p}.{_PRE[shape.role]}" for shape in shapes]
        for i in range(len(self.cell.nodes)):
            blocks[f"node{i}"] = []
        for parameter in dag_names(self.cell, 0, self.channels, self.reduction, True, ""):
            blocks[f"node{parameter.fields['node']}"].append(parameter.name)
        return blocks

    def unit(self, mode: str) -> Unit:
        nodes = range(len(self.cell.nodes))
        keys = {"y": ["y"], "ds": ["ds0", "ds1"], "dw_ops": [f"dw_ops/{i}" for i in nodes]}
        if mode == "pairwise":
            keys["dw_pair"] = [f"dw_pair/{i}" for i in nodes]
        keys["dparam"] = [f"dparam/{name}" for name in self.params]
        groups = tuple(
            Group(name, {key: self.fixture[f"{mode}/{key}"] for key in found}, "cell") for name, found in keys.items()
        )
        return Unit(mode, lambda: self.compute(mode), groups)

    def compute(self, mode: str) -> dict[str, torch.Tensor]:
        leaves = {f"d{key}": self.engine.leaf(value) for key, value in self.inputs.items()}
        leaves |= {f"dw_ops/{i}": self.engine.leaf(value) for i, value in enumerate(self.w_ops)}
        if mode == "pairwise":
            leaves |= {f"dw_pair/{i}": self.engine.leaf(value) for i, value in enumerate(self.w_pair)}
        leaves |= {f"dparam/{name}": self.engine.leaf(value) for name, value in self.params.items()}
        y = self.forward(leaves, mode)[0]
        found = gradients(y, self.engine.tensor(self.gy), list(leaves.values()))
        return {"y": y} | dict(zip(leaves, found, strict=True))

    def forward(self, leaves: dict[str, torch.Tensor], mode: str) -> torch.Tensor:
        packed = {block: pack([leaves[f"dparam/{n}"] for n in names]) for block, names in self.blocks.items()}
        states = []
        for p in (0, 1):
            reduce = self.after_reduction and p == 0
            states.append(preprocess([leaves[f"ds{p}"][None]], packed[f"pre{p}"], self.channels, reduce=reduce)[0])
        for i in range(len(self.cell.nodes)):
            op = leaves[f"dw_ops/{i}"].reshape(1, -1)
            edges = self.cell.edges(i)
            edge = op.new_ones(1, edges)
            if mode == "pairwise":
                edge = input_weights(leaves[f"dw_pair/{i}"][None], edges)
            table = op_table(self.cell, i, self.channels, self.reduction, False)[0].to(op.device)
            states.append(mixed_op(states, packed[f"node{i}"], op, edge, table)[0])
        return cat_channels([states[k] for k in self.cell.concat])
