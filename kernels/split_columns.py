"""Blocks of columns side by side in one launch."""

from __future__ import annotations

import triton
import triton.language as tl

from autometa.kernels.launch import kernel, launch

SIZE = 1024
MOST = 64  # parts of a launch: their addresses are its arguments


@kernel
def _join(parts, strides, widths, out, row, start, COUNT: tl.constexpr, SIZE: tl.constexpr):
    """A program finds its part by walking over their numbers of blocks; a part without columns stands for zeros."""
    s = tl.program_id(1).to(tl.int64)
    block = tl.program_id(0)
    source, stride, filled, width, column = parts[0], strides[0], widths[0], widths[1], start
    before, place = 0, start
    for j in tl.static_range(1, COUNT):
        before += tl.cdiv(widths[2 * j - 1], SIZE)
        place += widths[2 * j - 1]
        mine = tl.program_id(0) >= before
        source = tl.where(mine, parts[j], source)
        stride = tl.where(mine, strides[j], stride)
        filled = tl.where(mine, widths[2 * j], filled)
        width = tl.where(mine, widths[2 * j + 1], width)
        column = tl.where(mine, place, column)
        block = tl.where(mine, tl.program_id(0) - before, block)
    i = block * SIZE + tl.arange(0, SIZE)
    x = tl.load(source + s * stride + i, mask=i < filled, other=0.0)
    tl.store(out + s * row + column + i, x, mask=i < width)


def join(parts, widths, out) -> None:
    """out `[S, row]`: the parts `[S, width]` side by side, zeros for a part that is None."""
    start = 0
    columns = [(p, w) for p, w in zip(parts, widths, strict=True) if w]
    for first in range(0, len(columns), MOST):
        some = columns[first : first + MOST]
        launch(
            _join,
            (sum(triton.cdiv(w, SIZE) for _, w in some), out.shape[0]),
            tuple(out if p is None else p for p, _ in some),
            tuple(0 if p is None else p.stride(0) for p, _ in some),
            tuple(n for p, w in some for n in (0 if p is None else w, w)),
            *(out, out.shape[1], start),
            COUNT=len(some),
            SIZE=SIZE,
        )
        start += sum(w for _, w in some)
