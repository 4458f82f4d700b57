"""How many launches an inner step is, and of what: counted from the launching code itself, without a GPU.

python -m benchmarks.gpu_launches
"""

from __future__ import annotations

import os
from collections import Counter

import torch

from autometa.kernels.launch import observed
from autometa.meta.inner_loop import slot_gradients
from autometa.ops import _triton
from autometa.ops.cross_entropy import cross_entropy
from benchmarks.networks import CASES

SHOWN = ("one-shot-28", "four-layer-28", "discrete-28")


def launches(network, batch: int) -> Counter[str]:
    """Kernel -> launches of one forward and backward of one slot; nothing is computed."""
    found: Counter[str] = Counter()
    phi = network.initial(0)[None]
    images, labels = torch.zeros(1, batch, *network.image_shape), torch.zeros(1, batch, dtype=torch.int64)

    def count(kernel, grid, args, options) -> None:
        found[kernel.__name__.lstrip("_")] += 1

    def objective(row, x, y, step):
        return cross_entropy(network.logits(row, x), y)

    with observed(count):
        slot_gradients(objective, phi, images, labels, 0)
    return found


def main() -> None:
    """Print a table per network."""
    os.environ["AUTOMETA_BACKEND"] = "triton"
    _triton.interpreted = lambda: True  # CPU tensors will do: nothing runs
    for name in SHOWN:
        case = CASES[name]
        found = launches(case.make(), case.batch)
        print(f"{case.title}: {sum(found.values())} launches of Triton kernels a step")
        for kernel, count in found.most_common():
            print(f"  {count:5}  {kernel}")


if __name__ == "__main__":
    main()
