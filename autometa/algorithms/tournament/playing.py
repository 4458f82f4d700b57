"""The searches of a tournament: many strategies and seeds, shared out among processes."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import torch

from autometa.algorithms.auto_meta import SurrogateConfig
from autometa.algorithms.table.searching import TabledSpace
from autometa.algorithms.tournament.entries import BATCH, Entry, Variant
from autometa.errors import InputError
from autometa.nas.strategies.strategy import SearchSpec
from autometa.search.simulated import Step, steps


@dataclass(frozen=True)
class Game:
    """A search to run: on a part of the cells by name, with so many full trainings at most."""

    entry: Entry
    variant: Variant
    seed: int
    part: str
    budget: int


@dataclass(frozen=True)
class Played:
    """How a search went: `way` holds the steps at which it had something better to hand out, and the last one; refused:
    why it could not be run, or None."""

    game: Game
    way: tuple[Step, ...] = ()
    refused: str | None = None


def spec_of(game: Game, tabled: TabledSpace) -> SearchSpec:
    """What the strategy may know: as in a search by the command line, but for budget and rounds."""
    config = replace(
        tabled.config(),
        seed=game.seed,
        batch=BATCH,
        surrogate=SurrogateConfig(kind=game.variant.surrogate),
        uncertainty_weight=game.variant.weight,
    )
    beam = game.variant.beam or max(1, game.budget - tabled.space.count(1))
    return replace(tabled.spec(config), budget=game.budget, beam=beam)


def play(game: Game, parts: Mapping[str, TabledSpace]) -> Played:
    """Run a search. What a strategy refuses (settings that do not fit so few cells, a package that is missing) is told,
    not raised."""
    tabled = parts[game.part]
    try:
        strategy, spec = game.entry.strategy(game.variant, tabled), spec_of(game, tabled)
        strategy.check(spec)
        way = steps(tabled.run(strategy, spec), spec.iterations)
    except InputError as error:
        return Played(game, refused=str(error))
    if not way:
        return Played(game, refused="it finds nothing to begin with among the cells that are there")
    better = [step for step, before in zip(way, [None, *way], strict=False) if not before or step.key != before.key]
    return Played(game, (*better, way[-1]))


def play_all(games: Iterable[Game], parts: Mapping[str, TabledSpace], workers: int = 1) -> Iterator[Played]:
    """Run searches, in this process or shared out among several; answers come in the games' order."""
    games = list(games)
    if workers == 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield from (play(game, parts) for game in games)
        finally:
            torch.set_num_threads(threads)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _begin, (dict(parts),)) as pool:
        yield from pool.map(_play, games, chunksize=4)


_PARTS: dict[str, TabledSpace] = {}


def _begin(parts: dict[str, TabledSpace]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    _PARTS.update(parts)


def _play(game: Game) -> Played:
    return play(game, _PARTS)
