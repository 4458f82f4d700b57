"""Ways and shots of training tasks that are drawn: one pair for all tasks of a meta-iteration, so that its slots stay
alike (Triantafillou et al. 2020, arXiv 1903.03096, section 3, draw a pair for every task)."""

from __future__ import annotations

import numpy as np

from autometa.meta.learner import MetaLearner
from autometa.ops.philox import SHAPE, bounded, philox_uint32
from autometa.train.config import InnerConfig, require


def shape_of(inner: InnerConfig, seed: int, i: int) -> tuple[int, int]:
    """Ways and shots of the tasks of meta-iteration i, from its number and the seed alone."""
    most = np.array([inner.ways, inner.shots])
    least = np.array([inner.least_ways or inner.ways, inner.least_shots or inner.shots])
    ways, shots = least + bounded(philox_uint32(seed, SHAPE, i, np.arange(2)), most - least + 1)
    return int(ways), int(shots)


def told(inner: InnerConfig) -> str:
    """In words: `2 to 5 classes and 10 support images of each`."""
    pairs = ((inner.least_ways, inner.ways), (inner.least_shots, inner.shots))
    ways, shots = (f"{most}" if least in (None, most) else f"{least} to {most}" for least, most in pairs)
    return f"{ways} classes and {shots} support image{'s' * (shots != '1')} of each"


def check_shapes(group: str, inner: InnerConfig, learner: MetaLearner) -> None:
    """Raise `InputError` where tasks cannot be drawn so; group: the settings of `inner`."""
    for name, fewest in (("ways", 2), ("shots", 1)):
        least, most = getattr(inner, f"least_{name}"), getattr(inner, name)
        fits = least is None or fewest <= least <= most
        require(fits, f"{group}.least_{name} must be from {fewest} to {group}.{name} ({most}), not {least}")
    require(
        inner.least_ways is None or learner.any_ways,
        f"learner {learner.name} has a last layer for {inner.ways} classes; leave {group}.least_ways out, or take a "
        "learner of any number of ways (docs/learners.md)",
    )
