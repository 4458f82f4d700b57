"""Names of parameters in the fixtures, generated from our networks in the order of our layouts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from autometa.nas.networks.cell_network import CellNetwork
from autometa.nas.one_shot.network import OneShotNetwork
from autometa.nas.spaces.cells import INPUT_STATES, Cell
from autometa.ops.preprocess import preprocess_parameters
from autometa.ops.primitives import PRIMITIVES

SUFFIX_OF_KIND = {"normal": "normal", "reduction": "reduce"}
_CONVOLUTIONS = {
    "conv_1xk": "net.1.weight",
    "conv_kx1": "net.2.weight",
    "depthwise": "net.1.weight",
    "pointwise": "net.2.weight",
    "pointwise_a": "conv1.weight",
    "pointwise_b": "conv2.weight",
}
_NORMALISATION = {"bn_gamma": "weight", "bn_beta": "bias"}


@dataclass(frozen=True)
class Parameter:
    """One weight: its name in the fixtures, in our layout, and what `name_map.json` says of it."""

    name: str
    ours: str
    shape: tuple[int, ...]
    fields: dict = field(default_factory=dict)

    def entry(self) -> dict:
        """The row of `name_map.json`."""
        return {"name": self.name, "shape": list(self.shape), **self.fields}


def network_parameters(network: CellNetwork, search: bool) -> list[Parameter]:
    """All weights of a search network (`search`) or of a discrete one."""
    prefix = "net." if search else ""
    shapes = {e.name: e.shape for e in network.layout.entries}
    found = [
        Parameter(f"{prefix}{name}", ours, shapes[ours], {"what": what})
        for name, ours, what in (
            ("stem.0.weight", "stem.conv_weight", "stem conv 3x3"),
            ("stem.1.weight", "stem.bn_gamma", "stem bn_gamma"),
            ("stem.1.bias", "stem.bn_beta", "stem bn_beta"),
        )
    ]
    for c in range(network.cells):
        found += preprocess_names(network, c, f"{prefix}cells.{c}.")
        reduction = c in network.reductions
        found += dag_names(network.cell(c), c, network.channels, reduction, search, f"{prefix}cells.{c}.")
    for role in ("weight", "bias"):
        what = {"what": f"classifier {role}"}
        found.append(Parameter(f"{prefix}linear.{role}", f"head.{role}", shapes[f"head.{role}"], what))
    return found


def preprocess_names(network: CellNetwork, c: int, prefix: str) -> Iterator[Parameter]:
    """Parameters of both preprocessings of cell c."""
    for p in (0, 1):
        halves = network.halves(c, p)
        for shape in preprocess_parameters(
            network.output_channels(c - 2 + p), network.channels, halves, network.affine
        ):
            if shape.role in _NORMALISATION:
                rest = f"{'bn' if halves else 'net.2'}.{_NORMALISATION[shape.role]}"
            else:
                rest = "net.1.weight" if shape.role == "pointwise" else _CONVOLUTIONS[shape.role]
            fields = {"cell": c, "what": f"preprocess of s{p}", "role": shape.role}
            yield Parameter(f"{prefix}preproc{p}.{rest}", f"cell{c}.pre{p}.{shape.role}", shape.shape, fields)


def dag_names(cell: Cell, c: int, channels: int, reduction: bool, search: bool, prefix: str) -> Iterator[Parameter]:
    """Parameters of the operations of cell c, node by node."""
    for i, node in enumerate(cell.nodes):
        per_edge = len(node) // (i + INPUT_STATES)
        for k, instance in enumerate(node):
            stride = cell.stride(instance, reduction)
            fields = {"cell": c, "node": i, "input": instance.state, "primitive": instance.primitive, "stride": stride}
            if search:
                fields |= {"what": "mixed op", "op_index": k % per_edge}
                where = f"{prefix}dag.{i}.{instance.state}._ops.{k % per_edge}.0"
            else:
                fields |= {"what": "edge", "edge": k}
                where = f"{prefix}dag.{i}.{k}.0"
            for shape in PRIMITIVES[instance.primitive].parameters(channels, stride, not search):
                rest = operation_rest(instance.primitive, shape.role)
                ours = f"cell{c}.node{i}.op{k}.{shape.role}"
                yield Parameter(f"{where}.{rest}", ours, shape.shape, fields | {"role": shape.role})


def operation_rest(primitive: str, role: str) -> str:
    """What follows the operation's number in a name."""
    stage, base = "", role
    if role.startswith("stage"):
        number, base = role.removeprefix("stage").split("_", 1)
        stage = f"net.{number}."
    if base not in _NORMALISATION:
        return stage + _CONVOLUTIONS[base]
    bare = primitive == "skip_connect" or "pool" in primitive
    return f"{stage}{'bn' if bare else 'net.3'}.{_NORMALISATION[base]}"


def logit_names(one_shot: OneShotNetwork) -> list[Parameter]:
    """Architecture parameters, one per kind of cell and node; `ours` is the entry that holds them all."""
    sorts = [("alpha", "alpha", "op")] + ([("alpha_pw", "pair", "pair")] if one_shot.pairwise else [])
    found = []
    for prefix, ours, word in sorts:
        for kind, suffix in SUFFIX_OF_KIND.items():
            for i, n in enumerate(one_shot.inputs):
                shape = (n, len(one_shot.primitives)) if ours == "alpha" else (one_shot.pair_counts[i],)
                fields = {"what": f"{word} logits, {kind} cell", "node": i}
                found.append(Parameter(f"{prefix}_{suffix}.{i}", f"{ours}.{kind}", shape, fields))
    return found
