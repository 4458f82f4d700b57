"""The mixed node op: which kernel runs when, on what buffers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from autometa.kernels import mixed_op_backward as back
from autometa.kernels import mixed_op_forward as forth
from autometa.kernels import mixed_op_stages as stages
from autometa.kernels.launch import channel_block, dot_precision, launch, pixel_block, product_block, warps
from autometa.kernels.memory import poisoned
from autometa.kernels.mixed_op_gather import input_gradient, product_gradient

ROOM = 5  # states that a kernel is given are filled up to a multiple: a node of two has the binaries of one of five
ROWS = 64  # parts that are merged at a time
CHUNKS = 16  # at most so many sets of weight gradients per slot
COLUMNS = 1024  # columns of a weight's gradient that are added at a time
# Loads ahead of time would cost these more registers than there are.
UNPIPELINED = (stages.tap_gradient, stages.pointwise_gradient, product_gradient)
# Left to itself, the assembler spills a few registers of these to fit one program more on a multiprocessor.
ROOMY = (forth.second_stage, stages.tap_gradient, stages.pointwise_gradient, input_gradient)


class Kept(NamedTuple):
    """What the backward needs: maps `[places, S, pixels, pitch]`, arguments of maxima in bytes, the moments
    `[S, I, 2, 2, C]` that normalised."""

    maps: Tensor
    arguments: Tensor
    moments: Tensor


@dataclass(frozen=True)
class Node:
    """A node and its arguments, all on one device.

    plan: see autometa/ops/mixed_op/plan.py. states: maps `[S, N, C, H_j, W_j]`; params `[S, P]`, columns side by side;
    op_weight `[S, I]`, input_weight `[S, E]`, drop `[S, N, I]`, given `[S, I, 2, 2, C]`; pitch: of all maps; mode:
    fp32, tf32 or bf16.
    """

    plan: Any
    states: tuple[Tensor, ...]
    params: Tensor
    op_weight: Tensor
    input_weight: Tensor
    table_of_slot: Tensor | None
    drop: Tensor | None
    affine: bool
    given: Tensor | None
    eps: float
    pitch: int
    mode: str

    @cached_property
    def slots(self) -> int:
        return self.states[0].shape[0]

    @cached_property
    def channels(self) -> int:
        return self.states[0].shape[2]

    @cached_property
    def instances(self) -> int:
        return self.op_weight.shape[1]

    @cached_property
    def pixels(self) -> int:
        """Of one slot's output."""
        return self.states[0].shape[1] * self.plan.size[0] * self.plan.size[1]

    @cached_property
    def tiles(self) -> int:
        return triton.cdiv(self.pixels, pixel_block(self.channels))

    @cached_property
    def cuts(self) -> int:
        """Programs that share the channels of a tile."""
        return channel_block(self.channels) // product_block(self.channels)

    @cached_property
    def chunk(self) -> int:
        """Tiles that one program goes through where sums are formed: by the slot's own size alone."""
        return triton.cdiv(self.tiles, CHUNKS)

    @cached_property
    def chunks(self) -> int:
        return triton.cdiv(self.tiles, self.chunk)

    @cached_property
    def stored(self) -> torch.dtype:
        """Of the maps between kernels."""
        return torch.bfloat16 if self.mode == "bf16" else torch.float32

    def empty(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Uninitialised."""
        return poisoned(torch.empty(shape, dtype=dtype, device=self.params.device))

    def maps(self, places: int, dtype: torch.dtype) -> Tensor:
        return self.empty(places, self.slots, self.pixels, self.pitch, dtype=dtype)

    def run(self, kernel, name: str | None, programs: int, **options) -> None:
        """Launch for every instance of list `name`, `programs` programs per slot and instance.

        A kernel's parameters of these names get their values from here, or from `options`.
        """
        chosen = self.plan.lists.get(name) if name else None
        if name and chosen is None:
            return
        count = len(chosen) if name else 1
        values = {**self._values, "chosen": chosen, "count": count, **options}
        roomy = kernel in ROOMY or values.get("MERGED", False)
        arguments = {n: values[n] for n in kernel.arg_names}
        whole = "BLOCK" not in kernel.arg_names  # all channels in one program
        how = {"maxnreg": 255} if roomy else {}
        launch(
            kernel,
            (count * programs * self.slots,),
            num_warps=warps(self.channels) if whole else 4,
            num_stages=1 if kernel in UNPIPELINED else 3,
            **how,
            **arguments,
        )

    @cached_property
    def _values(self) -> dict[str, Any]:
        # What is absent is never read: any tensor may stand for it.
        return {
            "states": self.states + (self.states[0],) * (-len(self.states) % ROOM),
            "phi": self.params,
            "op_weight": self.op_weight,
            "input_weight": self.input_weight,
            "table": self.plan.table,
            "table_of_slot": self.plan.table if self.table_of_slot is None else self.table_of_slot,
            "drop": self.op_weight if self.drop is None else self.drop,
            "slots": self.slots,
            "batch": self.states[0].shape[1],
            "instances": self.instances,
            "edges": self.input_weight.shape[1],
            "tiles": self.tiles,
            "chunk": self.chunk,
            "chunks": self.chunks,
            "pixels": self.pixels,
            "height": self.plan.size[0],
            "width": self.plan.size[1],
            "channels": self.channels,
            "pitch": self.pitch,
            "phi_stride": self.params.stride(0),
            "eps": self.eps,
            "STATES": triton.cdiv(len(self.states), ROOM) * ROOM,
            "TABLES": self.table_of_slot is not None,
            "DROP": self.drop is not None,
            "AFFINE": self.affine,
            "GIVEN": self.given is not None,
            "PRECISION": dot_precision(self.mode),
            "TILE": pixel_block(self.channels),
            "CHANNELS": channel_block(self.channels),
            "BLOCK": product_block(self.channels),
            "ROWS": ROWS,
        }


def forward(node: Node, y: Tensor, keep: bool, measure: bool) -> tuple[Kept, Tensor]:
    """Fill y; also the batch's own moments, where they normalise or `measure` asks (else empty)."""
    plan = node.plan
    maps = node.maps(plan.maps, node.stored)
    arguments = node.maps(plan.arguments if keep else 0, torch.uint8)
    measure = measure or node.given is None
    shape = (node.slots, node.instances, 2, 2, node.channels)
    measured = node.params.new_zeros(shape if measure else 0)
    kept = Kept(maps, arguments, measured if node.given is None else node.given)
    if not node.pixels or not node.slots:
        return kept, measured
    parts = node.empty(node.slots, node.instances, node.tiles, 2, channel_block(node.channels))
    buffers = {**kept._asdict(), "parts": parts}

    def finish(name: str, pairs: bool) -> None:
        if measure:
            node.run(forth.finish_moments, name, 1, PAIRS=pairs, **{**buffers, "moments": measured})

    node.run(forth.first_stage, "first", node.tiles * node.cuts, KEEP=keep, **buffers)
    finish("first_moments", False)
    node.run(forth.second_stage, "second", node.tiles * node.cuts, **buffers)
    finish("second", True)
    node.run(forth.combine, None, node.tiles, y=y, **buffers)
    return kept, measured


class Gradients(NamedTuple):
    """dparams `[S, P]`, of op and input weights, and of the states that are read, by their number."""

    params: Tensor
    op_weight: Tensor
    input_weight: Tensor
    states: dict[int, Tensor]


def backward(node: Node, kept: Kept, gy: Tensor, dstates: dict[int, Tensor]) -> Gradients:
    """Gradients; those of states are written into `dstates`."""
    plan, wide = node.plan, channel_block(node.channels)
    found = Gradients(
        node.params.new_zeros(node.params.shape),
        node.empty(*node.op_weight.shape),
        node.empty(*node.input_weight.shape),
        dstates,
    )
    if not node.pixels or not node.slots:
        return Gradients(found.params, found.op_weight.zero_(), found.input_weight.zero_(), dstates)
    buffers = {
        **kept._asdict(),
        "gy": gy,
        "grads": node.maps(plan.grads, node.stored),
        "factors": node.empty(node.slots, node.instances, 2, 4, wide),
        "inner": node.empty(node.slots, node.instances),
        "dphi": found.params,
        "dphi_stride": found.params.stride(0),
        "dop": found.op_weight,
        "dinput": found.input_weight,
        "EDGES": triton.next_power_of_2(node.input_weight.shape[1]),
        "WINDOW": plan.window,
    }
    sums = node.empty(node.slots, node.instances, node.chunks, 2, wide)
    node.run(back.products, "all", node.chunks, parts=sums, **buffers)
    node.run(back.finish_products, "all", 1, parts=sums, MIDDLE_STAGE=False, **buffers)
    node.run(back.weight_gradients, None, 1, **buffers)
    _weights(node, buffers, sums)
    for j, dx in dstates.items():
        _gather(node, buffers, j, dx)
    return found


def _weights(node: Node, buffers: dict[str, Any], sums: Tensor) -> None:
    """Gradients of all weights, and of the maps that `input_gradient` gathers from."""
    plan = node.plan
    parts = node.empty(node.slots, node.chunks, node.params.shape[1] if plan.weights else 0)
    buffers = {**buffers, "parts": parts, "parts_stride": parts.stride(0) // max(node.chunks, 1)}

    squares = node.chunks * node.cuts**2

    def separable(name: str, second: bool, of_middle: bool) -> None:
        # In fp32 the two together need more registers than there are.
        merged = node.cuts == 1 and node.mode != "fp32"
        which = {"SECOND": second, "OF_MIDDLE": of_middle, "MERGED": merged, **buffers}
        if not merged:
            node.run(stages.pointwise_gradient, name, squares, **which)
        node.run(stages.depthwise_gradient, name, node.chunks * node.cuts, **which)

    def taps(name: str, count: int, tall: bool) -> None:
        node.run(stages.tap_gradient, name, squares * count, TALL=tall, TAPS=count, **buffers)

    separable("one", False, False)
    separable("two", True, False)
    node.run(back.middle_gradient, "two", node.chunks, **{**buffers, "parts": sums})
    node.run(back.finish_products, "two", 1, MIDDLE_STAGE=True, **{**buffers, "parts": sums})
    separable("two", False, True)
    node.run(stages.pair_gradient, "pair", node.tiles * node.cuts, **buffers)
    taps("pair", plan.taps, True)
    taps("taps", plan.taps, False)
    blocks = triton.cdiv(plan.weights, COLUMNS)
    node.run(stages.add_parts, "weights", 4 * blocks, blocks=blocks, COLUMNS=COLUMNS, **buffers)


def _gather(node: Node, buffers: dict[str, Any], j: int, dx: Tensor) -> None:
    x = node.states[j]
    batch, height, width = x.shape[1], *x.shape[3:]
    tiles = triton.cdiv(batch * height * width, pixel_block(node.channels))
    buffers = {**buffers, "x": x, "dx": dx, "state": j, "in_height": height, "in_width": width, "tiles": tiles}
    for kernel, name in ((input_gradient, f"direct{j}"), (product_gradient, f"products{j}")):
        chosen = node.plan.lists[name]
        if len(chosen) or kernel is input_gradient:
            node.run(kernel, None, tiles * node.cuts, **{**buffers, "chosen": chosen, "count": len(chosen)})
