"""The driver's decision: which expansions of a level's cells to train next, worked out by one process or by several.

Every cell's expansions are predicted together, on one thread, so the choice does not depend on the number of processes.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import chain

import torch

from autometa.nas.predictors.surrogate import Prediction, Surrogate, best, predictions
from autometa.nas.spaces.blocks import BlockCell, expand

WORTHWHILE = 20_000
"""Expansions from which on further processes are begun: each takes seconds to begin, and predicts thousands in one."""


def choose(
    surrogate: Surrogate, beam: Sequence[BlockCell], count: int, weight: float = 0.0, processes: int = 1
) -> list[Prediction]:
    """The `count` best expansions of the beam by prediction (mean + weight * std), best first."""
    keys = sorted({cell.key for cell in beam})
    pick = partial(_best_of, surrogate, keys, count, weight)
    if processes < 2 or len(keys) * _expansions(beam) < WORTHWHILE:
        return pick(keys)
    shares = [keys[p::processes] for p in range(min(processes, len(keys)))]
    with ProcessPoolExecutor(len(shares), multiprocessing.get_context("spawn"), _undisturbed) as pool:
        return best(chain.from_iterable(pool.map(pick, shares)), count)


def _expansions(beam: Sequence[BlockCell]) -> int:
    """How many blocks may follow the first cell's, about."""
    operands = 5 * (beam[0].level + 2)
    return operands * (operands + 1) // 2


def _best_of(
    surrogate: Surrogate, beam: Sequence[str], count: int, weight: float, parents: Sequence[str]
) -> list[Prediction]:
    """The best among the expansions that `expand` yields for these parents of the beam."""
    cells = [BlockCell.parse(key) for key in beam]
    with _one_thread():
        each = (predictions(surrogate, expand(cells, [parent]), weight) for parent in parents)
        return best(chain.from_iterable(each), count)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _undisturbed() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides when to stop
