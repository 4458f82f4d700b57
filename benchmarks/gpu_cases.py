"""What is timed on a GPU: whole meta-iterations as a run does them, and the baselines beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

from autometa.algorithms import metanas_steps
from autometa.algorithms.metanas import MetaNASConfig
from autometa.algorithms.presets import METANAS
from autometa.data import ImageStore, Recipe, Split
from autometa.ops import mixed_op as mixed_op_call  # noqa: F401  registers the op
from autometa.ops.backend import libraries, precision
from autometa.ops.primitives import BY_CODE
from autometa.train.loop import Loop
from autometa.train.tasks import Source
from benchmarks.gpu_measure import GPU
from benchmarks.networks import CASES, InnerStep

MODES = ("fp32", "tf32", "bf16")


@dataclass(frozen=True)
class Size:
    """A meta-iteration of the paper. normalised, outputs: floats per slot and step that enter a BN, and that any
    convolution or pool puts out (counted); target_ms: of `fp32`, and of the fastest mode; case: of `networks.CASES`;
    together: variants fit into the memory side by side."""

    title: str
    config: MetaNASConfig
    image_shape: tuple[int, int, int]
    normalised: float
    outputs: float
    target_ms: tuple[float, float]
    case: str
    together: bool

    @property
    def flops(self) -> float:
        """Of a meta-iteration: forward, and backward at twice its cost."""
        inner, network = self.config.inner, self.config.build(self.image_shape)
        return 2.0 * 3.0 * network.macs() * inner.batch * inner.steps * self.config.meta.batch

    def floors(self, tops: dict[str, float]) -> dict[str, float]:
        """Milliseconds: arithmetic in each mode, and memory where every stored array is touched five times."""
        steps = self.config.inner.steps * self.config.meta.batch
        found = {f"arithmetic, {mode}": self.flops / tops[f"{mode} TFLOP/s"] / 1e9 for mode in MODES}
        for name, floats in (("BN inputs", self.normalised), ("all outputs", self.outputs)):
            found[f"memory, {name}"] = 5 * 4 * floats * steps / tops["copy GB/s"] / 1e6
        return found


def _running(config: MetaNASConfig) -> MetaNASConfig:
    """After warm-up, where all of it moves."""
    return replace(config, warmup=0)


SIZES = {
    "28": Size(
        title="28x28x1, 20-way",
        config=_running(METANAS["omniglot"]),
        image_shape=(1, 28, 28),
        normalised=48e6,
        outputs=78e6,
        target_ms=(60.0, 25.0),
        case="one-shot-28",
        together=True,
    ),
    "84": Size(
        title="84x84x3, 5-way",
        config=_running(METANAS["miniimagenet"]),
        image_shape=(3, 84, 84),
        normalised=428e6,
        outputs=706e6,
        target_ms=(600.0, 250.0),
        case="one-shot-84",
        together=False,
    ),
}


def random_source(image_shape: tuple[int, int, int], device: torch.device, classes: int = 64, each: int = 30) -> Source:
    """A data set of random pixels: what is timed does not depend on what is seen."""
    channels, size, _ = image_shape
    images = np.random.default_rng(0).integers(0, 256, (classes * each, *image_shape), dtype=np.uint8)
    names = tuple(f"class{k}" for k in range(classes))
    start, ids = np.arange(classes + 1, dtype=np.int64) * each, np.arange(classes, dtype=np.int64)
    about = names, start, names, ("train",) * classes, Recipe(size=size, channels=channels), "random"
    store = ImageStore(Path("random"), "random", images, *about)
    return Source(store, Split("random", ids, ids, ids), device)


class MetaIteration:
    """A run's loop; each call launches one meta-iteration. told: why it is not one graph, if so."""

    def __init__(self, size: Size, mode: str, source: Source) -> None:
        self.mode, self.told, self._number = mode, [], 0
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        with precision(mode), libraries(mode):
            self._trainer = metanas_steps.trainer(size.config.build(size.image_shape), source, size.config)
            self._loop = Loop(self._trainer, self.told.append)
        self()
        self.outcomes = self._loop.drain()
        self.peak_bytes = torch.cuda.max_memory_allocated() - before

    def __call__(self) -> None:
        with precision(self.mode), libraries(self.mode):
            self._loop.launch(self._number)
        self._number += 1

    @property
    def slots_at_once(self) -> int:
        return self._trainer.max_slots


@cache
def _edges(edges: tuple[int, ...], device: torch.device) -> torch.Tensor:
    return torch.tensor(edges, device=device)


def _all_live(op_weight, input_weight, rows, table_of_slot):
    """Every instance of the one table, without a look at its weights: the baselines must not wait for the device."""
    (table_rows,) = rows
    scales = op_weight * input_weight.index_select(1, _edges(tuple(r[1] for r in table_rows), op_weight.device))
    flags = (True,) * op_weight.shape[0]
    for i, row in enumerate(table_rows):
        if BY_CODE[row[2]].name != "none":
            yield i, row, flags, scales[:, i]


@contextmanager
def unpruned() -> Iterator[None]:
    """Within it the reference takes every op instance for live, which can be captured."""
    import sys

    module = sys.modules["autometa.ops.mixed_op"]
    before = module._live_instances
    module._live_instances = _all_live
    try:
        yield
    finally:
        module._live_instances = before


def reference_steps(case: str, slots: int) -> Callable[[], None]:
    """An inner step of the reference for `slots` slots; Adam is the package's, as in all that it is compared with."""
    step = InnerStep(CASES[case], slots, "reference", GPU)

    def call() -> None:
        with unpruned(), libraries("fp32"):
            step()

    return call
