"""In a process of its own, with TRITON_INTERPRET=1: a meta-iteration by the Triton kernels beside the compiled core.

Prints, as JSON, how far losses and gradients are off, and every look at a tensor's values that the kernels' callers
take once tables are made.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import torch

from autometa.nas.networks import many_cells
from autometa.ops import backend
from autometa.train.candidates import CandidateTrainer
from autometa.train.tasks import Source
from tests.train import test_candidates, test_loop
from tests.train.test_loop import FOUR, LONG
from tests.train.waiting import LOOKING

PRIMITIVES = ("max_pool_3x3", "skip_connect", "conv_1x5_5x1", "conv_3x3")
INNER = replace(LONG.inner, batch=2, steps=1, ways=2)
CONFIGS = {
    "metanas": replace(LONG, inner=INNER, cells=1, reductions=(0,), nodes=1, primitives=PRIMITIVES),
    "reptile": replace(FOUR, inner=INNER),
}
CELLS = replace(
    test_candidates.TINY,
    data=LONG.data,
    inner=replace(INNER, batch=4),  # their last maps are one pixel: of two values BN would make signs
    meta=replace(test_candidates.TINY.meta, batch=1),
)
CONFIGS["candidates"] = CELLS
ITERATION = 7


def trainer(config, source):
    """Of cells, two of them, where the config is of candidates."""
    if config is CELLS:
        return CandidateTrainer.create(test_candidates.CELLS[:2], config, source)
    return test_loop.trainer(config, source)


def looks() -> list[str]:
    """Fills as tensors are looked at from the files that prepare and launch Triton kernels."""
    found: list[str] = []

    def watched(owner, name: str) -> None:
        original = getattr(owner, name)

        def call(*args, **kwargs):
            caller = sys._getframe(1)
            file = caller.f_code.co_filename
            beside = "nas/block_" in file or "algorithms/candidates" in file
            if (
                beside
                or "autometa/kernels" in file
                or ("autometa/ops" in file and ("triton" in file or file.endswith("/plan.py")))
            ):
                found.append(f"{name} in {file.rpartition('/')[2]}:{caller.f_lineno}")
            return original(*args, **kwargs)

        setattr(owner, name, call)

    for name in (*LOOKING, "nonzero"):
        watched(torch.Tensor, name)
    for name in ("tensor", "as_tensor", "from_numpy"):
        watched(torch, name)
    return found


def main() -> None:
    torch.set_num_threads(1)
    source, report, expected = Source.open(LONG.data), {}, {}
    for name, config in CONFIGS.items():
        run = trainer(config, source)
        expected[name] = run.step(ITERATION).losses, run.arena.second.sqrt()
    backend.PREFERENCE["cpu"] = ("triton", "cpp", "reference")
    many_cells.slotwise = lambda *_: False  # as on a GPU
    found = looks()
    for name, config in CONFIGS.items():
        run = trainer(config, source)
        losses, (wanted, root) = run.step(ITERATION).losses, expected[name]
        off = float((run.arena.second.sqrt() - root).norm() / root.norm())
        found.clear()
        run.step(ITERATION + 1)
        report[name] = {"losses": float((losses - wanted).abs().max()), "gradient": off, "looks": sorted(set(found))}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
