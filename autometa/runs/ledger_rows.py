"""What a ledger hands out and takes: proposals, claims, trials, levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from autometa.brief import brief

STATES = ("waiting", "claimed", "reported", "done", "failed")
"""Of a batch; reported: it has been trained and scored, and waits to be told whether its trials go on."""
SCORED = ("done", "paused", "stopped")
"""States of trials that ended with an accuracy."""


class Entry(NamedTuple):
    """A proposal.

    key: what is trained. mean, std: of its predicted accuracy, None where nothing predicted it. fidelity:
    meta-iterations after which it ends, all of a training where None. parent: the paused trial that it goes on from.
    until: meta-iterations after which it is scored first, None at the end of a training. keep: whether a checkpoint is
    left then; with another key it begins with its parent's weights.
    """

    key: str
    mean: float | None = None
    std: float | None = None
    fidelity: int | None = None
    parent: int | None = None
    until: int | None = None
    keep: bool = False


@dataclass(frozen=True)
class Batch:
    """A claim: trials to train side by side; `attempt` counts from 1.

    first, until: meta-iterations that they have done, and after which they are scored, None at the end of a training.
    starts: the checkpoints that they go on from, or begin with, empty where none does; None for one that is not there.
    keep: whether they leave checkpoints.
    """

    id: int
    level: int
    place: int
    keys: tuple[str, ...]
    worker: str
    attempt: int
    trials: tuple[int, ...] = ()
    first: int = 0
    until: int | None = None
    starts: tuple[bytes | None, ...] = field(default=(), repr=False)
    keep: bool = False

    def part(self, places: Sequence[int]) -> Batch:
        """The trials at these places alone."""
        keys, trials = tuple(self.keys[k] for k in places), tuple(self.trials[k] for k in places if self.trials)
        return replace(self, keys=keys, trials=trials, starts=tuple(self.starts[k] for k in places if self.starts))


@brief
@dataclass(frozen=True)
class Candidate:
    """What the ledger knows of a trial; numbers are None until it has been scored.

    state: waiting, claimed, reported (it was scored, and may go on), done, failed, paused or stopped. accuracy,
    interval: means over the seeds in `scores` (seed -> accuracy). seconds: its share of its batches' time. worker,
    attempts: who claimed its batch last, and how many did. id: its number in the order of proposals. step:
    meta-iterations done, 0 in full trainings of earlier versions. reports: accuracy by the meta-iterations done then.
    """

    key: str
    level: int
    place: int
    batch: int
    state: str
    predicted_mean: float | None
    predicted_std: float | None
    accuracy: float | None
    interval: float | None
    parameters: int | None
    macs: int | None
    seconds: float | None
    worker: str | None
    attempts: int
    failure: str | None
    scores: Mapping[int, float]
    id: int = 0
    fidelity: int | None = None
    parent: int | None = None
    step: int = 0
    reports: Mapping[int, float] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        return self.state == "failed" or self.state in SCORED

    @property
    def scored(self) -> bool:
        """Whether it ended with an accuracy."""
        return self.state in SCORED and self.accuracy is not None

    @property
    def measured(self) -> float:
        """The accuracy of a trial that was scored."""
        assert self.accuracy is not None, f"trial {self.id} has no score"
        return self.accuracy


@dataclass(frozen=True)
class Level:
    """A level and how many of its batches are in which state."""

    level: int
    candidates: int
    batches: Mapping[str, int]

    @property
    def finished(self) -> bool:
        return not any(self.batches[state] for state in ("waiting", "claimed", "reported"))
