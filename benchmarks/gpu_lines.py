"""How often a program of each kernel comes to each of its statements, by Triton's interpreter.

    python -m benchmarks.gpu_lines one-shot-28 fp32

prints JSON: for every launch of a step which programs stand for how many, and for each of these its counts. A process
of its own: Triton decides when it is imported whether it interprets.
"""

from __future__ import annotations

import ast
import json
import os
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any


@cache
def _kernels() -> Path:
    """The folder of the kernels of the package that runs."""
    from autometa import kernels

    return Path(str(kernels.__file__)).resolve().parent


@cache
def _own(file: str) -> str | None:
    """The name of a file of kernels."""
    path = Path(file)
    return path.name if path.resolve().parent == _kernels() else None


def one_event_a_statement() -> None:
    """A statement that goes over several lines is compiled as if it stood on its first one."""
    from triton.runtime.interpreter import FunctionRewriter

    before = FunctionRewriter._transform_ast

    def transformed(self, *rest):
        tree = before(self, *rest)
        for node in ast.walk(tree):
            for child in ast.iter_child_nodes(node) if isinstance(node, ast.stmt) else ():
                for part in ast.walk(child) if isinstance(child, ast.expr) else ():
                    if hasattr(part, "lineno"):
                        part.lineno = part.end_lineno = node.lineno
                        part.col_offset, part.end_col_offset = 0, 1
        return tree

    FunctionRewriter._transform_ast = transformed


class Lines:
    """Counts of one program: chain of (file, line of a statement) -> how often."""

    def __init__(self) -> None:
        self.found: Counter[tuple] = Counter()
        self._stack: list[tuple] = []

    def enter(self, frame, event, argument):
        """For `sys.settrace`: functions of kernels alone are followed."""
        if not _own(frame.f_code.co_filename) or frame.f_code.co_name.startswith("<"):
            return None
        self._stack.append(())
        return self._line

    def _line(self, frame, event, argument):
        if event == "line":
            self._stack[-1] = (_own(frame.f_code.co_filename), frame.f_lineno)
            self.found[tuple(self._stack)] += 1
        elif event == "return":
            self._stack.pop()
        return self._line


def counted(
    kernel, grid: tuple[int, ...], args: tuple, options: dict[str, Any], program: tuple[int, int, int]
) -> Lines:
    """Run one program of a launch."""
    from triton.runtime import interpreter

    lines = Lines()

    class One(interpreter.GridExecutor):
        def __call__(self, *given, **named):
            whole = (*self.grid, 1, 1)[:3]
            self.grid = (1, 1, 1)
            builder = type(interpreter.interpreter_builder)
            plain, dim = builder.set_grid_idx, builder.set_grid_dim
            builder.set_grid_idx = lambda self, *_: plain(self, *program)
            builder.set_grid_dim = lambda self, *_: dim(self, *whole)
            try:
                super().__call__(*given, **named)
            finally:
                builder.set_grid_idx, builder.set_grid_dim = plain, dim

    launched, interpreter.GridExecutor = interpreter.GridExecutor, One
    before = sys.gettrace()
    try:
        sys.settrace(lines.enter)
        kernel[grid](*args, **options)
    finally:
        sys.settrace(before)
        interpreter.GridExecutor = launched
    return lines


def programs(kernel: str, grid: tuple[int, ...], options: dict[str, Any]) -> list[tuple[tuple[int, int, int], float]]:
    """Programs that stand for all others, with their shares: one per instance and tap where these count fastest."""
    if "chosen" in options and kernel not in ("input_gradient", "product_gradient"):
        many = options["count"] * options.get("TAPS", 4 if kernel == "add_parts" else 1)
        return [((k, 0, 0), 1 / many) for k in range(min(many, grid[0]))]
    some = sorted({0, grid[0] - 1})
    return [((k, 0, 0), 1 / len(some)) for k in some]


IRRELEVANT = (
    *("count", "slots", "instances", "edges", "state", "blocks", "pixels", "height", "width", "in_height", "in_width"),
    *("phi_stride", "parts_stride", "dphi_stride"),
)
"""Arguments by which no loop of a kernel of nodes is bounded."""


def key_of(kernel: str, options: dict[str, Any], args: tuple, program: int) -> str:
    """What a program's counts depend on: its kernel, sizes, and what it finds in the table of op instances."""
    from autometa.kernels import op_codes

    constants = {name: value for name, value in options.items() if isinstance(value, bool | int | str)}
    if "table" not in options or options.get("TABLES"):
        numbers = [value for value in args if isinstance(value, bool | int)]
        return json.dumps([kernel, program, numbers, constants], sort_keys=True)
    for name in (*IRRELEVANT, *(() if kernel in ("finish_moments", "weight_gradients") else ("tiles",))):
        constants.pop(name, None)
    rows = options["table"].reshape(-1, op_codes.COLUMNS)
    about = [k for k in range(op_codes.COLUMNS) if k in _TELLING]
    told: list = []
    if kernel in ("input_gradient", "product_gradient"):
        own = [rows[i] for i in options["chosen"].tolist() if rows[i][0] == options["state"]]
        told = [[int(row[k]) for k in about] for row in own]
    elif kernel in ("combine", "weight_gradients"):
        told = rows[:, about].tolist()
    else:
        taps = options.get("TAPS", 4 if kernel == "add_parts" else 1)
        row = rows[int(options["chosen"][program // taps % options["count"]])]
        told = [program % taps, *(int(row[k]) for k in about)]
    return json.dumps([kernel, told, constants], sort_keys=True)


def _telling() -> set[int]:
    from autometa.kernels import op_codes

    return {2, 3, *range(op_codes.SIZE, op_codes.SIZE + 4), *range(op_codes.KERNEL, op_codes.COLUMNS)}


_TELLING: set[int] = set()


def main(case: str, mode: str, *only: str) -> None:
    from autometa.kernels.launch import observed
    from autometa.ops import backend
    from benchmarks.gpu_instructions import step_of

    _TELLING.update(_telling())
    one_event_a_statement()
    known: dict[str, int] = {}
    counts: list[list] = []
    launches: list[dict] = []

    def observe(kernel, grid, args, options) -> None:
        name, samples = kernel.fn.__name__, []
        if only and name not in only:
            return
        given = {key: value for key, value in options.items() if key in kernel.arg_names}
        for program, share in programs(name, grid, given):
            key = key_of(name, given, args, program[0])
            if key not in known:
                known[key] = len(counts)
                lines = counted(kernel, grid, args, given, program)
                counts.append([[list(map(list, chain)), n] for chain, n in lines.found.items()])
            samples.append([known[key], share])
        launches.append({"kernel": name, "samples": samples})

    with backend.forced("triton"), backend.precision(mode), observed(observe):
        step_of(case, 1)
    print(json.dumps({"launches": launches, "counts": counts}))


if __name__ == "__main__":
    os.environ["TRITON_INTERPRET"] = "1"
    main(*sys.argv[1:])
