"""How many launches an inner step is, and of what: counted from the launching code itself, without a GPU.

python -m benchmarks.gpu_launches
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable

import torch

from autometa.kernels.launch import observed
from autometa.meta.inner_loop import slot_gradients
from autometa.nas.networks.many_cells import BlockNetwork
from autometa.nas.networks.side_by_side import Macro
from autometa.ops import _triton
from autometa.ops.cross_entropy import cross_entropy
from benchmarks.candidates import WAYS, some_cells
from benchmarks.networks import CASES

SHOWN = ("one-shot-28", "four-layer-28", "discrete-28")


def launches(network, batch: int) -> Counter[str]:
    """Kernel -> launches of one forward and backward of one slot; nothing is computed."""
    return _counted(network.logits, network.initial(0)[None], batch, network.image_shape)


def candidates(count: int, level: int, repeats: int) -> int:
    """Launches of one forward and backward of so many cells of `level` blocks side by side."""
    network = BlockNetwork(Macro(10, repeats, 1, WAYS, (1, 28, 28)), some_cells(count, level))
    cell_of_slot = torch.arange(count)
    logits = lambda row, x: network.logits(row, x, cell_of_slot)  # noqa: E731
    return _counted(logits, network.initial(0), 1, network.macro.image_shape).total()


def _counted(logits: Callable, phi: torch.Tensor, batch: int, image_shape: tuple[int, ...]) -> Counter[str]:
    found: Counter[str] = Counter()
    images, labels = torch.zeros(len(phi), batch, *image_shape), torch.zeros(len(phi), batch, dtype=torch.int64)

    def count(kernel, grid, args, options) -> None:
        found[kernel.__name__.lstrip("_")] += 1

    def objective(row, x, y, step):
        return cross_entropy(logits(row, x), y)

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
    for level, repeats in itertools.product((1, 3, 5), (0, 1)):
        found = [candidates(count, level, repeats) for count in (1, 10, 50, 100)]
        told = ", ".join(map(str, found))
        print(f"1, 10, 50 and 100 different cells of {level} blocks side by side, N = {repeats}: {told} launches")


if __name__ == "__main__":
    main()
