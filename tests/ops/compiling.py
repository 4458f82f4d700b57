"""Compiling every Triton kernel without a GPU: ops run on CPU tensors, their launches compile and compute nothing.

It takes processes of its own: Triton must be imported without its interpreter, with a driver that only names a target.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from tests import EVERYTHING

ROOT = Path(__file__).resolve().parents[2]
CONSUMER = (86, 89, 120)  # compute capabilities of cards that people have at home
TARGETS = (90, 80, 100, *(CONSUMER if EVERYTHING else ()))
SHARED = 101_376  # bytes that a program may have there, the least of all of them
MODES = ("fp32", "tf32", "bf16")


def _normal(*shape: int) -> Tensor:
    return torch.randn(shape)


def _parameters(slots: int, shapes) -> Tensor:
    from autometa.ops.primitives import aligned

    return _normal(slots, sum(aligned(p.size) for p in shapes)).requires_grad_(True)


def _preprocess(reduce: bool) -> None:
    from autometa.ops.preprocess import preprocess, preprocess_parameters

    states = [_normal(10, 20, 28, 28, 28).requires_grad_(True) for _ in range(3)]
    params = _parameters(10, preprocess_parameters(84, 28, reduce, False))
    y, _ = preprocess(states, params, 28, reduce=reduce, want_statistics=True, backend="triton")
    y.backward(torch.ones_like(y))


# Of four slots: which of three states they read, in channels of 28.
TABLES = torch.tensor([[0, 28, -1], [-1, 0, 28], [-1, -1, 0], [0, 28, 56]])


def _of_slot(slots: int) -> Tensor:
    return torch.arange(slots) % len(TABLES)


def _preprocess_tables(reduce: bool) -> None:
    from autometa.ops.preprocess import preprocess, preprocess_parameters

    states = [_normal(10, 20, 28, 28, 28).requires_grad_(True) for _ in range(3)]
    params = _parameters(10, preprocess_parameters(84, 28, reduce, True))
    options = {"table": TABLES, "table_of_slot": _of_slot(10), "backend": "triton"}
    y, _ = preprocess(states, params, 28, reduce=reduce, affine=True, **options)
    y.backward(torch.ones_like(y))


def _mixed_op() -> None:
    from tests.ops.node_case import METANAS, random_node

    random_node(METANAS, slots=10, batch=20, channels=28, size=(28, 28), dtype=torch.float32).gradients(
        backend="triton"
    )


def _conv_block(c_in: int, c_out: int, **settings) -> None:
    from autometa.ops.conv_block import ConvBlock, conv_block

    block = ConvBlock(c_in, c_out, **settings)
    x = _normal(10, 20, c_in, 14, 14).requires_grad_(c_in > 4)
    y, _ = conv_block(x, _parameters(10, block.parameters()), block, want_statistics=True, backend="triton")
    y.backward(torch.ones_like(y))


def _head(flatten: bool) -> None:
    from autometa.ops.linear_head import head_parameters, linear_head

    states = [_normal(10, 20, 28, 7, 7).requires_grad_(True) for _ in range(3)]
    params = _parameters(10, head_parameters(84 * (49 if flatten else 1), 20))
    logits = linear_head(states, params, 20, flatten=flatten, backend="triton")
    logits.backward(torch.ones_like(logits))


def _head_tables() -> None:
    from autometa.ops.linear_head import head_parameters, linear_head

    states = [_normal(10, 20, 28, 7, 7).requires_grad_(True) for _ in range(3)]
    params = _parameters(10, head_parameters(84, 20))
    logits = linear_head(states, params, 20, table=TABLES, table_of_slot=_of_slot(10), backend="triton")
    logits.backward(torch.ones_like(logits))


def _cross_entropy() -> None:
    from autometa.ops.cross_entropy import cross_entropy

    logits = _normal(10, 20, 20).requires_grad_(True)
    cross_entropy(logits, torch.zeros(10, 20, dtype=torch.int64), backend="triton").sum().backward()


def _share() -> None:
    from autometa.ops.share import share

    readers = share(_normal(10, 20, 28, 28, 28).requires_grad_(True), 3, backend="triton")
    torch.autograd.backward(readers, [torch.ones_like(x) for x in readers])


def _split_columns() -> None:
    from autometa.ops.split_columns import split_columns

    parts = split_columns(_normal(10, 4096).requires_grad_(True), [16, 2048, 1024, 1008], backend="triton")
    torch.autograd.backward(parts, [torch.ones_like(x) for x in parts])


# Name -> a forward and backward of an op at one representative shape.
CASES: dict[str, Callable[[], None]] = {
    "mixed_op": _mixed_op,
    "preprocess": lambda: _preprocess(False),
    "preprocess, reduction": lambda: _preprocess(True),
    "preprocess, tables": lambda: _preprocess_tables(False),
    "preprocess, reduction, tables": lambda: _preprocess_tables(True),
    "stem": lambda: _conv_block(1, 84),
    "conv_block": lambda: _conv_block(64, 64, stride=2, padding="same", bias=True, relu=True),
    "conv_block, pool": lambda: _conv_block(32, 32, padding="same", bias=True, relu=True, pool=True),
    "linear_head": lambda: _head(False),
    "linear_head, flatten": lambda: _head(True),
    "linear_head, tables": _head_tables,
    "cross_entropy": _cross_entropy,
    "share": _share,
    "split_columns": _split_columns,
}


HEADS = {"linear_head", "linear_head, flatten", "linear_head, tables"}
WITHOUT_MODES = HEADS | {"cross_entropy", "share", "split_columns"}
FIRST_WORKERS = WITHOUT_MODES | {"mixed_op"}  # cases that take about as long as all others


def jobs(every: bool = False) -> list[tuple[int, str, str]]:
    """(capability, mode, case): the first target in every mode, where it matters.

    The others have one mode for each case in turn, such that each has every case and every mode; all, if `every`.
    """
    found = []
    for k, capability in enumerate(TARGETS):
        for i, case in enumerate(CASES):
            modes = MODES[:1] if case in WITHOUT_MODES else MODES
            chosen = modes if every or not k else [modes[(i + k) % len(modes)]]
            found += [(capability, mode, case) for mode in chosen]
    return found


@cache
def usage(cubin: bytes) -> dict[str, int]:
    """REG, STACK, LOCAL and SHARED of a compiled kernel, by Triton's own cuobjdump."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    return {name: int(n) for name, n in re.findall(r"\b(REG|STACK|LOCAL|SHARED):(\d+)", text)}


