"""Repeats one inner step, for profilers: `perf record python -m benchmarks.repeat_step one-shot-28 100`."""

import gc
import sys

import torch

from benchmarks.inner_step import build


def main(network: str, count: str, threads: str = "1") -> None:
    torch.set_num_threads(int(threads))
    step = build(network, "auto", 1)
    gc.freeze()
    for _ in range(int(count)):
        step()


if __name__ == "__main__":
    main(*sys.argv[1:])
