"""Codes of the primitives in op-instance tables, and the columns in which the Triton kernels of `mixed_op` read a node.

The codes stand in op_codes.def, which the C++ kernels read too.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple


class OpCode(NamedTuple):
    """A primitive; stages: batch normalisations at stride 1."""

    name: str
    kind: str
    kernel: int
    dilation: int
    stages: int


_TEXT = Path(__file__).with_name("op_codes.def").read_text(encoding="utf-8")
KINDS = {name: number for number, name in enumerate(re.findall(r"^KIND\((\w+)\)$", _TEXT, re.MULTILINE))}
OP_CODES = tuple(
    OpCode(name, kind, int(kernel), int(dilation), int(stages))
    for name, kind, kernel, dilation, stages in re.findall(
        r"^PRIMITIVE\((\w+), (\w+), (\d+), (\d+), (\d+)\)$", _TEXT, re.MULTILINE
    )
)

# Of a node's row: input state, edge, kind, stride, height and width of the input
STATE, EDGE, KIND, STRIDE, HEIGHT, WIDTH = range(6)
# places of maps: input of the last normalisation, map between two stages, arguments of maxima, gradients of those
LAST, MIDDLE, ARGUMENT, GRAD, MIDDLE_GRAD = range(6, 11)
# first column of up to four weights, their sizes (0: absent), gamma of both stages (beta follows after BETA columns)
WEIGHT, SIZE, GAMMA, BETA = 11, 15, 19, 21
KERNEL, DILATION, STAGES, COLUMNS = range(22, 26)
