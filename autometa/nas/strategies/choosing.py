"""Choice by prediction: the best of a stream of architectures, or of all expansions of a beam by several processes.

An architecture's expansions are predicted together, on one thread: the choice does not depend on how many processes.
"""

from __future__ import annotations

import heapq
import multiprocessing
import signal
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice

import torch

from autometa.nas.predictors.predictor import Predictor
from autometa.nas.spaces.space import Architecture, Space
from autometa.nas.strategies.strategy import SearchSpec, Trial, drawn, ranked

WORTHWHILE = 20_000
"""Expansions from which on further processes are begun: each takes seconds to begin, and predicts thousands in one."""


@dataclass(frozen=True)
class Prediction:
    """A cell with what the predictor says of it; `score` is what it is chosen by."""

    cell: Architecture
    mean: float
    std: float
    score: float


def predictions(
    predictor: Predictor, cells: Iterable[Architecture], uncertainty_weight: float = 0.0, chunk: int = 2048
) -> Iterator[Prediction]:
    """Predict a stream in chunks, keeping one of them; score = mean + weight * std (an upper confidence bound)."""
    stream = iter(cells)
    while part := list(islice(stream, chunk)):
        for cell, mean, std in zip(part, *predictor.predict(part), strict=True):
            yield Prediction(cell, float(mean), float(std), float(mean + uncertainty_weight * std))


def best(found: Iterable[Prediction], count: int) -> list[Prediction]:
    """The `count` highest scores of a stream, best first, keeping no more of it; ties go to the smaller key."""
    return heapq.nsmallest(count, found, key=lambda p: (-p.score, p.cell.key))


def candidates(history: Sequence[Trial], spec: SearchSpec, count: int, known: set[str]) -> list[Architecture]:
    """Up to `count` random architectures of full size, and the neighbours of the five best, that fit and are not in
    `known`, which learns of them."""
    found = drawn(spec, count, known, len(history) * count)
    for trial in ranked(history)[:5]:
        near = [a for a in spec.space.neighbours(spec.space.parse(trial.key)) if a.key not in known and spec.fits(a)]
        known.update(made.key for made in near)
        found += near
    return found


def choose(
    predictor: Predictor,
    space: Space,
    beam: Sequence[Architecture],
    count: int,
    weight: float = 0.0,
    processes: int = 1,
) -> list[Prediction]:
    """The `count` best expansions of the beam by prediction (mean + weight * std), best first."""
    keys = sorted({cell.key for cell in beam})
    pick = partial(_best_of, predictor, space, keys, count, weight)
    if processes < 2 or len(keys) * space.expansions_at_most(beam[0]) < WORTHWHILE:
        return pick(keys)
    shares = [keys[p::processes] for p in range(min(processes, len(keys)))]
    with ProcessPoolExecutor(len(shares), multiprocessing.get_context("spawn"), _undisturbed) as pool:
        return best(chain.from_iterable(pool.map(pick, shares)), count)


def _best_of(
    predictor: Predictor, space: Space, beam: Sequence[str], count: int, weight: float, parents: Sequence[str]
) -> list[Prediction]:
    """The best among the expansions that `expand` yields for these parents of the beam."""
    cells = [space.parse(key) for key in beam]
    with one_thread():
        each = (predictions(predictor, space.expand(cells, [parent]), weight) for parent in parents)
        return best(chain.from_iterable(each), count)


@contextmanager
def one_thread() -> Iterator[None]:
    """Within it torch computes on one thread: small sums are faster and the same on every machine's number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _undisturbed() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides when to stop
