"""How long a search over cells will take: a few steps of some candidates of every size, counted up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from autometa.algorithms.auto_meta import AutoMetaConfig
from autometa.nas.spaces.blocks import BlockCell, expansions, level_one
from autometa.train.cost import slope
from autometa.train.scoring import train_candidates
from autometa.train.tasks import Source

SHORT, LONG = 1, 3


def search_seconds(config: AutoMetaConfig, source: Source) -> float:
    """Of all candidates, trained and scored in this process; surrogates, seconds each, are left out."""
    total = 0.0
    for level, count, share in config.strategy.workload(config.spec()):
        cells = list(islice(some(level), min(config.batch, count)))
        total += _image_seconds(config, source, cells) * _images(config, share) * count
    return total


def some(level: int) -> Iterator[BlockCell]:
    """Different cells of a level, neither the simplest nor the largest."""
    for number, cell in enumerate(level_one()):
        for _ in range(1, level):
            grown = list(islice(expansions(cell), 7 * number + 60))
            cell = grown[-1]
        yield cell


def _image_seconds(config: AutoMetaConfig, source: Source, cells: list[BlockCell]) -> float:
    """Of one image in one inner step of one cell, from the difference of two short trainings."""

    def train(iterations: int) -> None:
        tiny = replace(config.validation, tasks=1, steps=0)
        short = replace(config, meta=replace(config.meta, iterations=iterations), validation=tiny).candidate()
        train_candidates(cells, short, source)

    step, beside = slope(train, SHORT, LONG)
    took = step or beside / LONG  # on a busy machine the short one may take longer than the long one
    return took / (len(cells) * config.meta.batch * config.inner.steps * config.inner.batch)


def _images(config: AutoMetaConfig, share: float) -> float:
    """Images that a candidate's inner steps see, in its share of a full training and in scoring; a query costs a third
    of a step's."""
    inner, check = config.inner, config.validation
    training = config.meta.iterations * config.meta.batch * inner.steps * inner.batch
    answers = inner.ways * (check.shots + check.queries) // 3
    return share * training + check.tasks * (check.steps * check.batch + answers)
