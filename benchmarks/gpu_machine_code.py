"""Machine code of a kernel, in blocks: instructions, bytes and products of each, and the lines that it comes from."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

KERNELS = Path(__file__).resolve().parents[1] / "kernels"

Chain = tuple[tuple[str, int], ...]
"""Where an instruction comes from: (file, line of a statement), from the kernel to the function that it calls last."""
FILE = re.compile(r'File "([^"]+)", line (\d+)(?: inlined at "([^"]+)", line (\d+))?')
INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(.*?);")
WIDTH = {"U8": 1, "S8": 1, "U16": 2, "S16": 2, "64": 8, "128": 16}


@dataclass
class Block:
    """Instructions that are executed together. depth: loops around it."""

    chains: list[Chain] = field(default_factory=list)
    count: int = 0
    bytes: int = 0
    flops: float = 0.0
    looped: bool = False


def disassembled(cubin: bytes) -> list[Block]:
    """The blocks of a kernel's binary."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "nvdisasm"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = subprocess.run([tool, "-gi", "-c", file.name], capture_output=True, text=True, check=True).stdout
    return blocks_of(text)


def blocks_of(text: str) -> list[Block]:
    """The same of what nvdisasm prints."""
    blocks, labels, jumps, chain, fresh = [Block()], {}, [], (), False
    for line in text.splitlines():
        if label := re.match(r"(\.L_x_\d+):", line):
            if blocks[-1].count:
                blocks.append(Block())
            labels[label[1]] = len(blocks) - 1
        elif found := FILE.search(line):
            chain = _extended(chain if fresh else (), found)
            fresh = True
        elif found := INSTRUCTION.search(line):
            fresh = False
            code = found[1]
            if "NOP" in code:
                continue
            block = blocks[-1]
            block.chains.append(chain)
            block.count += 1
            block.bytes += 32 * _bytes(code)
            block.flops += _flops(code)
            if target := re.search(r"\bBRA\b.*`\((\.L_x_\d+)\)", code):
                jumps.append((len(blocks) - 1, target[1]))
            if re.search(r"\b(BRA|EXIT|BRX|RET)\b", code):
                blocks.append(Block())
    for end, label in jumps:
        if labels.get(label, end + 1) <= end:
            for block in blocks[labels[label] : end + 1]:
                block.looped = True
    return [block for block in blocks if block.count]


def _extended(chain: Chain, found: re.Match) -> Chain:
    """nvdisasm prints the innermost place first; the places around it follow."""
    if Path(found[1]).parent.name != "kernels":
        return chain  # of Triton's own library, called by the statement that follows
    return (_place(found[1], int(found[2])), *chain)


@cache
def _place(file: str, line: int) -> tuple[str, int]:
    return Path(file).name, statement_of(file, line)


@cache
def _statements(file: str) -> dict[int, int]:
    """Line -> the line where the innermost statement around it begins. Compiled code that was kept may name a file of
    another checkout, which had the same text."""
    found: dict[int, int] = {}
    path = Path(file) if Path(file).is_file() else KERNELS / Path(file).name
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            end = body[0].lineno - 1 if isinstance(body, list) else node.end_lineno or node.lineno
            for line in range(node.lineno, max(end, node.lineno) + 1):
                if found.get(line, 0) <= node.lineno:
                    found[line] = node.lineno
    return found


def statement_of(file: str, line: int) -> int:
    """The line where the statement that a line belongs to begins."""
    return _statements(file).get(line, line)


@cache
def unrolled(file: str) -> list[tuple[int, int, int]]:
    """Loops that the compiler unrolls: line of the loop, first and last line of its body."""
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    return [
        (node.lineno, node.body[0].lineno, node.body[-1].end_lineno or 0)
        for node in ast.walk(tree)
        if isinstance(node, ast.For) and "static_range" in ast.unparse(node.iter)
    ]


def _bytes(code: str) -> int:
    """Of one thread's access to the device's memory."""
    access = re.search(r"\b(LDG|STG)\.(\S+)", code)
    if not access:
        return 0
    return next((WIDTH[word] for word in access[2].split(".") if word in WIDTH), 4)


def _flops(code: str) -> float:
    """Of a warp's share of a product on the matrix units."""
    if warp := re.search(r"\bHMMA\.(\d+)\.", code):
        shape = {"16816": (16, 8, 16), "1688": (16, 8, 8), "1684": (16, 8, 4)}.get(warp[1], (16, 8, 8))
        return 2.0 * shape[0] * shape[1] * shape[2]
    if group := re.search(r"\bHGMMA\.(\d+)x(\d+)x(\d+)", code):
        return 2.0 * int(group[1]) * int(group[2]) * int(group[3]) / 4
    return 0.0


def executed(blocks: list[Block], often: Callable[[Chain], float | None]) -> tuple[float, float, float, float]:
    """Instructions, bytes asked for and floating-point operations of one warp of a program, and those of its
    instructions that stand in loops; often: how many times a
    program comes to a place, None where it is not known.

    A block is executed as often as most of its instructions' places are; what stands in no loop, at most once.
    """
    total = [0.0, 0.0, 0.0, 0.0]
    for block in blocks:
        known = [times for chain in block.chains if chain and (times := often(chain)) is not None]
        times = statistics.median(known) if known else 0.0
        times = times if block.looped else min(times, 1.0)
        for k, value in enumerate((block.count, block.bytes, block.flops, block.count * block.looped)):
            total[k] += times * value
    return total[0], total[1], total[2], total[3]
