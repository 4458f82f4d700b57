"""What a step launches, written down instead of run, and compiled: a job for every binary that differs.

    python -m autometa.kernels.compiling 90

is a process that reads a job a line and answers each with a line: nothing, or why it does not compile. It needs no GPU.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Callable
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from autometa.kernels.launch import SIZES, observed

WIDE = 2**31  # integers from here on are of 64 bits


def _integer(value: int, counted: bool) -> int:
    """One that makes the same binary: of sizes the width alone counts, of others whether they are 1, or 16 divides."""
    wide = 2 * WIDE if abs(value) >= WIDE else 0
    if counted:
        return wide + 3
    return value if value == 1 else wide + (16 if value % 16 == 0 else 3)


def _written(value: Any, counted: bool) -> Any:
    if isinstance(value, Tensor):
        return {"tensor": str(value.dtype).partition(".")[2], "aligned": counted or value.data_ptr() % 16 == 0}
    if isinstance(value, tuple | list):
        return [_written(item, counted) for item in value]
    if isinstance(value, float):
        return 0.5
    return _integer(value, counted) if isinstance(value, int) and not isinstance(value, bool) else value


def _read(value: Any) -> Any:
    if isinstance(value, dict):
        bytes_ = torch.zeros(64, dtype=torch.uint8)[0 if value["aligned"] else 8 :]
        return bytes_[:16].view(getattr(torch, value["tensor"]))
    return tuple(_read(item) for item in value) if isinstance(value, list) else value


def job(kernel, args: tuple, options: dict[str, Any]) -> str:
    """A launch as a line of JSON, the same for all launches of one binary."""
    parameters = inspect.signature(kernel.fn).parameters
    fixed = {name for name, p in parameters.items() if "constexpr" in str(p.annotation)}
    given = dict(zip(parameters, args, strict=False)) | options
    told = {
        name: value if name in fixed or name not in parameters else _written(value, name in SIZES)
        for name, value in given.items()
    }
    return json.dumps([kernel.fn.__module__, kernel.fn.__name__, told], sort_keys=True)


def jobs_of(work: Callable[[], object]) -> list[str]:
    """The jobs of all launches that `work` would make; no kernel runs, so that what it computes means nothing."""
    found: dict[str, None] = {}
    with observed(lambda kernel, grid, args, options: found.setdefault(job(kernel, args, options))):
        work()
    return list(found)


def name_of(line: str) -> str:
    """Of a job's kernel."""
    return json.loads(line)[1]


def version_of(line: str) -> str:
    """A job and what its binary depends on: the kernel's source, with all that it calls, and Triton."""
    module, name, _ = json.loads(line)
    return f"{line} {getattr(importlib.import_module(module), name).cache_key} {triton.__version__}"


class Target:
    """In place of Triton's driver: a device of a compute capability, of which there is nothing but the number."""

    def __init__(self, capability: int) -> None:
        self.capability = capability

    def get_current_device(self) -> int:
        return self.capability

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.capability, 32)


def compiled(line: str):
    """The binary of a job, for the active driver's target."""
    module, name, given = json.loads(line)
    kernel = getattr(importlib.import_module(module), name)
    return kernel.warmup(grid=(1,), **{key: _read(value) for key, value in given.items()})


def work(capability: int) -> None:
    """Compile the jobs that come; a line of JSON for each, null or why it failed."""
    driver.set_active(Target(capability))
    torch.set_num_threads(1)
    for line in sys.stdin:
        try:
            compiled(line)
            answer = None
        except Exception as error:  # whatever the compiler says is the answer
            answer = f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    work(int(sys.argv[1]))
