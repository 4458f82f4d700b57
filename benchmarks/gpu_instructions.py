"""What a meta-iteration of the search network asks of a GPU, counted without one: instructions, bytes, launches, and
the milliseconds that they predict.

    python -m benchmarks.gpu_instructions
    python -m benchmarks.gpu_instructions --mode bf16 --out counts.json

The kernels are compiled for compute capability 9.0. How often a program comes to a statement is counted in Triton's
interpreter, for one program of each kind; how many instructions the statement has, in the machine code. That is not a
measurement: what binds is what is predicted to bind.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from benchmarks.gpu_machine_code import Block, Chain, disassembled, executed, unrolled

ROOT = Path(__file__).resolve().parents[1]
CAPABILITY = 90
# Fixed: of an H100. Multiprocessors, schedulers of each, clock, the share of issue slots that is used.
MULTIPROCESSORS, SCHEDULERS, HERTZ, USED = 132, 4, 1.83e9, 0.55
MEMORY, LAUNCH = 3e12, 3.5e-6  # bytes a second; seconds of a launch in a graph with its tail
PRODUCTS = {"fp32": 400e12, "tf32": 400e12, "bf16": 800e12}  # operations a second on the matrix units
STEPS, SLOTS = 5, 10
ALL: frozenset[str] = frozenset()


@dataclass
class Cost:
    """Of all launches of a kernel in a step: instructions of warps, bytes that are asked for, operations of the matrix
    units, launches, programs of them; looped: instructions that stand in loops."""

    instructions: float = 0.0
    bytes: float = 0.0
    flops: float = 0.0
    launches: int = 0
    programs: int = 0
    looped: float = 0.0

    def seconds(self, mode: str) -> float:
        """Predicted, of a step, without its launches."""
        issue = self.instructions / (MULTIPROCESSORS * SCHEDULERS * HERTZ * USED)
        return max(issue, self.flops / PRODUCTS[mode])


def step_of(case: str, slots: int) -> None:
    """Forward and backward of a network of `benchmarks.networks`, or of one `node` of the search network."""
    if case == "node":
        from tests.ops.node_case import METANAS, random_node

        node = random_node(METANAS, slots=slots, batch=20, channels=28, size=(28, 28), dtype=torch.float32)
        node.gradients(backend="triton")
        return
    from autometa.meta.inner_loop import slot_gradients
    from autometa.ops.cross_entropy import cross_entropy
    from benchmarks.networks import CASES

    network, batch = CASES[case].make(), CASES[case].batch
    phi = network.initial(0)[None].expand(slots, -1).contiguous()
    images, labels = torch.zeros(slots, batch, *network.image_shape), torch.zeros(slots, batch, dtype=torch.int64)
    slot_gradients(lambda row, x, y, step: cross_entropy(network.logits(row, x), y), phi, images, labels, 0)


def launched(
    case: str, mode: str, only: frozenset[str] = ALL, slots: int = SLOTS
) -> list[tuple[str, int, int, list[Block]]]:
    """Every launch of a step: kernel, programs, warps of a program, its machine code."""
    from triton.runtime import driver

    from autometa.kernels.compiling import Target
    from autometa.kernels.launch import observed
    from autometa.ops import _triton, backend

    driver.set_active(Target(CAPABILITY))
    found, code = [], {}

    def observe(kernel, grid, args, options) -> None:
        if only and kernel.fn.__name__ not in only:
            return
        made = kernel.warmup(*args, grid=grid, **options)
        if made.hash not in code:
            code[made.hash] = disassembled(made.asm["cubin"])
        total = 1
        for n in grid:
            total *= n
        found.append((kernel.fn.__name__, total, made.metadata.num_warps, code[made.hash]))

    with backend.forced("triton"), _triton.anywhere(), backend.precision(mode), observed(observe):
        step_of(case, slots)
    return found


@cache
def heads() -> frozenset[tuple[str, int]]:
    """Where functions of the kernels begin: what is attributed to them is attributed to no statement."""
    return frozenset(
        (path.name, node.lineno)
        for path in (ROOT / "kernels").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    )


def often(counts: dict[Chain, int]):
    """Chain -> how often an instruction from there is executed by a program: of loops that the compiler unrolls, each
    turn has instructions of its own."""

    @cache
    def turns(prefix: Chain, file: str, line: int) -> float:
        found = 1.0
        for header, first, last in unrolled(str(ROOT / "kernels" / file)):
            if first <= line <= last:
                come, body = counts.get((*prefix, (file, header)), 0), counts.get((*prefix, (file, first)), 0)
                found *= body / (come - body) if come > body else 1.0
        return found

    @cache
    def times(chain: Chain) -> float | None:
        if chain not in counts:
            return None if chain[-1] in heads() else 0.0
        value = float(counts[chain])
        for k, (file, line) in enumerate(chain):
            value /= max(turns(chain[:k], file, line), 1.0)
        return value

    return times


def cost(case: str, mode: str, only: frozenset[str] = ALL) -> dict[str, Cost]:
    """Kernel -> its cost in a step of ten slots; only: of these kernels, where some are named."""
    paths = [*(path for path in sys.path if path), str(ROOT)]  # the package that runs here, be it another than ROOT's
    lines = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.gpu_lines", case, mode, *only],
        cwd=tempfile.gettempdir(),
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        text=True,
    )
    launches = launched(case, mode, only)
    told = json.loads(lines.communicate()[0].splitlines()[-1])
    assert [name for name, *_ in launches] == [launch["kernel"] for launch in told["launches"]]
    tables = [often({tuple((f, n) for f, n in chain): times for chain, times in count}) for count in told["counts"]]
    found: dict[str, Cost] = defaultdict(Cost)

    @cache
    def of(which: int, code: int) -> tuple[float, float, float, float]:
        return executed(codes[code], tables[which])

    codes = {id(code): code for *_, code in launches}
    for (name, programs, warps, code), launch in zip(launches, told["launches"], strict=True):
        own = found[name.lstrip("_")]
        own.launches += 1
        own.programs += programs
        for which, share in launch["samples"]:
            instructions, bytes_, flops, looped = of(which, id(code))
            own.looped += share * programs * warps * looped
            own.instructions += share * programs * warps * instructions
            own.bytes += share * programs * warps * bytes_
            own.flops += share * programs * warps * flops
    return found


def lines_of(found: dict[str, Cost], mode: str) -> list[str]:
    """The table of a meta-iteration, and its sum."""
    rows = [f"{'kernel':22} {'G instr':>8} {'GB asked':>9} {'TFLOP':>7} {'launches':>9} {'programs':>9} {'ms':>6}"]
    total = Cost()
    for name, own in sorted(found.items(), key=lambda item: -item[1].instructions):
        each = own.programs // own.launches
        rows.append(
            f"{name:22} {STEPS * own.instructions / 1e9:8.2f} {STEPS * own.bytes / 1e9:9.1f} "
            f"{STEPS * own.flops / 1e12:7.2f} {own.launches:9} {each:9} {1e3 * STEPS * own.seconds(mode):6.1f}"
        )
        for name in ("instructions", "bytes", "flops", "launches", "programs", "looped"):
            setattr(total, name, getattr(total, name) + getattr(own, name))
    ms = 1e3 * STEPS * (total.seconds(mode) + LAUNCH * total.launches)
    rows.append(
        f"together: {STEPS * total.instructions / 1e9:.1f} G instructions of warps, "
        f"{STEPS * total.looped / 1e9:.1f} G of them in loops, {total.launches} launches a step, "
        f"{ms:.0f} ms predicted ({USED:.0%} of the issue slots, {LAUNCH * 1e6:.1f} us a launch)"
    )
    return rows


def main(words: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_instructions", description=__doc__.split("\n")[0])
    parser.add_argument("--case", default="one-shot-28", help="of benchmarks.networks, or node (default: one-shot-28)")
    parser.add_argument("--mode", default="fp32", choices=tuple(PRODUCTS))
    parser.add_argument("--out", type=Path, help="a JSON file for the figures of a step")
    options = parser.parse_args(words)
    found = cost(options.case, options.mode)
    print("\n".join(lines_of(found, options.mode)))
    if options.out:
        options.out.write_text(json.dumps({name: vars(own) for name, own in found.items()}, indent=1) + "\n")


if __name__ == "__main__":
    os.environ.pop("TRITON_INTERPRET", None)
    main()