def _rows(worker: int) -> Iterator[dict]:
    from triton.runtime import driver

    from autometa.kernels.compiling import Target
    from autometa.kernels.launch import observed
    from autometa.ops import _triton, backend

    _triton.interpreted = lambda: True  # CPU tensors will do: nothing runs
    for capability, mode, case in jobs(EVERYTHING):
        if (case in FIRST_WORKERS) != (worker == 0):
            continue
        compiled = {}

        def observe(kernel, grid, args, options, compiled=compiled):
            made = kernel.warmup(*args, grid=grid, **options)
            compiled[made.hash] = made, kernel.__name__

        driver.set_active(Target(capability))
        with observed(observe), backend.precision(mode):
            CASES[case]()
        for made, name in compiled.values():
            used = {**usage(made.asm["cubin"]), "SHARED": made.metadata.shared}
            yield {"target": capability, "mode": mode, "case": case, "kernel": name, **used}


def work(worker: int) -> None:
    """One line of JSON for each kernel of a worker's share of the jobs."""
    for row in _rows(worker):
        print(json.dumps(row), flush=True)


def compile_all() -> list[dict]:
    """What `work` prints, of all workers. Raises `RuntimeError` where a kernel does not compile."""
    command = "import sys; sys.path.append(sys.argv[1]); from tests.ops.compiling import work; work(int(sys.argv[2]))"
    with tempfile.TemporaryDirectory() as folder:
        environment = {k: v for k, v in os.environ.items() if k not in ("TRITON_INTERPRET", "AUTOMETA_PRECISION")}
        environment["TRITON_CACHE_DIR"] = folder
        started = [
            subprocess.Popen(
                [sys.executable, "-c", command, str(ROOT), str(worker)],
                env=environment,
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for worker in range(2)
        ]
        done = [(*worker.communicate(), worker.returncode) for worker in started]
    for _, errors, status in done:
        if status:
            raise RuntimeError(f"kernels do not compile:\n{errors[-4000:]}")
    return [json.loads(line) for lines, _, _ in done for line in lines.splitlines()]


def table(rows: list[dict]) -> str:
    """One line per kernel: what it needs."""
    return "\n".join(
        f"{r['kernel']:24} sm_{r['target']:<3} {r['mode']:4}  {r['REG']:3} registers  {r['SHARED']:6} bytes shared  "
        f"stack {r['STACK']}, local {r['LOCAL']}  ({r['case']})"
        for r in rows
    )


if __name__ == "__main__":
    os.environ["AUTOMETA_TESTS"] = "all"
    print(table(compile_all()))
