"""What the Triton kernels of `mixed_op` are told about a node: a row per op instance, and who has work in which kernel.

The columns are those of kernels/op_codes.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autometa.brief import brief
from autometa.kernels import op_codes as at
from autometa.kernels.op_codes import COLUMNS, KINDS, OP_CODES
from autometa.ops.primitives import BUILT_IN, BY_CODE, aligned

NONE, IDENTITY, MAXIMUM, SEPARABLE, PAIR, FULL, REDUCTION = (
    KINDS[name] for name in ("none", "identity", "maximum", "separable", "pair", "full", "reduction")
)


@brief
@dataclass(frozen=True)
class NodePlan:
    """table int32 `[T, I, 25]` and lists int32 of instances on the device; how many maps of each sort there are.

    lists: name -> instances that some table gives work in that kernel; weights: largest size of a weight; taps: most
    taps of a window that reads a state; size: height and width of the output.
    """

    table: Tensor
    lists: dict[str, Tensor]
    maps: int
    arguments: int
    grads: int
    weights: int
    taps: int
    window: int
    size: tuple[int, int]


def node_plan(
    table: Tensor, sizes: Sequence[tuple[int, int]], channels: int, edges: int, width: int, affine: bool, device
) -> NodePlan:
    """table int64 `[T, I, 5]` on the CPU, sizes (height, width) of every state, width of the block of parameters.

    Raises `ValueError` where a row names what is not there, or instances differ in the size of their output.
    """
    tables = table.tolist()
    size = _check(tables, sizes, channels, edges, width, affine)
    instances = len(tables[0])
    rows = [[[0] * COLUMNS for _ in range(instances)] for _ in tables]
    work: dict[str, list[int]] = {}
    places = {"maps": 0, "arguments": 0, "grads": 0}

    def place(what: str, wanted: bool) -> int:
        places[what] += wanted
        return places[what] - 1 if wanted else 0

    for i in range(instances):
        own = [_row(t[i], sizes, channels, affine) for t in tables]
        kinds = {row[at.KIND] for row in own}
        two = any(row[at.STAGES] == 2 for row in own)
        between = two or PAIR in kinds
        shared = {
            at.LAST: place("maps", bool(kinds - {NONE, IDENTITY})),
            at.MIDDLE: place("maps", between),
            at.ARGUMENT: place("arguments", MAXIMUM in kinds),
            at.GRAD: place("grads", bool(kinds & {SEPARABLE, PAIR})),
            at.MIDDLE_GRAD: place("grads", two),
        }
        for row in own:
            for column, value in shared.items():
                row[column] = value
        for t, row in enumerate(own):
            rows[t][i] = row
        _add_work(work, i, own)
    flat = [row for own in rows for row in own]
    lists = {name: torch.tensor(found, dtype=torch.int32, device=device) for name, found in work.items()}
    kernels = [row[at.KERNEL] for row in flat if row[at.KIND] == SEPARABLE] or [3]
    taps = [{PAIR: row[at.KERNEL], FULL: row[at.KERNEL] ** 2, REDUCTION: 2}.get(row[at.KIND], 1) for row in flat]
    return NodePlan(
        table=torch.tensor(rows, dtype=torch.int32, device=device),
        lists=lists,
        **places,
        weights=max(max(row[at.SIZE : at.SIZE + 4]) for row in flat),
        taps=max(taps),
        window=16 if max(kernels) == 3 else 32,
        size=size,
    )


def _add_work(work: dict[str, list[int]], i: int, rows) -> None:
    def add(name: str, wanted: bool) -> None:
        if wanted:
            work.setdefault(name, []).append(i)

    live = [row for row in rows if row[at.KIND] != NONE]
    separable = [row for row in live if row[at.KIND] == SEPARABLE]
    pair = any(row[at.KIND] == PAIR for row in live)
    two = any(row[at.STAGES] == 2 for row in separable)
    add("all", bool(live))
    add("first", any(row[at.KIND] != IDENTITY for row in live))
    add("first_moments", any(row[at.KIND] not in (IDENTITY, PAIR) for row in live))
    add("second", pair or two)
    add("two", two)
    add("one", any(row[at.STAGES] == 1 for row in separable))
    add("pair", pair)
    add("taps", any(row[at.KIND] in (PAIR, FULL, REDUCTION) for row in live))
    add("weights", any(row[at.SIZE] for row in live))
    products = (PAIR, FULL, REDUCTION)
    for state in {row[at.STATE] for row in live}:
        kinds = [row[at.KIND] for row in live if row[at.STATE] == state]
        work.setdefault(f"products{state}", [])
        work.setdefault(f"direct{state}", [])
        add(f"products{state}", any(kind in products for kind in kinds))
        add(f"direct{state}", any(kind not in products for kind in kinds))


def _row(instance, sizes, channels: int, affine: bool) -> list[int]:
    state, edge, code, stride, offset = instance
    row = [0] * COLUMNS
    row[at.STRIDE] = row[at.KERNEL] = row[at.STAGES] = row[at.HEIGHT] = row[at.WIDTH] = 1
    if code < 0:
        return row
    primitive, op = BY_CODE[code], OP_CODES[code]
    kind = KINDS[op.kind]
    if kind == IDENTITY and stride == 2:
        kind = REDUCTION
    row[at.STATE], row[at.EDGE], row[at.KIND], row[at.STRIDE] = state, edge, kind, stride
    row[at.HEIGHT], row[at.WIDTH] = sizes[state]
    row[at.KERNEL], row[at.DILATION], row[at.STAGES] = op.kernel, op.dilation, max(1, primitive.stages(stride))
    row[at.BETA] = aligned(channels)
    weight, stage = 0, 0
    for p in primitive.parameters(channels, stride, affine):
        if p.role.endswith("bn_gamma"):
            row[at.GAMMA + stage] = offset
        elif p.role.endswith("bn_beta"):
            stage += 1
        else:
            row[at.WEIGHT + weight], row[at.SIZE + weight] = offset, p.size
            weight += 1
        offset += aligned(p.size)
    return row


def _check(tables, sizes, channels: int, edges: int, width: int, affine: bool) -> tuple[int, int]:
    found = None
    for rows in tables:
        for i, (state, edge, code, stride, offset) in enumerate(rows):
            if code < 0:
                continue
            where = f"instance {i}"
            if code >= BUILT_IN:
                raise ValueError(f"{where}: primitive {code} is not in 0..{BUILT_IN - 1}")
            if not 0 <= state < len(sizes):
                raise ValueError(f"table must have an instance, and states 0..{len(sizes) - 1} only")
            if not 0 <= edge < edges:
                raise ValueError(f"{where}: edge {edge} is not in 0..{edges - 1}")
            if stride not in (1, 2):
                raise ValueError(f"{where}: stride {stride} is neither 1 nor 2")
            needed = BY_CODE[code].parameters(channels, stride, affine)
            last = offset + sum(aligned(p.size) for p in needed[:-1]) + (needed[-1].size if needed else 0)
            if needed and not 0 <= offset <= last <= width:
                raise ValueError(f"{where}: its parameters {offset}..{last - 1} lie outside the {width} of its block")
            out = tuple(-(-n // stride) for n in sizes[state])
            if found not in (None, out):
                raise ValueError(f"{where} gives a map of {out[0]} x {out[1]}, others one of different sizes")
            found = out
    if found is None:
        raise ValueError(f"table must have an instance, and states 0..{len(sizes) - 1} only")
    return found
