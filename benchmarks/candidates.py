"""An inner step of many different cells in one batch, beside the same cells one at a time.

    python -m benchmarks.candidates --filters 4,10 --repeats 0,1 --threads 1,2 --json candidates.json

`together` is what `train_candidates` does.  `alone` trains each cell's network as any fixed network is trained, its
tasks side by side, op by op; `alone, slotwise` with the compiled op that `together` uses; `eager` is `alone` on the
reference backend, for the first cells only.  All take turns within a round.  Ratios are medians over rounds, of wall
time and of processor time, which other work on the machine disturbs less.  Says nothing where results disagree.

With `--device cuda`, all cells in one graph beside a graph of its own for each of the first cells (benchmarks/
gpu_candidates.py); times are the device's.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from autometa.meta.inner_loop import Objective, adapt_
from autometa.meta.optimisers import Adam, PerKind
from autometa.nas.networks.many_cells import BlockNetwork
from autometa.nas.networks.side_by_side import Macro
from autometa.nas.spaces.blocks import BlockCell, expand, level_one
from autometa.ops.cross_entropy import cross_entropy
from autometa.slots.arena import Arena
from autometa.train.candidates import SLOTS, Cells
from autometa.train.tasks import SameBatches
from benchmarks.inner_step import machine
from benchmarks.networks import forced

WAYS = 5
EAGER_CELLS = 5
VARIANTS = ("together", "alone", "alone, slotwise", "eager")


def some_cells(count: int, level: int) -> list[BlockCell]:
    """Different cells of `level` blocks, spread over the space; again from the first where there are too few."""
    found = list(level_one())
    for _ in range(level - 1):
        found = list(itertools.islice(expand(found[::5]), 0, 40 * count, 37))
    return [found[7 * i % len(found)] for i in range(count)]


class Step:
    """One inner step of `tasks` slots of every cell, on the same random images; alone: how many cells can take it one
    at a time as well, all where None."""

    def __init__(
        self,
        cells: Sequence[BlockCell],
        macro: Macro,
        tasks: int,
        batch: int,
        device: torch.device | str = "cpu",
        alone: int | None = None,
    ) -> None:
        made = torch.Generator().manual_seed(0)
        self.tasks, self.device, groups = tasks, torch.device(device), torch.arange(len(cells))
        images = torch.rand(tasks, batch, *macro.image_shape, generator=made).to(device)
        self.data = [(images, torch.randint(WAYS, (tasks, batch), generator=made).to(device))]
        self.network = BlockNetwork(macro, cells)
        self.arena = self._arena(self.network, groups)
        self.chunk = SLOTS if self.device.type == "cpu" else self.arena.slots
        self.alone = [BlockNetwork(macro, [cell]) for cell in cells[:alone]]
        self.arenas = [self._arena(network, groups[:1]) for network in self.alone]
        self.optimiser = Adam(PerKind(1e-6))  # weights hardly move, so that every round computes the same
        self.flops = 2 * 3 * batch * tasks * sum(self.network.macs(g) for g in range(len(cells)))

    def _arena(self, network: BlockNetwork, groups: torch.Tensor) -> Arena:
        groups, theta = groups.to(self.device), network.initial(0).to(self.device)
        return Arena.create(network.layouts, theta, groups.repeat_interleave(self.tasks), groups)

    def _adapt(self, arena: Arena, objective: Objective) -> None:
        rows = torch.arange(arena.slots, device=self.device) % self.tasks
        adapt_(arena, objective, SameBatches(self.data, rows), self.optimiser, 1)

    def together(self) -> None:
        for start in range(0, self.arena.slots, self.chunk):
            part = self.arena.part(start, min(start + self.chunk, self.arena.slots))
            self._adapt(part, Cells(self.network, part.layout_of_slot).loss)

    def one_at_a_time(self, slotwise: bool, cells: int | None = None) -> None:
        for k in range(len(self.alone) if cells is None else cells):
            self.one_cell(k, slotwise)

    def one_cell(self, k: int, slotwise: bool = False) -> None:
        own = Cells(self.alone[k], self.arenas[k].layout_of_slot)
        self._adapt(self.arenas[k], own.loss if slotwise else op_by_op(own))

    def eager(self) -> None:
        with forced("reference"):
            self.one_at_a_time(False, EAGER_CELLS)

    def disagreement(self) -> str | None:
        """What is wrong with the losses of `together`, None where nothing is."""
        phi, (images, labels) = self.arena.phi, self.data[0]
        rows = torch.arange(self.arena.slots, device=self.device) % self.tasks
        cells = self.arena.layout_of_slot
        with torch.no_grad():
            found = self.network.losses(phi, images[rows], labels[rows], cells)
            for g, (network, arena) in enumerate(zip(self.alone, self.arenas, strict=True)):
                due = cross_entropy(network.logits(arena.phi, images, arena.layout_of_slot), labels)
                if not torch.equal(found[g * self.tasks : (g + 1) * self.tasks], due):
                    return f"cell {g} has other losses in the batch than alone"
        return None


def op_by_op(cells: Cells) -> Objective:
    """The same loss without the op that goes slot by slot."""
    return lambda phi, images, labels, step: cross_entropy(cells.logits(phi, images), labels)


def timed(call: Callable[[], None]) -> tuple[float, float]:
    """Seconds on the clock and of the processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def measure(cells: int, level: int, macro: Macro, tasks: int, batch: int, threads: int, rounds: int) -> dict:
    """Milliseconds per cell and ratios to `together`, per variant."""
    torch.set_num_threads(threads)
    step = Step(some_cells(cells, level), macro, tasks, batch)
    about = {"filters": macro.filters, "repeats": macro.repeats, "scale_rate": macro.scale_rate, "level": level}
    about |= {"size": macro.image_shape[1], "cells": cells, "tasks": tasks, "batch": batch, "threads": threads}
    wrong = step.disagreement()
    if wrong:
        return {**about, "wrong": wrong}
    calls = {
        "together": (step.together, cells),
        "alone": (lambda: step.one_at_a_time(False), cells),
        "alone, slotwise": (lambda: step.one_at_a_time(True), cells),
        "eager": (step.eager, min(cells, EAGER_CELLS)),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for i in range(rounds + 1):
        for name in sorted(calls, reverse=i % 2 == 1):
            call, count = calls[name]
            seconds = timed(call)
            if i > 0:  # the first round warms up
                found[name].append((seconds[0] / count, seconds[1] / count))
    own, variants = found["together"], {}
    for name, times in found.items():
        variants[name] = {
            "ms_per_cell": 1e3 * statistics.median(wall for wall, _ in times),
            "cpu_ms_per_cell": 1e3 * statistics.median(cpu for _, cpu in times),
            "over_together": statistics.median(a[0] / b[0] for a, b in zip(times, own, strict=True)),
            "cpu_over_together": statistics.median(a[1] / b[1] for a, b in zip(times, own, strict=True)),
        }
    gflops = step.flops / cells / variants["together"]["ms_per_cell"] / 1e6
    return {**about, "gflops_per_s": gflops, "variants": variants}


def line(result: dict) -> str:
    """A row of the table."""
    head = f"| {result['filters']} | {result['repeats']} | {result['level']} | {result['threads']} "
    if "wrong" in result:
        return f"{head}| {result['wrong']} | | | |"
    own = result["variants"]["together"]["ms_per_cell"]
    ratios = (result["variants"][name] for name in VARIANTS[1:])
    told = " | ".join(f"{r['over_together']:.2f} ({r['cpu_over_together']:.2f})" for r in ratios)
    return f"{head}| {own:.2f} | {told} |"


def _settings(chosen: argparse.Namespace, *names: str) -> Iterator[tuple[int, ...]]:
    """All combinations of options that name one or more numbers."""
    return itertools.product(*([int(value) for value in getattr(chosen, name).split(",")] for name in names))


def on_a_gpu(chosen: argparse.Namespace) -> None:
    """Print, and keep, what `benchmarks.gpu_candidates` measures. Raises `SystemExit` without a GPU."""
    from autometa.api.running import gpu_refuses
    from benchmarks import gpu_candidates, gpu_table
    from benchmarks.gpu_measure import Clock

    reason, results = gpu_refuses(0), []
    if reason:
        raise SystemExit(f"{reason}; --device cuda needs one")
    for filters, repeats, level in _settings(chosen, "filters", "repeats", "levels"):
        macro = Macro(filters, repeats, chosen.scale_rate, WAYS, (1, chosen.size, chosen.size))
        found = gpu_candidates.measure(macro, chosen.cells, level, chosen.tasks, chosen.batch, Clock(60.0))
        results.append(found)
        print("\n".join(gpu_table.candidates(found)), flush=True)
    if chosen.json:
        about = {"machine": torch.cuda.get_device_name(0), "results": results}
        chosen.json.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.candidates", description=__doc__.split("\n")[0])
    parser.add_argument("--filters", default="10", help="one or more, as in 4,10")
    parser.add_argument("--repeats", default="0", help="normal cells before each reduction, one or more counts")
    parser.add_argument("--levels", default="1", help="blocks of a cell, one or more counts")
    parser.add_argument("--threads", default="1", help="one or more counts")
    parser.add_argument("--scale-rate", type=int, default=1)
    parser.add_argument("--cells", type=int, default=100)
    parser.add_argument("--tasks", type=int, default=5)
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--size", type=int, default=28)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    if chosen.device == "cuda":
        return on_a_gpu(chosen)
    about, results = machine(), []
    print(", ".join(f"{key} {value}" for key, value in about.items() if key != "auto") + "\n")
    print("| F | N | blocks | threads | together, ms per cell | alone (processor time) | alone, slotwise | eager |")
    print("|---|---|---|---|---|---|---|---|")
    for filters, repeats, level, threads in _settings(chosen, "filters", "repeats", "levels", "threads"):
        macro = Macro(filters, repeats, chosen.scale_rate, WAYS, (1, chosen.size, chosen.size))
        results.append(measure(chosen.cells, level, macro, chosen.tasks, chosen.batch, threads, chosen.rounds))
        print(line(results[-1]), flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps({"machine": about, "results": results}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
