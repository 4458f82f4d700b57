"""Sum of several maps in one pass."""

from __future__ import annotations

import triton
import triton.language as tl

from autometa.kernels.launch import kernel, launch

SIZE = 2048


@kernel
def _sum(parts, out, elements, padding, COUNT: tl.constexpr, SIZE: tl.constexpr):
    """Padding is summed as well, but for that of the last pixel: no memory need stand behind it."""
    s = tl.program_id(1).to(tl.int64)
    end = tl.where(s == tl.num_programs(1) - 1, elements - padding, elements)
    i = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    total = tl.load(parts[0] + s * elements + i, mask=i < end, other=0.0)
    for j in tl.static_range(1, COUNT):
        total += tl.load(parts[j] + s * elements + i, mask=i < end, other=0.0)
    tl.store(out + s * elements + i, total, mask=i < end)


def total(parts, out) -> None:
    """out, the sum of maps of its shape and strides, in their order."""
    elements = out.stride(0)
    padding = -out.shape[2] % 4
    grid = (triton.cdiv(elements, SIZE), out.shape[0])
    launch(_sum, grid, tuple(parts), out, elements, padding, COUNT=len(parts), SIZE=SIZE)
