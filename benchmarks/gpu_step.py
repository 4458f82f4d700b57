"""Two inner steps of the search network, kernel by kernel, for a profiler to look at.

    ncu --clock-control none --kernel-name regex:input_gradient python -m benchmarks.gpu_step

What it counts stands beside what `python -m benchmarks.gpu_instructions` predicts. Needs a CUDA GPU.
"""

from __future__ import annotations

import sys

import torch

from autometa.api.running import gpu_refuses
from benchmarks.gpu_measure import GPU
from benchmarks.networks import CASES, InnerStep

SLOTS = 10


def main() -> int:
    """Exit status 0, or 2 without a GPU."""
    reason = gpu_refuses(0)
    if reason:
        print(f"{reason}; this needs one", file=sys.stderr)
        return 2
    step = InnerStep(CASES["one-shot-28"], SLOTS, device=GPU)
    for _ in range(2):
        step()
    torch.cuda.synchronize()
    return 0


if __name__ == "__main__":
    sys.exit(main())
